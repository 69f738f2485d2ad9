"""What `bench data pick` and `match` read and leave: templates, tables, numbered boxes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.base.errors import BenchError
from bench.extraction import sites
from bench.files import sheets, tables, volume
from bench.files.volume import Mapped
from bench.simulation import Density, potential, structure

GALLERY, GALLERY_PAGE = 1000, 100  # boxes shown of a table of picks, and on a page


def new_table(path: Path) -> None:
    """Raise BenchError where a table of that name cannot be written: before hours of work, not after."""
    if path.suffix not in (".star", ".csv"):
        raise BenchError(f"{path}: the table's format follows from its name; end it in .star or .csv")
    if path.exists():
        raise BenchError(f"{path}: exists; choose another --out, or move it")


def template(path: Path, voxel_size_in_angstroms: float) -> Density:
    """A density map, or the potential of a structure on a grid half as fine as the tomogram's voxels."""
    if voxel_size_in_angstroms <= 0:
        raise BenchError("the tomogram's header has no voxel size; add --tomogram-voxel-size-in-angstroms")
    if path.name.lower().endswith(structure.SUFFIXES):
        return potential(structure.read(path), voxel_size_in_angstroms / 2)
    voxels, voxel_size = volume.read(path)
    if voxel_size <= 0:
        raise BenchError(f"{path}: the header gives no voxel size; write it into the header")
    return Density(volume.stem(path), voxels.clip(0), voxel_size)


def places(path: Path, tomogram: Path, read: Mapped) -> npt.NDArray[np.float64]:
    """(z, y, x) of a table's rows for a tomogram in its voxels, (n, 3); raises BenchError where there is none."""
    table = tables.read(path)
    which = np.array([i for i, name in enumerate(table.rows["tomogram"]) if sites.file_of(name, [tomogram])], dtype=int)
    if not len(which):
        raise BenchError(f"{path}: no row for a tomogram like {tomogram.name}; name the file like the tomogram")
    return table.places(which, read.voxels.shape, read.voxel_size_in_angstroms)


def picks(found: pd.DataFrame, read: Mapped, tomogram: Path, contrast: str, diameter: float, out: Path) -> None:
    """Write picks, best first: the table, a marked slice (.png) and numbered boxes (-001.png …), GALLERY at most.

    diameter: of the particles, in Å.
    """
    tables.write(out, found.assign(tomogram=volume.stem(tomogram)), read.voxel_size_in_angstroms)
    where = found[["z", "y", "x"]].to_numpy(float)
    radius = diameter / read.voxel_size_in_angstroms / 2
    title = f"{len(found)} picks in {tomogram.name}"
    sheets.marked(read.voxels, where, radius, title, out.with_suffix(".png"))
    side, sign = math.ceil(3 * radius), 1 if contrast == "bright" else -1
    for first in range(0, min(len(where), GALLERY), GALLERY_PAGE):
        boxes = []
        for place in where[first : first + GALLERY_PAGE]:
            corner = np.clip(np.round(place).astype(int) - side // 2, 0, np.array(read.voxels.shape) - side).clip(0)
            patch = read.voxels[tuple(slice(c, c + side) for c in corner)]
            boxes.append(sign * np.asarray(patch, dtype=np.float32))
        page = out.with_name(f"{out.stem}-{first // GALLERY_PAGE + 1:03d}.png")
        sheets.gallery(boxes, first + 1, f"{out.name}: rows {first + 1} to {first + len(boxes)}, bright", page)
