"""A density in all its rotations, as the tomogram shows it, and the few volumes that they are all sums of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import fft
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional

from bench.base.arrays import IntArray
from bench.base.errors import BenchError
from bench.simulation import Density, Imaging, fitted
from bench.simulation.density import FittedDensity, radius_in_angstroms

BATCH = 128  # rotations posed at a time
MARGIN = 3  # voxels about the density that a pose is sampled on
MASK_MARGIN = 1.0  # voxels by which the mask is wider than the density: what the low-pass and the wedge smear


@dataclass(frozen=True)
class Templates:
    """A density, low-passed, in n rotations, without what lies in the missing wedge, under a spherical mask."""

    density: FittedDensity
    rotations: Rotation  # (n)
    transfer: Tensor  # (d, h, w // 2 + 1) of a box that holds what the wedge smears: wedge × low-pass
    offsets: IntArray  # (m, 3), of the mask's voxels from its centre

    @property
    def reach(self) -> int:
        """Voxels from the mask's centre to its edge, along an axis."""
        return int(self.offsets.max())

    def batches(self) -> Iterator[tuple[slice, Tensor]]:
        """The templates under the mask, with mean 0 and norm 1, (b, m), and which they are."""
        box = self.transfer.shape[0]
        side = 2 * math.ceil(self.density.radius + MARGIN)
        before = box // 2 - side // 2
        z, y, x = torch.from_numpy(self.offsets.T + box // 2)
        for first in range(0, len(self.rotations), BATCH):
            some = self.rotations[first : first + BATCH]
            posed = self.density.posed((side,) * 3, some, np.zeros((len(some), 3), np.float32))
            boxed = functional.pad(posed, 3 * [before, box - side - before])
            seen = torch.fft.irfftn(torch.fft.rfftn(boxed, dim=(1, 2, 3)) * self.transfer, boxed.shape[1:], (1, 2, 3))
            rows = seen[:, z, y, x]
            rows = rows - rows.mean(1, keepdim=True)
            yield slice(first, first + len(some)), rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-30)


def templates(
    density: Density,
    voxel_size_in_angstroms: float,
    rotations: Rotation,
    tilt_limit_in_degrees: float,
    low_pass_in_angstroms: float | None,
    shortest_side: int,
    device: str,
) -> Templates:
    """The templates of `density` in voxels of the tomogram; the low-pass falls to half amplitude at its resolution.

    Raises BenchError for a density that is nowhere above 0, no wider than two voxels, or larger than the tomogram's
    shortest side.
    """
    if not (np.isfinite(density.voxels).all() and (density.voxels > 0).any()):
        raise BenchError(f"{density.name}: no density above 0, or NaN; give a finite map, bright on 0")
    own = radius_in_angstroms(density) / voxel_size_in_angstroms
    if own <= 1:
        raise BenchError(f"{density.name}: is {2 * own:.1g} voxels wide, must be above 2; check both voxel sizes")
    radius = own + MASK_MARGIN
    reach = math.floor(radius)
    if shortest_side < 2 * reach + 1:
        raise BenchError(
            f"{density.name}: its mask is {2 * reach + 1} voxels wide, the tomogram's shortest side {shortest_side}; "
            "check both voxel sizes"
        )
    small = fitted(density, voxel_size_in_angstroms, device)
    box = int(fft.next_fast_len(2 * math.ceil(2 * radius) + 2, real=True))
    shape = (box, box, box)
    transfer = torch.ones(box, box, box // 2 + 1)
    if tilt_limit_in_degrees < 90:
        transfer = transfer * Imaging(tilt_limit_in_degrees=tilt_limit_in_degrees).wedge(shape)
    if low_pass_in_angstroms is not None and low_pass_in_angstroms > 2 * voxel_size_in_angstroms:
        k, half = torch.fft.fftfreq(box), torch.fft.rfftfreq(box)
        k2 = k[:, None, None] ** 2 + k[:, None] ** 2 + half**2
        transfer = transfer * torch.exp(-math.log(2) * k2 * (low_pass_in_angstroms / voxel_size_in_angstroms) ** 2)
    grid = np.stack(np.meshgrid(*3 * [np.arange(-reach, reach + 1)], indexing="ij"), -1).reshape(-1, 3)
    return Templates(small, rotations, transfer.to(device), grid[(grid**2).sum(1) <= radius**2])


@dataclass(frozen=True)
class Basis:
    """Orthonormal volumes, K of them, that all templates are sums of, but for a rest of norm `rest` or less."""

    volumes: Tensor  # (K, m)
    weights: Tensor  # (n, K)
    rest: float


def basis(rows: Templates, tolerance: float) -> Basis:
    """The fewest principal volumes that leave no template a rest above `tolerance` of its norm.

    By Cauchy–Schwarz no correlation coefficient is off by more than that. The templates pass once, batch by batch:
    what is left of one after the volumes so far joins them, to a quarter of the tolerance; then all are turned to
    their principal axes, and the weakest dropped, to what is left of it.
    """
    device = rows.transfer.device
    volumes = torch.empty(0, len(rows.offsets), device=device)
    weights: list[Tensor] = []
    rests: list[Tensor] = []
    for _, batch in rows.batches():
        left = batch - (batch @ volumes.T) @ volumes
        far = left.norm(dim=1) > tolerance / 4
        if far.any():
            volumes = torch.cat([volumes, _span(left[far], volumes, tolerance / 4)])
        weights.append(batch @ volumes.T)
        rests.append((batch - weights[-1] @ volumes).norm(dim=1).double())
    joined = torch.cat([functional.pad(some, (0, len(volumes) - some.shape[1])) for some in weights]).double()
    _, axes = torch.linalg.eigh(joined.T @ joined)
    axes = axes.flip(1)  # strongest first
    turned = joined @ axes
    dropped = functional.pad(turned.square().flip(1).cumsum(1).flip(1), (0, 1)).sqrt()  # norm without volumes k and on
    left = (dropped + torch.cat(rests)[:, None]).amax(0)
    kept = int((left > tolerance).sum())
    return Basis((axes[:, :kept].T @ volumes.double()).float(), turned[:, :kept].float(), float(left[kept]))


def _span(rows: Tensor, volumes: Tensor, tolerance: float) -> Tensor:
    """Orthonormal vectors (k, m), orthogonal to `volumes`, that leave none of `rows` (b, m) more than the tolerance."""
    squares, turns = torch.linalg.eigh(rows.double() @ rows.double().T)
    squares, turns = squares.flip(0).clamp(min=0), turns.flip(1)
    left = (turns.square() * squares).flip(1).cumsum(1).flip(1)  # (b, k), rest² of each row without vectors k and on
    kept = int((left > tolerance**2).any(0).sum())
    vectors = turns[:, :kept].T @ rows.double()
    vectors -= (vectors @ volumes.double().T) @ volumes.double()  # what float32 left of them in the rows
    orthonormal: Tensor = torch.linalg.qr(vectors.T)[0].T
    return orthonormal.float()
