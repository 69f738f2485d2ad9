"""A tilt series and its weighted back-projection, as the microscope and the reconstruction program make them.

The tilt axis is y: at the angle θ a voxel (z, x), counted from the centre, falls on the detector at x cos θ + z sin θ.
Projection and back-projection are one matrix and its transpose, for all angles and rows at once.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor


def angles(limit_in_degrees: float, step_in_degrees: float) -> tuple[float, ...]:
    """Tilts from −limit to limit, in degrees; 0 is among them."""
    n = math.floor(limit_in_degrees / step_in_degrees + 1e-9)
    return tuple(step_in_degrees * i for i in range(-n, n + 1))


def detector_width(depth: int, width: int) -> int:
    """Pixels across the tilt axis that hold the shadow of a box at every angle; even."""
    return 2 * math.ceil(math.hypot(depth, width) / 2 + 1)


@lru_cache(maxsize=4)
def geometry(depth: int, width: int, tilts: tuple[float, ...]) -> Tensor:
    """Share of each voxel (z, x) in each detector pixel (tilt, u), by linear interpolation: (d · w, tilts · m)."""
    m = detector_width(depth, width)
    theta = torch.tensor(tilts, dtype=torch.float64).deg2rad()[:, None, None]
    z = (torch.arange(depth, dtype=torch.float64) - depth // 2)[:, None]
    x = torch.arange(width, dtype=torch.float64) - width // 2
    u = x * theta.cos() + z * theta.sin() + m // 2  # (tilts, d, w)
    pixel = u.floor()
    share = u - pixel
    matrix = torch.zeros(depth * width, len(tilts) * m)
    voxel = torch.arange(depth * width).expand(len(tilts), -1)
    for step, weight in ((0, 1 - share), (1, share)):
        column = pixel.flatten(1).long() + step + m * torch.arange(len(tilts))[:, None]
        matrix.index_put_((voxel, column), weight.flatten(1).float(), accumulate=True)
    return matrix


def project(volumes: Tensor, tilts: tuple[float, ...]) -> Tensor:
    """(b, d, h, w) → projections along the beam (b, tilts, h, m); at 0° the sum along z."""
    b, d, h, w = volumes.shape
    rows = volumes.transpose(1, 2).reshape(b * h, d * w)
    shadows = rows @ geometry(d, w, tilts).to(volumes.device)
    return shadows.view(b, h, len(tilts), -1).transpose(1, 2)


def back_project(projections: Tensor, depth: int, width: int, tilts: tuple[float, ...]) -> Tensor:
    """Projections (b, tilts, h, m) → (b, d, h, w), weighted by |k| across the tilt axis (Radermacher 1992)."""
    b, _, h, m = projections.shape
    ramp = torch.fft.rfftfreq(m, device=projections.device)
    weighted: Tensor = torch.fft.irfft(torch.fft.rfft(projections) * ramp, n=m)
    rows: Tensor = weighted.transpose(1, 2).reshape(b * h, -1) @ geometry(depth, width, tilts).to(projections.device).T
    return rows.view(b, h, depth, width).transpose(1, 2)
