"""Boxes turned about their centre: by exact turns of the cube, or by any rotation.

A rotation acts on (z, y, x) vectors about voxel n // 2 of each side.
"""

from __future__ import annotations

import itertools
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

OVERSAMPLING = 1.5


def random_rotations(n: int, generator: torch.Generator) -> Tensor:
    """`n` rotations, evenly distributed, (n, 3, 3): unit quaternions of normal numbers."""
    quaternions = torch.randn(n, 4, generator=generator, device=generator.device)
    w, x, y, z = F.normalize(quaternions, dim=1).unbind(1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


def random_choice(turns: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """`n` of some turns (m, 3, 3), drawn evenly, (n, 3, 3)."""
    return turns[torch.randint(len(turns), (n,), generator=generator, device=generator.device)]


@cache
def cube_turns(device: torch.device | str = "cpu") -> Tensor:
    """The 24 turns of the cube, (24, 3, 3)."""
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            turn = torch.eye(3)[list(order)] * torch.tensor(signs)
            if torch.linalg.det(turn) > 0:
                found.append(turn)
    return torch.stack(found).to(device)


@cache
def half_turns(device: torch.device | str = "cpu") -> Tensor:
    """No turn and those by 180° about y, z and x, (4, 3, 3)."""
    signs = torch.tensor([[1.0, 1, 1], [-1, 1, -1], [1, -1, -1], [-1, -1, 1]])
    return torch.diag_embed(signs).to(device)


def turned_exactly(boxes: Tensor, turns: Tensor, shifts: Tensor) -> Tensor:
    """Boxes (b, n, n, n) by turns of the cube (b, 3, 3), then moved by whole voxels (b, 3); each voxel keeps its value.

    What leaves a box comes in on its other side.
    """
    n = boxes.shape[-1]
    along = (torch.arange(n, device=boxes.device) - n // 2)[None, :, None] - shifts[:, None, :]  # (b, n, 3)
    # A voxel at v comes from turnᵀ v. Each axis of the result runs along one of the source: their places add up.
    source = (along[:, :, :, None] * turns.long()[:, None, :, :] + n // 2) % n  # (b, n, 3 of the result, 3 of source)
    stride = torch.tensor([n * n, n, 1], device=boxes.device)
    places = (source * turns.abs().long()[:, None] * stride).sum(-1)  # (b, n, 3)
    z, y, x = places.unbind(-1)
    index = z[:, :, None, None] + y[:, None, :, None] + x[:, None, None, :]
    return boxes.flatten(1).gather(1, index.flatten(1)).view_as(boxes)


def rotated(boxes: Tensor, rotations: Tensor, shifts: Tensor) -> Tensor:
    """Boxes (b, n, n, n) by any rotations (b, 3, 3), then moved by voxels (b, 3).

    Sampled linearly on a grid that is made finer in Fourier space, with what linear sampling takes of each frequency
    divided out before. Beyond its edge a box goes on with its other side, as its Fourier transform has it.
    """
    n = boxes.shape[-1]
    fine = round(OVERSAMPLING * n)
    finer = _finer(n, fine).to(boxes.device, boxes.dtype)
    grid = boxes @ finer.T  # along x, then y, then z
    grid = torch.matmul(finer, grid)
    grid = torch.matmul(finer, grid.flatten(2)).view(-1, 1, fine + 1, fine + 1, fine + 1)
    # Half of what PyTorch counts, whose axes are x, y, z and go from −1 at the first to 1 at the last point: a period.
    along = (torch.arange(n, device=boxes.device) - n // 2 - shifts[:, :, None]) / n  # (b, zyx of the result, n)
    z, y, x = (rotations[:, i].flip(1)[:, :, None] * along[:, i, None] for i in range(3))  # (b, xyz of the source, n)
    at = (z + (n // 2 / n - 0.5))[:, :, :, None, None] + y[:, :, None, :, None] + x[:, :, None, None]
    at = at.sub_(at.round()).mul_(2).permute(0, 2, 3, 4, 1)
    sampled: Tensor = F.grid_sample(grid, at, align_corners=True)
    return sampled[:, 0]


@cache
def _finer(n: int, fine: int) -> Tensor:
    """(fine + 1, n): a period of samples → finer ones, the first again at the end, less what linear sampling takes."""
    spectrum = torch.fft.rfft(torch.eye(n, dtype=torch.float64), dim=0)
    k = torch.arange(n // 2 + 1, dtype=torch.float64)
    spectrum /= torch.sinc(k / fine)[:, None] ** 2
    if n % 2 == 0:
        spectrum[-1] /= 2
    padded = torch.zeros(fine // 2 + 1, n, dtype=torch.complex128)
    padded[: len(spectrum)] = spectrum
    finer: Tensor = torch.fft.irfft(padded, n=fine, dim=0) * (fine / n)
    return torch.cat([finer, finer[:1]])
