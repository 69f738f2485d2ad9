"""Subtomograms, what a data set delivers, and Dataset, the contract of one."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bench import volume
from bench.cache import code_digest, digest, file_digest, write_atomically
from bench.errors import BenchError
from bench.volume import FloatArray

IntArray = npt.NDArray[np.int64]
StrArray = npt.NDArray[np.str_]
UNLABELLED = -1
Report = Callable[[int, int], None]  # (done, of), called while a data set is made


def silent(_done: int, _of: int) -> None:
    """A Report that says nothing."""


@dataclass(frozen=True)
class Subtomograms:
    """Cropped particles with their labels.

    Raises BenchError where the parts do not fit each other.
    """

    volumes: FloatArray  # (n, d, h, w)
    labels: IntArray  # (n,), index into class_names; UNLABELLED where nobody knows
    class_names: tuple[str, ...]
    voxel_size_in_angstroms: float
    title: str  # the name that tables print, with what tells it from its kin: "phantoms 16³"
    tomogram_ids: StrArray | None = None  # (n,)

    def __post_init__(self) -> None:
        n = len(self.volumes)
        for name in {self.title, *self.class_names, *map(str, () if self.tomogram_ids is None else self.tomogram_ids)}:
            if not name.isprintable():  # it goes to terminals, pages and file names
                raise BenchError(f"{name!r}: a name with control characters; rename that class, tomogram or set")
        if self.volumes.ndim != 4 or len(self.labels) != n:
            raise BenchError(f"{self.title}: {self.volumes.shape} volumes do not fit {self.labels.shape} labels")
        if self.tomogram_ids is not None and len(self.tomogram_ids) != n:
            raise BenchError(f"{self.title}: {len(self.tomogram_ids)} tomogram ids for {n} volumes")
        counts = self.counts()
        if len(counts) > len(self.class_names) or not counts.all():
            raise BenchError(f"{self.title}: a class without volumes, or a label without a name: counts {counts}")

    def counts(self) -> IntArray:
        """Labelled volumes of each class."""
        return np.bincount(self.labels[self.labels != UNLABELLED], minlength=len(self.class_names))

    def check_trainable(self) -> None:
        """Raise BenchError where there is nothing to tell apart."""
        if len(self.class_names) < 2:
            raise BenchError(
                f"{self.title}: {len(self.class_names)} class(es); a classifier needs two or more: "
                f"add labelled particles of another class, or positions beside them (bench data extract --background)"
            )

    @property
    def side(self) -> int:
        """Edge of the cubic box in voxels; raises BenchError for a box that is no cube."""
        d, h, w = self.volumes.shape[1:]
        if not d == h == w:
            raise BenchError(f"{self.title}: boxes of {d}×{h}×{w} voxels; the networks need cubes, extract cubes")
        return int(d)

    def by_class(self) -> list[tuple[str, IntArray]]:
        """Name and indices of each class, and of the volumes without one where there are any."""
        named = [*enumerate(self.class_names), (UNLABELLED, "no class")]
        found = [(name, np.flatnonzero(self.labels == label)) for label, name in named]
        return [(name, which) for name, which in found if len(which)]

    def mean(self, which: IntArray) -> FloatArray:
        """Mean of some volumes, (d, h, w); one at a time, since all may be more than the memory holds."""
        total = np.zeros(self.volumes.shape[1:])
        for i in which:
            total += self.volumes[i]
        return (total / max(1, len(which))).astype(np.float32)

    def fingerprint(self) -> str:
        """SHA-256 over voxels, labels and names: what a trial was run on."""
        digest = hashlib.sha256(json.dumps([self.class_names, self.volumes.shape]).encode())
        for some in _in_parts(self.volumes):
            digest.update(some.tobytes())
        digest.update(self.labels.tobytes())
        if self.tomogram_ids is not None:
            digest.update(json.dumps(self.tomogram_ids.tolist()).encode())
        return digest.hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Write `volumes.npy`, `labels.npy` and `meta.json` into `folder`; a volumes.npy that is mapped here stays."""
        target = folder / "volumes.npy"
        mapped = self.volumes.filename if isinstance(self.volumes, np.memmap) else None
        if not (mapped and target.exists() and target.samefile(mapped)):
            np.save(target, self.volumes)
        np.save(folder / "labels.npy", self.labels)
        meta = {
            "class_names": self.class_names,
            "voxel_size_in_angstroms": self.voxel_size_in_angstroms,
            "title": self.title,
            "tomogram_ids": None if self.tomogram_ids is None else self.tomogram_ids.tolist(),
            "fingerprint": self.fingerprint(),
        }
        write_atomically(folder / "meta.json", json.dumps(meta))

    @staticmethod
    def saved_fingerprint(folder: Path) -> str:
        """The fingerprint of what `save` wrote."""
        return str(json.loads((folder / "meta.json").read_text())["fingerprint"])

    @staticmethod
    def open(folder: Path) -> Subtomograms:
        """Read what `save` wrote; the volumes stay on disk, memory-mapped. Raises BenchError where it is damaged."""
        try:
            meta = json.loads((folder / "meta.json").read_text())
            volumes, labels = np.load(folder / "volumes.npy", mmap_mode="r"), np.load(folder / "labels.npy")
            ids = meta["tomogram_ids"]
            return Subtomograms(
                volumes=volumes,
                labels=labels,
                class_names=tuple(meta["class_names"]),
                voxel_size_in_angstroms=meta["voxel_size_in_angstroms"],
                title=meta["title"],
                tomogram_ids=None if ids is None else np.array(ids, dtype=np.str_),
            )
        except (ValueError, KeyError, TypeError, EOFError) as error:
            raise BenchError(f"{folder}: the set is damaged ({error}); delete that folder and make it again") from error


def read_boxes(paths: list[Path], report: Report = silent) -> tuple[FloatArray, float]:
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
        report(i + 1, len(paths))
    return volumes, first.voxel_size_in_angstroms


def _in_parts(volumes: FloatArray) -> Iterator[FloatArray]:
    """The volumes, 64 at a time; of a mapped file each part is let go again, so that it does not fill the memory."""
    for first in range(0, len(volumes), 64):
        if isinstance(volumes, np.memmap) and volumes.filename:
            part = (min(64, len(volumes) - first), *volumes.shape[1:])
            yield np.memmap(volumes.filename, np.float32, "r", volumes.offset + first * volumes[0].nbytes, part)
        else:
            yield volumes[first : first + 64]


@dataclass(frozen=True)
class Dataset(ABC):
    """A source of subtomograms; a concrete one is a frozen dataclass whose fields are its parameters.

    Its first docstring line is what `bench list datasets` shows.
    """

    needs_folder: ClassVar[bool] = False  # whether --data must name a folder
    folder_hint: ClassVar[str] = "add --data DIR"  # how to get one

    folder: Path | None = None  # --data
    test_share: float = 0.5  # of the volumes, held out for the scores; the profile's, unless a data set states its own

    @abstractmethod
    def load(self, report: Report = silent) -> Subtomograms:
        """Read or make all subtomograms; raises BenchError with one line that says how to mend the input."""

    def write(self, folder: Path, report: Report = silent) -> None:
        """Put what `Subtomograms.open` reads into `folder`; a large set goes on where an interrupted call left off."""
        self.load(report).save(folder)

    def sources(self) -> list[Path]:
        """The files that `load` reads; a change of one of them makes the data set anew."""
        return []

    def recipe(self) -> dict[str, Any]:
        """All that the volumes depend on: parameters, source files, and the code that reads or makes them."""
        return {
            "data_set": type(self).__qualname__,
            "parameters": {k: v for k, v in asdict(self).items() if k not in ("folder", "test_share")},
            "sources": [[p.name, p.parent.name, file_digest(p)] for p in self.sources()],
            "code": code_digest(sys.modules[type(self).__module__]),
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


@dataclass(frozen=True)
class Saved(Dataset):
    """A set that a command of `bench data` wrote, as it lies there."""

    needs_folder = True

    @abstractmethod
    def made(self) -> Path:
        """Where `Subtomograms.save` wrote; raises BenchError where it has not."""

    def sources(self) -> list[Path]:
        """The set's description, with the fingerprint of the volumes; not the volumes, which are large."""
        return [self.made() / "meta.json"]

    def load(self, report: Report = silent) -> Subtomograms:
        """Map the volumes, wherever they lie."""
        return Subtomograms.open(self.made())

    def write(self, folder: Path, report: Report = silent) -> None:
        """Link the volumes, copy the rest."""
        made = self.made()
        for name in ("labels.npy", "meta.json"):
            shutil.copyfile(made / name, folder / name)
        (folder / "volumes.npy").unlink(missing_ok=True)
        (folder / "volumes.npy").symlink_to((made / "volumes.npy").resolve())
