"""Particle tables and tomograms → boxes on disk, of one size, voxel and grey scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.base.arrays import UNLABELLED, Float64Array, FloatArray, IntArray
from bench.base.errors import BenchError
from bench.base.progress import Progress, silent
from bench.base.units import in_angstroms
from bench.data.subtomograms import Subtomograms
from bench.extraction.background import beside
from bench.extraction.crop import cut, inside, normalised
from bench.extraction.cutting import Cutting
from bench.extraction.sites import BACKGROUND, distinct, sites
from bench.extraction.tomograms import Tomograms
from bench.files.tables import ParticleTable


@dataclass(frozen=True)
class Cut:
    """What became of each row of some tables; frames have the columns SITE."""

    kept: pd.DataFrame  # a row a box, in their order
    dropped: pd.DataFrame  # every other row of the tables, with the reason
    voxel_size_in_angstroms: float | None  # of the boxes


def cut_out(
    tables: Sequence[ParticleTable],
    tomograms: Tomograms,
    cutting: Cutting,
    path: Path,
    *,
    repeats: bool = False,
    progress: Progress = silent,
) -> Cut:
    """Cut the boxes of some tables, on the grey scale of `cutting`, into `path` (.npy, float32, (n, d, h, w)).

    repeats: whether a row whose voxels an earlier one has gets a box all the same.
    Raises BenchError where no row has a place for a box.
    """
    found = sites(tables, tomograms, cutting)
    if not repeats:
        found = distinct(found)
    kept, dropped = (found[(found["reason"] == "") == wanted].copy() for wanted in (True, False))
    if not len(kept):
        raise BenchError(f"{tables[0].path}: no row gives a box; the first: {dropped['reason'].iloc[0]}")
    if cutting.background:
        if not tomograms.files:
            raise BenchError("--background needs the tomograms; add --tomograms")
        kept = pd.concat([kept, beside(found, tomograms, cutting)]).sort_values("file", kind="stable")
    good, voxel_size = _cut_all(kept, tomograms, cutting, path, progress)
    blank = kept[~good & (kept["row"] >= 0)].assign(reason="its box is blank or holds NaN")
    dropped = pd.concat([dropped, blank]).sort_values(["table", "row"])
    return Cut(kept[good].copy(), dropped, voxel_size)


def _cut_all(
    wanted: pd.DataFrame, tomograms: Tomograms, cutting: Cutting, path: Path, progress: Progress
) -> tuple[npt.NDArray[np.bool_], float | None]:
    """Cut a box a site into `path`; returns which sites gave one, and the voxel size in Å.

    A site without coordinates is the middle of its file. One whose box is blank or holds NaN gives none.
    """
    n, box = len(wanted), cutting.box
    good, size = np.zeros(n, dtype=bool), cutting.voxel_size_in_angstroms
    with path.open("wb") as handle:
        _head(handle, n, box)
        for i, (file, place) in enumerate(zip(wanted["file"], wanted[["z", "y", "x"]].to_numpy(float))):
            cube, own = _cut_one(Path(file), place, tomograms, cutting)
            if cutting.voxel_size_in_angstroms is None:
                if i and not _alike(own, size):
                    raise BenchError(
                        f"{file}: voxels of {in_angstroms(own)}, in other files {in_angstroms(size)}; "
                        "bring them to one (bench data extract --voxel-size-in-angstroms)"
                    )
                size = own
            if cube is not None:
                handle.write(cube.tobytes())
                good[i] = True
            progress(i + 1, n)
        handle.seek(0)
        _head(handle, int(good.sum()), box)
    return good, size


def _cut_one(
    file: Path, place: Float64Array, tomograms: Tomograms, cutting: Cutting
) -> tuple[FloatArray | None, float | None]:
    """The box at a place, or in the middle of a file where it is NaN; and the file's voxel size in Å."""
    voxels, voxel_size = tomograms.mapped(file)
    ratio, box = cutting.ratio(voxel_size), cutting.box
    centre = place if np.isfinite(place).all() else np.array(voxels.shape) // 2.0
    if not inside(centre[None], voxels.shape, box, ratio)[0]:
        sides = "×".join(map(str, voxels.shape))
        raise BenchError(f"{file}: {sides} voxels are too few for a box of {box}; choose a smaller --box")
    with np.errstate(over="ignore", invalid="ignore"):  # of NaN and of what float32 cannot hold: such a box is refused
        cube = cut(voxels, centre, box, ratio)
        scaled = normalised(cube, cutting.contrast)
    return (cube if cutting.grey_scale == "as read" and scaled is not None else scaled), voxel_size


def _alike(own: float | None, other: float | None) -> bool:
    """Whether two voxel sizes are the same, or both unknown."""
    return own == other or (own is not None and other is not None and abs(own - other) <= 0.01 * other)


def _head(handle: IO[bytes], n: int, box: int) -> None:
    """The header of a .npy file of `n` boxes; as long for any n."""
    shape = {"descr": "<f4", "fortran_order": False, "shape": (n, box, box, box)}
    np.lib.format.write_array_header_1_0(handle, shape)


def labelled(names: Sequence[str]) -> tuple[IntArray, tuple[str, ...]]:
    """Class names, "" for unknown → labels and the names that they count, in order of appearance, background last."""
    known = [name for name in dict.fromkeys(names) if name and name != BACKGROUND]
    classes = (*known, *([BACKGROUND] if BACKGROUND in names else []))
    return np.array([classes.index(name) if name else UNLABELLED for name in names], dtype=np.int64), classes


def as_subtomograms(path: Path, made: Cut, title: str) -> Subtomograms:
    """The boxes that `cut_out` wrote with the labels and tomograms of their sites."""
    labels, classes = labelled(made.kept["class"].tolist())
    tomograms = made.kept["tomogram"].to_numpy(str)
    return Subtomograms(
        volumes=np.load(path, mmap_mode="r"),
        labels=labels,
        class_names=classes,
        voxel_size_in_angstroms=made.voxel_size_in_angstroms,
        title=title,
        tomogram_ids=tomograms if (tomograms != "").any() else None,
        grey_scale="each box",
    )
