"""What both pickers ask of their input."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from bench.base.errors import BenchError

SIGNS = {"dark": -1.0, "bright": 1.0}


def sign_of(voxels: npt.NDArray[Any], voxel_size_in_angstroms: float, contrast: str, count: int) -> float:
    """The factor that makes particles bright; raises BenchError for input that nothing can be picked from."""
    if voxels.ndim != 3 or voxels.dtype.kind not in "buif" or 0 in voxels.shape:
        raise BenchError(f"a tomogram of shape {voxels.shape}, {voxels.dtype}: give real voxels (d, h, w)")
    if not voxel_size_in_angstroms > 0:
        raise BenchError(
            f"voxel size {voxel_size_in_angstroms:g} Å: must be positive; say it where the header does not"
        )
    if contrast not in SIGNS:
        raise BenchError(f"contrast '{contrast}': say how particles look in the tomogram, {' or '.join(SIGNS)}")
    if count < 1:
        raise BenchError(f"count {count}: pick one particle or more")
    return SIGNS[contrast]


def constant(what: str) -> BenchError:
    """The error of a tomogram without contrast."""
    return BenchError(f"{what} is constant: nothing to pick; check the file, or name another tomogram")
