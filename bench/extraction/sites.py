"""Particle tables and tomogram files → sites: where each row's box is to be cut, or why it cannot be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.base.errors import BenchError
from bench.extraction.crop import inside
from bench.files import volume
from bench.files.tables import ParticleTable
from bench.files.tables import read as read_table
from bench.files.volume import Mapped

Array = npt.NDArray[np.float64]
BACKGROUND = "background"
SITE = ["table", "row", "tomogram", "class", "z", "y", "x", "file", "reason"]


@dataclass(frozen=True)
class Cutting:
    """How boxes are cut; raises BenchError for a number out of range."""

    box: int = 32  # voxels along an edge
    voxel_size_in_angstroms: float = 0.0  # of the boxes; 0: the tomogram's
    contrast: str = "dark"  # of particles in the tomogram; boxes come out bright on dark
    tomogram_voxel_size_in_angstroms: float = 0.0  # where the header is wrong; 0: the header's
    coordinates_voxel_size_in_angstroms: float = 0.0  # Å a unit of the table's coordinates; 0: as the table says
    background: int = 0  # positions beside the particles, as a class of their own
    seed: int = 0  # of these positions

    def __post_init__(self) -> None:
        if self.box < 2:
            raise BenchError(f"--box {self.box}: a box has 2 voxels or more along an edge")
        if self.contrast not in ("dark", "bright"):
            raise BenchError(f"--contrast {self.contrast}: say how particles look in the tomogram, dark or bright")
        sizes = ("voxel_size_in_angstroms", "tomogram_voxel_size_in_angstroms", "coordinates_voxel_size_in_angstroms")
        for name in (*sizes, "background"):
            if getattr(self, name) < 0:
                raise BenchError(f"--{name.replace('_', '-')} {getattr(self, name):g}: must not be negative")

    def ratio(self, voxel_size: float) -> float:
        """Voxels of a tomogram to one of the boxes."""
        if self.voxel_size_in_angstroms == 0:
            return 1.0
        if voxel_size <= 0:
            raise BenchError("the tomogram's header has no voxel size; add --tomogram-voxel-size-in-angstroms")
        ratio = self.voxel_size_in_angstroms / voxel_size
        return 1.0 if abs(ratio - 1) < 0.005 else ratio


def read_tables(texts: Sequence[str], class_column: str = "", keep: Path | None = None) -> list[ParticleTable]:
    """Tables as the command line names them: FILE, or CLASS=FILE for all rows of one class.

    keep: a file of row numbers, counted from 1; it needs a single table.
    """
    found = []
    for text in texts:
        kind, equals, name = text.partition("=")
        path = Path(name if equals and not Path(text).exists() else text)
        table = read_table(path, class_column)
        if equals and path != Path(text):
            table = replace(table, rows=table.rows.assign(**{"class": kind}))
        found.append(table)
    if keep is None:
        return found
    if len(found) > 1:
        raise BenchError(f"--keep {keep}: numbers the rows of one table; give one --table at a time")
    try:
        numbers = [int(line.split()[0]) for line in keep.read_text().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise BenchError(f"--keep {keep}: cannot be read as row numbers, one a line ({error})") from error
    wrong = [n for n in numbers if not 1 <= n <= len(found[0])]
    if wrong or not numbers:
        raise BenchError(f"--keep {keep}: {wrong[:1] or 'nothing'} is no row of {len(found[0])}; count them from 1")
    return [replace(found[0], kept=frozenset(n - 1 for n in numbers))]


def files(named: str | None) -> list[Path]:
    """The tomogram, or the tomograms of the folder, that --tomograms names."""
    if named is None:
        return []
    path = Path(named)
    found = volume.find(path) if path.is_dir() else [path]
    if not found:
        raise BenchError(f"{path}: no tomograms ({', '.join(volume.SUFFIXES)}); name another folder")
    return found


class Grid(NamedTuple):
    """What is known of a tomogram without its voxels."""

    shape: tuple[int, ...]
    voxel_size_in_angstroms: float


_OPEN: dict[tuple[Path, float], Mapped] = {}


def _opened(path: Path, voxel_size_in_angstroms: float) -> Mapped:
    """The tomogram in use: one at a time, since a compressed one fills the memory."""
    if (path, voxel_size_in_angstroms) not in _OPEN:
        _OPEN.clear()
        _OPEN[path, voxel_size_in_angstroms] = volume.mapped(path, voxel_size_in_angstroms)
    return _OPEN[path, voxel_size_in_angstroms]


def sites(
    tables: Sequence[ParticleTable], files: Sequence[Path], cutting: Cutting
) -> tuple[pd.DataFrame, dict[str, Grid]]:
    """Each row of each table: where its box is to be cut, or the reason why not (columns SITE); and the files' grids.

    Sorted by file. Without files the boxes that the tables name are taken.
    """
    grids = {}
    for path in files:
        some = _opened(path, cutting.tomogram_voxel_size_in_angstroms)
        grids[str(path)] = Grid(some.voxels.shape, some.voxel_size_in_angstroms)
    names = {str(name) for table in tables for name in table.rows["tomogram"]}
    homes = {name: file_of(name, list(files), lone=len(names) == 1) for name in names} if files else {}
    parts = [_of_tomograms(i, t, homes, grids, cutting) if files else _of_images(i, t) for i, t in enumerate(tables)]
    found = pd.concat(parts, ignore_index=True)
    if files:
        for file, grid in grids.items():
            here = found["file"] == file
            places = found.loc[here, ["z", "y", "x"]].to_numpy(float)
            fits = inside(places, grid.shape, cutting.box, cutting.ratio(grid.voxel_size_in_angstroms))
            found.loc[here, "reason"] = np.where(fits, "", f"the box sticks out of {Path(file).name}")
    for i, table in enumerate(tables):
        if table.kept is not None:
            here = (found["table"] == i) & ~found["row"].isin(table.kept) & (found["reason"] == "")
            found.loc[here, "reason"] = "not on the keep-list"
    return found[SITE].sort_values("file", kind="stable", ignore_index=True), grids


def _of_tomograms(
    i: int, table: ParticleTable, homes: dict[str, Path | None], grids: dict[str, Grid], cutting: Cutting
) -> pd.DataFrame:
    rows = table.rows
    found = pd.DataFrame(
        {"table": i, "row": np.arange(len(rows)), "tomogram": rows["tomogram"], "class": rows["class"]}
    )
    found[["z", "y", "x"]], found["file"], found["reason"] = np.nan, "", ""
    if not np.isfinite(rows[["z", "y", "x"]].to_numpy(float)).all():
        raise BenchError(f"{table.path}: has no coordinates, only boxes; leave --tomograms out")
    for name in rows["tomogram"].unique():
        path = homes[str(name)]
        which = np.flatnonzero(rows["tomogram"] == name)
        if path is None:
            found.loc[which, "reason"] = f"no tomogram file is called like {name}"
            continue
        grid = grids[str(path)]
        unit = cutting.coordinates_voxel_size_in_angstroms
        found.loc[which, ["z", "y", "x"]] = table.places(which, grid.shape, grid.voxel_size_in_angstroms, unit)
        found.loc[which, "file"] = str(path)
        found.loc[which, "tomogram"] = volume.stem(path)
    if (found["file"] == "").all():
        names = ", ".join(rows["tomogram"].unique()[:3])
        files = ", ".join(Path(file).name for file in list(grids)[:3])
        raise BenchError(
            f"{table.path}: tomograms {names}, files {files}: no two alike; name the files like the tomograms"
        )
    return found


def file_of(name: str, files: list[Path], lone: bool = False) -> Path | None:
    """The file of a tomogram: of the same name, or the one whose name holds it, or is held by it, as whole words.

    lone: no other tomogram is named, so that a lone file is its, whatever it is called.
    """
    plain = volume.stem(Path(name.removesuffix(".tomostar")))
    if not plain:
        return files[0] if len(files) == 1 else None
    same = [path for path in files if volume.stem(path) == plain]
    alike = [path for path in files if _holds(volume.stem(path), plain) or _holds(plain, volume.stem(path))]
    for found in (same, alike):
        if len(found) == 1:
            return found[0]
        if found:
            raise BenchError(f"tomogram {name}: {found[0].name} and {found[1].name} could be it; rename one")
    return files[0] if lone and len(files) == 1 else None


def assumed(tables: Sequence[ParticleTable], files: Sequence[Path]) -> str:
    """A remark where a lone tomogram is taken for a lone file of another name, else ""."""
    names = {str(name) for table in tables for name in table.rows["tomogram"]}
    if len(names) == len(files) == 1 and not file_of(name := names.pop(), list(files)):
        return f"the table's tomogram {name} is taken to be {files[0].name}"
    return ""


def _holds(long: str, short: str) -> bool:
    """Whether the words and numbers of `short` stand in `long` in one piece: TS_1 in bin4_TS_01, not in TS_10."""
    words, wanted = (
        [str(int(w)) if w.isdigit() else w.lower() for w in re.findall(r"[0-9]+|[^\W\d_]+", s)] for s in (long, short)
    )
    return any(words[i : i + len(wanted)] == wanted for i in range(len(words) - len(wanted) + 1))


def _of_images(i: int, table: ParticleTable) -> pd.DataFrame:
    rows = table.rows
    if (rows["image"] == "").all():
        raise BenchError(f"{table.path}: names no extracted boxes; add --tomograms")
    found = pd.DataFrame(
        {"table": i, "row": np.arange(len(rows)), "tomogram": rows["tomogram"], "class": rows["class"]}
    )
    found[["z", "y", "x"]], found["reason"] = np.nan, ""
    paths = [_box_file(table.path, image) for image in rows["image"]]
    found["file"] = [str(path or "") for path in paths]
    found.loc[found["file"] == "", "reason"] = "its box is not there"
    if not any(paths):
        raise BenchError(f"{table.path}: {rows['image'].iloc[0]} and the other boxes are not there; add --tomograms")
    return found


def _box_file(table: Path, image: str) -> Path | None:
    """A box, named from the table's folder or one above it, as RELION names files from its project's."""
    if "@" in image or image.endswith(".mrcs"):
        raise BenchError(f"{table}: {image} is a stack of images, not a box; add --tomograms to cut boxes anew")
    folders = [table.absolute().parent, *list(table.absolute().parents)[1:6], Path.cwd()]
    return next((folder / image for folder in folders if image and (folder / image).is_file()), None)


def distinct(found: pd.DataFrame) -> pd.DataFrame:
    """The sites with a reason for each whose voxels an earlier one has: it would be in training and test."""
    kept = found["reason"] == ""
    same = found.loc[kept].round({"z": 0, "y": 0, "x": 0}).duplicated(["file", "z", "y", "x"])
    reasons = found["reason"].copy()
    reasons[same.index[same]] = "an earlier row cuts the same voxels"
    return found.assign(reason=reasons)
