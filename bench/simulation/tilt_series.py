"""A tilt series and its weighted back-projection, as the microscope and the reconstruction program make them.

The tilt axis is y: at the angle θ a voxel (z, x), counted from the centre, falls on the detector at x cos θ + z sin θ.
Projection and back-projection are one sparse matrix and its transpose, for all angles and rows at once.
"""

from __future__ import annotations

import math
import warnings
from functools import lru_cache

import numpy as np
import torch
from scipy import sparse
from torch import Tensor


def angles(limit_in_degrees: float, step_in_degrees: float) -> tuple[float, ...]:
    """Tilts from −limit to limit, in degrees; 0 is among them."""
    n = math.floor(limit_in_degrees / step_in_degrees + 1e-9)
    return tuple(step_in_degrees * i for i in range(-n, n + 1))


def detector_width(depth: int, width: int) -> int:
    """Pixels across the tilt axis that hold the shadow of a box at every angle; even."""
    return 2 * math.ceil(math.hypot(depth, width) / 2 + 1)


@lru_cache(maxsize=4)
def geometry(depth: int, width: int, tilts: tuple[float, ...], device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Share of each voxel (z, x) in each detector pixel (tilt, u), by linear interpolation, and its transpose.

    Sparse (CSR): (tilts · m, d · w) and (d · w, tilts · m).
    """
    m = detector_width(depth, width)
    theta = np.radians(tilts)[:, None, None]
    z, x = np.arange(depth)[:, None] - depth // 2, np.arange(width) - width // 2
    u = x * np.cos(theta) + z * np.sin(theta) + m // 2  # (tilts, d, w)
    pixel = np.floor(u).astype(np.int64)
    share = u - pixel
    rows = (pixel + m * np.arange(len(tilts))[:, None, None]).ravel()
    voxels = np.broadcast_to(np.arange(depth * width).reshape(depth, width), u.shape).ravel()
    values = np.concatenate([(1 - share).ravel(), share.ravel()]).astype(np.float32)
    places = np.concatenate([rows, rows + 1]), np.concatenate([voxels, voxels])
    matrix = sparse.csr_array((values, places), shape=(len(tilts) * m, depth * width))
    forward, back = (_to_torch(some).to(device) for some in (matrix, matrix.T.tocsr()))
    return forward, back


def _to_torch(matrix: sparse.csr_array) -> Tensor:
    starts, columns, values = (torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(starts, columns, values, list(matrix.shape), check_invariants=False)


def project(volumes: Tensor, tilts: tuple[float, ...]) -> Tensor:
    """(b, d, h, w) → projections along the beam (b, tilts, h, m); at 0° the sum along z."""
    b, d, h, w = volumes.shape
    columns = volumes.permute(1, 3, 0, 2).reshape(d * w, b * h)
    shadows = geometry(d, w, tilts, str(volumes.device))[0] @ columns
    return shadows.view(len(tilts), -1, b, h).permute(2, 0, 3, 1)


def back_project(projections: Tensor, depth: int, width: int, tilts: tuple[float, ...]) -> Tensor:
    """Projections (b, tilts, h, m) → (b, d, h, w), weighted by |k| across the tilt axis (Radermacher 1992)."""
    b, _, h, m = projections.shape
    ramp = torch.fft.rfftfreq(m, device=projections.device)
    weighted: Tensor = torch.fft.irfft(torch.fft.rfft(projections) * ramp, n=m)
    columns = weighted.permute(1, 3, 0, 2).reshape(-1, b * h)
    volumes = geometry(depth, width, tilts, str(projections.device))[1] @ columns
    return volumes.view(depth, width, b, h).permute(2, 0, 3, 1)
