"""Dataset: the contract of a source of subtomograms."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bench.base.arrays import FloatArray
from bench.base.code import code_digest
from bench.base.errors import BenchError
from bench.base.files import digest, file_digest
from bench.base.json_files import KEY, Schema
from bench.base.parameters import check, parameter
from bench.base.progress import Progress, silent
from bench.data.conditions import Conditions
from bench.data.subtomograms import Subtomograms
from bench.files import volume

# `manifest.json` of what a command of `bench data` wrote: what it was asked for, and the hash of that.
MANIFEST: Schema = {
    "type": "object",
    "properties": {
        "recipe": {"type": "object"},
        "recipe_hash": KEY,
        "structures": {"type": "object", "additionalProperties": {"type": "object"}},  # name → notes
    },
    "required": ["recipe"],
}


def read_boxes(paths: list[Path], progress: Progress = silent) -> tuple[FloatArray, float | None]:
    """Boxes of one shape, (n, d, h, w), and the first one's voxel size in Å; raises BenchError where shapes differ."""
    first = volume.read(paths[0])
    volumes = np.empty((len(paths), *first.voxels.shape), dtype=np.float32)
    for i, path in enumerate(paths):
        voxels = volume.read(path).voxels
        if voxels.shape != first.voxels.shape:
            raise BenchError(
                f"{path}: {voxels.shape} voxels where {paths[0].name} has {first.voxels.shape}; "
                f"extract all boxes at one size"
            )
        volumes[i] = voxels
        progress(i + 1, len(paths))
    return volumes, first.voxel_size_in_angstroms


@dataclass(frozen=True)
class Dataset(Conditions, ABC):
    """A source of subtomograms; a concrete one is a frozen dataclass whose fields are its parameters.

    Its first docstring line is what `bench list datasets` shows.
    """

    needs_folder: ClassVar[bool] = False  # whether --data must name a folder
    folder_hint: ClassVar[str] = "add --data DIR"  # how to get one

    folder: Path | None = None  # what --data names; no parameter, --set cannot change it
    test_fraction: float | None = parameter(
        None, "part held out for the scores; None: the profile says", low=0.001, high=0.999
    )

    def __post_init__(self) -> None:
        check(self)

    @abstractmethod
    def load(self, progress: Progress = silent) -> Subtomograms:
        """Read or make all subtomograms; raises BenchError with one line that says how to mend the input."""

    def write(self, folder: Path, progress: Progress = silent) -> None:
        """Put what `Subtomograms.open` reads into `folder`; a large set goes on where an interrupted call left off."""
        self.load(progress).save(folder)

    def remarks(self, folder: Path) -> list[str]:
        """What a person should know of the set that `write` wrote to `folder`, a line each."""
        return []

    def sources(self) -> list[Path]:
        """The files that `load` reads; a change of one of them makes the data set anew."""
        return []

    def parameters(self) -> dict[str, Any]:
        """What makes these volumes and no others, but for files: name → value."""
        return {name: value for name, value in asdict(self).items() if name not in OF_TRIALS}

    def conditions(self) -> Conditions:
        """What trials make of these volumes."""
        return Conditions(**{f.name: getattr(self, f.name) for f in fields(Conditions)})

    def recipe(self) -> dict[str, Any]:
        """All that the volumes depend on: parameters, source files, and the code that reads or makes them."""
        return {
            "data_set": type(self).__qualname__,
            "parameters": self.parameters(),
            "sources": [[p.name, p.parent.name, file_digest(p)] for p in self.sources()],
            "code": code_digest(type(self).__module__),
        }

    def key(self) -> str:
        """Hash of the recipe."""
        return digest(self.recipe())

    def required_folder(self) -> Path:
        """The folder that --data named; raises BenchError where it named none or one that is not there."""
        name = type(self).__name__.lower()
        if self.folder is None:
            raise BenchError(f"the data set {name} needs a folder; {self.folder_hint}")
        if not self.folder.is_dir():
            raise BenchError(f"{self.folder}: no such folder; name the folder of the data set {name}")
        return self.folder

    def required_files(self, suffixes: tuple[str, ...], what: str) -> list[Path]:
        """The files of that folder with `suffixes`, one a class; raises BenchError where there are fewer than two."""
        folder = self.required_folder()
        files = volume.find(folder, suffixes)
        if len(files) < 2:
            raise BenchError(f"{folder}: {len(files)} {what} ({', '.join(suffixes)}); put two or more there")
        return files


OF_TRIALS = {"folder", "test_fraction", *(f.name for f in fields(Conditions))}  # they change no volume


@dataclass(frozen=True)
class Saved(Dataset):
    """A set that a command of `bench data` wrote, as it lies there."""

    needs_folder = True

    @abstractmethod
    def made(self) -> Path:
        """Where `Subtomograms.save` wrote; raises BenchError where it has not."""

    def sources(self) -> list[Path]:
        """The set's labels and description, with the fingerprint of the volumes; not the volumes, which are large."""
        return [self.made() / "labels.npy", self.made() / "meta.json"]

    def recipe(self) -> dict[str, Any]:
        """Also the place of the volumes: a set that is called the same, elsewhere, may be damaged."""
        return super().recipe() | {"volumes": str(self._volumes())}

    def load(self, progress: Progress = silent) -> Subtomograms:
        """Map the volumes, wherever they lie, once they are compared with the set's fingerprint."""
        return Subtomograms.open_unchanged(self.made(), progress)

    def write(self, folder: Path, progress: Progress = silent) -> None:
        """Link the volumes, copy the rest; raises BenchError where they do not have the set's fingerprint."""
        made = self.made()
        for name in ("labels.npy", "meta.json"):
            shutil.copyfile(made / name, folder / name)
        (folder / "volumes.npy").unlink(missing_ok=True)
        (folder / "volumes.npy").symlink_to(self._volumes())
        try:
            Subtomograms.open_unchanged(folder, progress)
        except BenchError as error:
            raise BenchError(str(error).replace(str(folder), str(made), 1)) from error

    def _volumes(self) -> Path:
        return (self.made() / "volumes.npy").resolve()
