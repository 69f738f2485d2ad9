"""The paper's real set: seven single-particle tomography depositions of Noble et al. 2018 (eLife 7:e34257)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.base.arrays import StrArray
from bench.base.errors import BenchError
from bench.base.parameters import parameter
from bench.base.progress import Progress, silent
from bench.data.dataset import Dataset, read_boxes
from bench.data.subtomograms import Subtomograms
from bench.extraction.crop import normalised
from bench.files import volume


class Deposition(NamedTuple):
    """An EMPIAR entry and what it holds."""

    number: int
    complex: str
    confirmed: bool  # in the eLife deposition table; else inferred from the class names 31, 33, 35, 43, 69, 72, 73

    def __str__(self) -> str:
        """As a table prints it."""
        return f"EMPIAR-{self.number} {self.complex}" + ("" if self.confirmed else " (inferred)")


DEPOSITIONS = (
    Deposition(10131, "rabbit muscle aldolase", True),
    Deposition(10133, "glutamate dehydrogenase", True),
    Deposition(10135, "DnaB helicase-loader", True),
    Deposition(10143, "T20S proteasome", True),
    Deposition(10169, "apoferritin", False),
    Deposition(10172, "hemagglutinin", False),
    Deposition(10173, "insulin receptor", False),
)
BOX = 28
MRC, SET = "MRC boxes", "a set of bench data extract"


@dataclass(frozen=True)
class Noble(Dataset):
    """The paper's real set, seven EMPIAR entries: --data DIR with 10131/, 10133/ …, made as docs/real-data.md says."""

    needs_folder = True
    folder_hint = "add --data DIR; docs/real-data.md tells how the set is made from seven EMPIAR entries"

    per_class: int = parameter(
        400,
        "particles of each class, the first in its folder; the paper's were chosen by hand",
        low=1,
        high=1_000_000,
    )
    test_fraction: float = parameter(
        0.5, "part held out for the scores; the paper's 1,400 of 2,800", low=0.001, high=0.999
    )

    def sources(self) -> list[Path]:
        """The description and volumes of each extracted set, or every box."""
        folders = self._folders()
        sets = [folder for folder in folders if _holds(folder) == SET]
        files = [folder / name for folder in sets for name in ("meta.json", "volumes.npy")]
        return files + [path for folder in folders if _holds(folder) == MRC for path in volume.find(folder)]

    def load(self, progress: Progress = silent) -> Subtomograms:
        """Read every class; boxes have mean 0 and variance 1."""
        folders = self._folders()
        parts = []
        for i, folder in enumerate(folders):
            parts.append(self._read(folder))
            progress(i + 1, len(folders))
        volumes = [boxes for boxes, _, _ in parts]
        for folder, boxes in zip(folders, volumes):
            if boxes.shape[1:] != (BOX,) * 3:
                sides = "×".join(map(str, boxes.shape[1:]))
                raise BenchError(f"{folder}: boxes of {sides} voxels; the set has {BOX}³, extract with --box {BOX}")
        known = all(ids is not None for _, _, ids in parts)
        return Subtomograms(
            volumes=np.concatenate(volumes),
            labels=np.repeat(np.arange(len(parts)), [len(boxes) for boxes in volumes]),
            class_names=tuple(map(str, DEPOSITIONS)),
            voxel_size_in_angstroms=parts[0][1],
            title=f"Noble {BOX}³",
            tomogram_ids=np.concatenate([ids for _, _, ids in parts if ids is not None]) if known else None,
            grey_scale="each box",
        )

    def _read(self, folder: Path) -> tuple[np.ndarray, float | None, StrArray | None]:
        if _holds(folder) == SET:
            made = Subtomograms.open_unchanged(folder)
            if len(made.class_names) > 1:
                names = ", ".join(made.class_names)
                raise BenchError(f"{folder}: holds {names}; the set wants one class a folder, and no background")
            ids = None if made.tomogram_ids is None else made.tomogram_ids[: self.per_class]
            named = None if ids is None else np.array([f"{folder.name}/{one}" for one in ids])
            return np.array(made.volumes[: self.per_class]), made.voxel_size_in_angstroms, named
        paths = volume.find(folder)[: self.per_class]
        boxes, voxel_size = read_boxes(paths)
        for i, path in enumerate(paths):
            scaled = normalised(boxes[i])
            if scaled is None:
                raise BenchError(f"{path}: a blank box; remove it")
            boxes[i] = scaled
        return boxes, voxel_size, None

    def _folders(self) -> list[Path]:
        """One folder a class; raises BenchError that says what to get and where to put it."""
        folder = self.required_folder()
        missing = [one for one in DEPOSITIONS if _holds(folder / str(one.number)) is None]
        if missing:
            raise BenchError(
                f"{folder}: no boxes of {'; '.join(map(str, missing))}. Get each from empiar.org and put {MRC}, or "
                f"{SET}, into {folder / str(missing[0].number)} and so on (docs/real-data.md)"
            )
        return [folder / str(one.number) for one in DEPOSITIONS]


def _holds(folder: Path) -> str | None:
    if (folder / "meta.json").is_file():
        return SET
    return MRC if folder.is_dir() and volume.find(folder) else None
