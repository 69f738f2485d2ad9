"""Sites → boxes on disk, of one size, voxel and grey scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.base.arrays import UNLABELLED, FloatArray, IntArray
from bench.base.errors import BenchError
from bench.base.progress import Progress, silent
from bench.data.subtomograms import Subtomograms
from bench.extraction.crop import cut, inside, normalised
from bench.extraction.sites import BACKGROUND, Array, Cutting, _opened


def cut_all(
    wanted: pd.DataFrame, cutting: Cutting, path: Path, report: Progress = silent
) -> tuple[npt.NDArray[np.bool_], float]:
    """Cut and normalise a box a site into `path` (.npy, float32); returns which sites gave one, and the voxel size, Å.

    A site without coordinates is the middle of its file. One whose box is blank or holds NaN gives none.
    """
    n, box = len(wanted), cutting.box
    good, size = np.zeros(n, dtype=bool), 0.0
    with path.open("wb") as handle:
        _head(handle, n, box)
        for i, (file, place) in enumerate(zip(wanted["file"], wanted[["z", "y", "x"]].to_numpy(float))):
            cube, own = _cut_one(Path(file), place, cutting)
            if i and not cutting.voxel_size_in_angstroms and abs(own - size) > 0.01 * size:
                raise BenchError(
                    f"{file}: voxels of {own:g} Å, in other files {size:g} Å; add --voxel-size-in-angstroms"
                )
            size = cutting.voxel_size_in_angstroms or own
            if cube is not None:
                handle.write(cube.tobytes())
                good[i] = True
            report(i + 1, n)
        handle.seek(0)
        _head(handle, int(good.sum()), box)
    return good, size


def _cut_one(file: Path, place: Array, cutting: Cutting) -> tuple[FloatArray | None, float]:
    """The box at a place, or in the middle of a file where it is NaN; and the file's voxel size in Å."""
    voxels, voxel_size = _opened(file, cutting.tomogram_voxel_size_in_angstroms)
    ratio, box = cutting.ratio(voxel_size), cutting.box
    centre = place if np.isfinite(place).all() else np.array(voxels.shape) // 2.0
    if not inside(centre[None], voxels.shape, box, ratio)[0]:
        sides = "×".join(map(str, voxels.shape))
        raise BenchError(f"{file}: {sides} voxels are too few for a box of {box}; choose a smaller --box")
    return normalised(cut(voxels, centre, box, ratio), cutting.contrast), voxel_size


def _head(handle: IO[bytes], n: int, box: int) -> None:
    """The header of a .npy file of `n` boxes; as long for any n."""
    shape = {"descr": "<f4", "fortran_order": False, "shape": (n, box, box, box)}
    np.lib.format.write_array_header_1_0(handle, shape)


def labelled(names: Sequence[str]) -> tuple[IntArray, tuple[str, ...]]:
    """Class names, "" for unknown → labels and the names that they count, in order of appearance, background last."""
    known = [name for name in dict.fromkeys(names) if name and name != BACKGROUND]
    classes = (*known, *([BACKGROUND] if BACKGROUND in names else []))
    return np.array([classes.index(name) if name else UNLABELLED for name in names], dtype=np.int64), classes


def as_subtomograms(path: Path, where: pd.DataFrame, voxel_size: float, title: str) -> Subtomograms:
    """The boxes of `cut_all` with the labels and tomograms of their sites."""
    labels, classes = labelled(where["class"].tolist())
    tomograms = where["tomogram"].to_numpy(str)
    return Subtomograms(
        volumes=np.load(path, mmap_mode="r"),
        labels=labels,
        class_names=classes,
        voxel_size_in_angstroms=voxel_size,
        title=title,
        tomogram_ids=tomograms if (tomograms != "").any() else None,
    )
