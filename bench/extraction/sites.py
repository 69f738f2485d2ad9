"""Particle tables and tomogram files → sites: where each row's box is to be cut, or why it cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from bench.base.errors import BenchError
from bench.extraction.crop import inside
from bench.extraction.cutting import Cutting
from bench.extraction.tomograms import Grid, Tomograms
from bench.files import volume
from bench.files.tables import ParticleTable
from bench.files.tables import read as read_table

BACKGROUND = "background"
SITE = ["table", "row", "tomogram", "class", "z", "y", "x", "file", "reason"]


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
        numbers = [int(line.split()[0]) for line in keep.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise BenchError(f"--keep {keep}: cannot be read as row numbers, one a line ({error})") from error
    wrong = [n for n in numbers if not 1 <= n <= len(found[0])]
    if wrong or not numbers:
        raise BenchError(f"--keep {keep}: {wrong[:1] or 'nothing'} is no row of {len(found[0])}; count them from 1")
    return [replace(found[0], kept=frozenset(n - 1 for n in numbers))]


def sites(tables: Sequence[ParticleTable], tomograms: Tomograms, cutting: Cutting) -> pd.DataFrame:
    """Each row of each table: where its box is to be cut, or the reason why not (columns SITE), sorted by file.

    Without tomograms the boxes that the tables name are taken.
    """
    if tomograms.files:
        homes = tomograms.homes(tables)
        parts = [_of_tomograms(i, t, homes, tomograms.grids, cutting) for i, t in enumerate(tables)]
    else:
        parts = [_of_images(i, t) for i, t in enumerate(tables)]
    found = pd.concat(parts, ignore_index=True)
    for file, grid in tomograms.grids.items():
        here = found["file"] == file
        places = found.loc[here, ["z", "y", "x"]].to_numpy(float)
        fits = inside(places, grid.shape, cutting.box, cutting.ratio(grid.voxel_size_in_angstroms))
        found.loc[here, "reason"] = np.where(fits, "", f"the box sticks out of {Path(file).name}")
    for i, table in enumerate(tables):
        if table.kept is not None:
            here = (found["table"] == i) & ~found["row"].isin(table.kept) & (found["reason"] == "")
            found.loc[here, "reason"] = "not on the keep-list"
    return found[SITE].sort_values("file", kind="stable", ignore_index=True)


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
