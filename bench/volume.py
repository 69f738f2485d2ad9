"""MRC ↔ float32 array (d, h, w) = (z, y, x) with its voxel size; the only importer of mrcfile."""

from __future__ import annotations

import gzip
import warnings
import zlib
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import mrcfile
import numpy as np
import numpy.typing as npt

from bench.errors import BenchError

FloatArray = npt.NDArray[np.float32]
SUFFIXES = (".mrc", ".mrc.gz", ".map", ".map.gz", ".rec", ".ccp4", ".ccp4.gz")


class Volume(NamedTuple):
    """A density grid: `voxels` (d, h, w), float32, and the edge of a voxel in Å (0 where the file does not say)."""

    voxels: FloatArray
    voxel_size_in_angstroms: float


def read(path: Path) -> Volume:
    """Read one MRC file (.gz too), old headers included.

    Raises BenchError where the file is missing, cut short, not a 3D MRC, or holds NaN or infinite voxels.
    """
    if not path.is_file():
        raise BenchError(f"{path}: no such file; name an MRC volume that exists")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with mrcfile.open(path, permissive=True) as handle:
                data = handle.data
                voxel_size = float(handle.voxel_size.z)
    except (OSError, ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BenchError(f"{path}: cannot be read as MRC ({error}); copy or export the file again") from error
    if data is None:
        reason = "; ".join(str(warning.message) for warning in caught) or "no data block"
        raise BenchError(f"{path}: truncated or not MRC ({reason}); copy or export the file again")
    if data.ndim != 3:
        raise BenchError(f"{path}: has {data.ndim} dimensions, a volume has 3; export it as one MRC volume")
    voxels = np.array(data, dtype=np.float32)
    if not np.isfinite(voxels).all():
        raise BenchError(f"{path}: holds NaN or infinite voxels; mask or re-extract this volume")
    return Volume(voxels, voxel_size)


def write(path: Path, voxels: FloatArray | npt.NDArray[np.int8], voxel_size_in_angstroms: float) -> None:
    """Write an MRC file (mode 2, or 0 for int8 voxels); refuses to overwrite one that exists."""
    with mrcfile.new(path) as handle:
        handle.set_data(voxels if voxels.dtype == np.int8 else voxels.astype(np.float32))
        handle.voxel_size = voxel_size_in_angstroms
        handle.header.label[0] = "subtomobench"  # instead of the hour: the same volume is the same bytes


def find(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    """The files with `suffixes` right inside `folder`, by name; raises BenchError where one stands there twice."""
    paths = sorted(p for p in folder.iterdir() if p.name.lower().endswith(suffixes) and p.is_file())
    for one, other in pairwise(sorted(paths, key=lambda path: stem(path, suffixes))):
        if stem(one, suffixes) == stem(other, suffixes):
            raise BenchError(f"{one} and {other.name}: the same thing twice? keep one of them, or rename it")
    return paths


def stem(path: Path, suffixes: tuple[str, ...] = SUFFIXES) -> str:
    """The file's name without that suffix: `6qzp.mrc.gz` → `6qzp`."""
    name = path.name
    for suffix in sorted(suffixes, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name
