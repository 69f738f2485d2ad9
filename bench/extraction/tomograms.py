"""Tomogram files: found by name, one open at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from bench.base.errors import BenchError
from bench.files import volume
from bench.files.tables import ParticleTable
from bench.files.volume import Mapped


class Grid(NamedTuple):
    """What is known of a tomogram without its voxels."""

    shape: tuple[int, ...]
    voxel_size_in_angstroms: float | None


def known_voxel_size(voxel_size_in_angstroms: float | None) -> float:
    """A tomogram's voxel size; raises BenchError where it is not known."""
    if voxel_size_in_angstroms is None:
        raise BenchError("the tomogram's header has no voxel size; add --tomogram-voxel-size-in-angstroms")
    return voxel_size_in_angstroms


class Tomograms:
    """The tomograms of a request; none where extracted boxes are taken.

    voxel_size_in_angstroms: where the headers are wrong.
    """

    def __init__(self, files: Sequence[Path], voxel_size_in_angstroms: float | None = None) -> None:
        self.files = list(files)
        self.voxel_size_in_angstroms = voxel_size_in_angstroms
        self._mapped: dict[Path, Mapped] = {}

    @classmethod
    def find(cls, named: Path | None, voxel_size_in_angstroms: float | None = None) -> Tomograms:
        """The tomogram, or the tomograms of the folder, that --tomograms names."""
        if named is None:
            return cls([], voxel_size_in_angstroms)
        found = volume.find(named) if named.is_dir() else [named]
        if not found:
            raise BenchError(f"{named}: no tomograms ({', '.join(volume.SUFFIXES)}); name another folder")
        return cls(found, voxel_size_in_angstroms)

    def mapped(self, path: Path) -> Mapped:
        """A tomogram or an extracted box; it alone stays open, since a compressed one fills the memory."""
        if path not in self._mapped:
            self._mapped.clear()
            self._mapped[path] = volume.mapped(path, self.voxel_size_in_angstroms)
        return self._mapped[path]

    @cached_property
    def grids(self) -> dict[str, Grid]:
        """The grid of each file, by its path."""
        grids = {}
        for path in self.files:
            voxels, voxel_size = self.mapped(path)
            grids[str(path)] = Grid(voxels.shape, voxel_size)
        return grids

    def homes(self, tables: Sequence[ParticleTable]) -> dict[str, Path | None]:
        """The file of each tomogram that the tables name."""
        names = _names(tables)
        return {name: file_of(name, self.files, lone=len(names) == 1) for name in names}

    def assumed(self, tables: Sequence[ParticleTable]) -> str:
        """A remark where a lone tomogram is taken for a lone file of another name, else ""."""
        names = _names(tables)
        if len(names) == len(self.files) == 1 and not file_of(name := names.pop(), self.files):
            return f"the table's tomogram {name} is taken to be {self.files[0].name}"
        return ""


def _names(tables: Sequence[ParticleTable]) -> set[str]:
    return {str(name) for table in tables for name in table.rows["tomogram"]}


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


def _holds(long: str, short: str) -> bool:
    """Whether the words and numbers of `short` stand in `long` in one piece: TS_1 in bin4_TS_01, not in TS_10."""
    words, wanted = (
        [str(int(w)) if w.isdigit() else w.lower() for w in re.findall(r"[0-9]+|[^\W\d_]+", s)] for s in (long, short)
    )
    return any(words[i : i + len(wanted)] == wanted for i in range(len(words) - len(wanted) + 1))
