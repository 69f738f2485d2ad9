"""Subtomograms: volumes with their labels, in memory and on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from bench.base.arrays import UNLABELLED, FloatArray, IntArray, StrArray, TiltRange
from bench.base.errors import BenchError
from bench.base.files import write_atomically
from bench.base.json_files import KEY, TEXT, listing, or_null, read_json, record, with_optional
from bench.base.progress import Progress, silent
from bench.base.units import in_angstroms

GreyScale = Literal["each box", "as read"]  # each box of mean 0 and variance 1, or as it lies in its file
META = with_optional(
    record(
        class_names=listing(TEXT),
        voxel_size_in_angstroms={"type": ["number", "null"], "exclusiveMinimum": 0},
        title=TEXT,
        tomogram_ids={"type": ["array", "null"]},  # of texts; there may be a million of them
        grey_scale={"enum": [*get_args(GreyScale)]},
        fingerprint=KEY,
    ),
    tilt_range_in_degrees=or_null({"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}),
)
MEND = "delete that folder and make the set again; to keep a change made on purpose, see docs/real-data.md"


@dataclass(frozen=True)
class Subtomograms:
    """Cropped particles with their labels.

    Raises BenchError where the parts do not fit each other.
    """

    volumes: FloatArray  # (n, d, h, w)
    labels: IntArray  # (n,), index into class_names; UNLABELLED where nobody knows
    class_names: tuple[str, ...]
    voxel_size_in_angstroms: float | None  # None: unknown
    title: str  # the name that tables print, with what tells it from its kin: "phantoms 16³"
    tomogram_ids: StrArray | None = None  # (n,)
    grey_scale: GreyScale = "as read"  # what `bench predict` brings other boxes to
    tilt_range_in_degrees: TiltRange | None = None  # lowest and highest tilt; None: unknown

    def __post_init__(self) -> None:
        n = len(self.volumes)
        for name in {self.title, *self.class_names, *map(str, () if self.tomogram_ids is None else self.tomogram_ids)}:
            if not name.isprintable():  # it goes to terminals, pages and file names
                raise BenchError(f"{name!r}: a name with control characters; rename that class, tomogram or set")
        if self.volumes.dtype != np.float32 or not np.issubdtype(self.labels.dtype, np.signedinteger):
            found = f"volumes of {self.volumes.dtype}, labels of {self.labels.dtype}"
            raise BenchError(f"{self.title}: {found}; volumes must be float32, labels int64")
        if self.volumes.ndim != 4 or self.labels.shape != (n,):
            raise BenchError(f"{self.title}: {self.volumes.shape} volumes do not fit {self.labels.shape} labels")
        if self.tomogram_ids is not None and len(self.tomogram_ids) != n:
            raise BenchError(f"{self.title}: {len(self.tomogram_ids)} tomogram ids for {n} volumes")
        if self.grey_scale not in get_args(GreyScale):
            raise BenchError(f"{self.title}: grey scale '{self.grey_scale}'; known: {', '.join(get_args(GreyScale))}")
        if self.tilt_range_in_degrees is not None:
            low, high = self.tilt_range_in_degrees
            if not -90 <= low < high <= 90:
                raise BenchError(
                    f"{self.title}: tilts from {low:g}° to {high:g}°; must be within −90° to 90°, in order"
                )
        if (self.labels < UNLABELLED).any():
            raise BenchError(
                f"{self.title}: a label of {self.labels.min()}; {UNLABELLED} means none, 0 the first class"
            )
        counts = self.counts()
        if len(counts) > len(self.class_names) or not counts.all():
            raise BenchError(f"{self.title}: a class without volumes, or a label without a name: counts {counts}")

    @property
    def voxel_size(self) -> str:
        """For a person: "13.3 Å", or "unknown size"."""
        return in_angstroms(self.voxel_size_in_angstroms)

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
    def box(self) -> int:
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

    def fingerprint(self, progress: Progress = silent) -> str:
        """SHA-256 over voxels, labels, names and tilt range: what a trial was run on.

        Raises BenchError where a voxel is not finite.
        """
        digest, n = hashlib.sha256(json.dumps([self.class_names, self.volumes.shape]).encode()), 0
        for some in _in_parts(self.volumes):
            if not np.isfinite(some).all():
                raise BenchError(f"{self.title}: holds NaN or infinite voxels; mask or re-extract those volumes")
            digest.update(some.tobytes())
            progress(n := n + len(some), len(self.volumes))
        digest.update(self.labels.tobytes())
        if self.tomogram_ids is not None:
            digest.update(json.dumps(self.tomogram_ids.tolist()).encode())
        if self.tilt_range_in_degrees is not None:
            digest.update(json.dumps([float(tilt) for tilt in self.tilt_range_in_degrees]).encode())
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
            "grey_scale": self.grey_scale,
            "tilt_range_in_degrees": self.tilt_range_in_degrees,
            "fingerprint": self.fingerprint(),
        }
        write_atomically(folder / "meta.json", json.dumps(meta))

    @staticmethod
    def saved_fingerprint(folder: Path) -> str:
        """The fingerprint of what `save` wrote; raises BenchError where that is damaged."""
        return str(read_json(folder / "meta.json", META, MEND)["fingerprint"])

    @staticmethod
    def open(folder: Path) -> Subtomograms:
        """Read what `save` wrote; the volumes stay on disk, memory-mapped. Raises BenchError where it is damaged."""
        meta = read_json(folder / "meta.json", META, MEND)
        try:
            volumes, labels = (np.load(folder / name, mmap_mode="r") for name in ("volumes.npy", "labels.npy"))
            if not volumes.flags.c_contiguous:
                raise ValueError("volumes.npy is in Fortran order")
            ids = meta["tomogram_ids"]
            if not all(isinstance(one, str) for one in ids or ()):
                raise ValueError("a tomogram id that is no text")
            return Subtomograms(
                volumes=volumes,
                labels=np.array(labels),
                class_names=tuple(meta["class_names"]),
                voxel_size_in_angstroms=meta["voxel_size_in_angstroms"],
                title=meta["title"],
                tomogram_ids=None if ids is None else np.array(ids, dtype=np.str_),
                grey_scale=meta["grey_scale"],
                tilt_range_in_degrees=None if (tilts := meta.get("tilt_range_in_degrees")) is None else tuple(tilts),
            )
        except (ValueError, TypeError, EOFError, BenchError) as error:
            raise BenchError(f"{folder}: the set is damaged ({error}); {MEND}") from error

    @staticmethod
    def open_unchanged(folder: Path, progress: Progress = silent) -> Subtomograms:
        """What `open` gives, once all its bytes are read; raises BenchError where they are not what `save` wrote."""
        found = Subtomograms.open(folder)
        if found.fingerprint(progress) != Subtomograms.saved_fingerprint(folder):
            raise BenchError(f"{folder}: voxels, labels or names were changed since the set was made; {MEND}")
        return found


def _in_parts(volumes: FloatArray) -> Iterator[FloatArray]:
    """The volumes, 64 at a time; of a mapped file each part is let go again, so that it does not fill the memory."""
    for first in range(0, len(volumes), 64):
        if isinstance(volumes, np.memmap) and volumes.filename:
            part = (min(64, len(volumes) - first), *volumes.shape[1:])
            yield np.memmap(volumes.filename, np.float32, "r", volumes.offset + first * volumes[0].nbytes, part)
        else:
            yield volumes[first : first + 64]
