"""What `bench data pick` and `match` have in common: a tomogram to search, and a table of places with pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.base.machine import choose_device
from bench.base.parameters import check, option, parameter
from bench.commands import pictures
from bench.extraction import known_voxel_size
from bench.files import tables, volume
from bench.files.volume import AnyArray


@dataclass(frozen=True, kw_only=True)
class Search:
    """The options that both have."""

    tomogram: Path
    out: Path
    count: int = parameter(help="places to return, best first", low=1, high=10_000_000)
    min_distance_in_angstroms: float | None = parameter(None, "None: the search's own", low=0.01, high=100_000)
    contrast: str = parameter("dark", "how particles look in the tomogram", choices=("dark", "bright"))
    tomogram_voxel_size_in_angstroms: float | None = parameter(None, "None: the header's", low=0.01, high=1000)
    device: str = parameter("cpu", "where the search runs", choices=("cpu", "cuda"))

    def __post_init__(self) -> None:
        check(self, option)
        choose_device(self.device)

    def opened(self) -> tuple[AnyArray, float]:
        """Voxels (d, h, w) and their size in Å; raises BenchError where that is not known, or `out` cannot be."""
        tables.check_writable(self.out)
        voxels, voxel_size = volume.mapped(self.tomogram, self.tomogram_voxel_size_in_angstroms)
        return voxels, known_voxel_size(voxel_size)

    def write(self, found: pd.DataFrame, voxels: AnyArray, voxel_size: float, diameter_in_angstroms: float) -> None:
        """The places of particles of a diameter, best first: the table, a marked slice, numbered boxes."""
        tables.write(self.out, found.assign(tomogram=volume.stem(self.tomogram)), voxel_size)
        places, title = found[["z", "y", "x"]].to_numpy(float), f"{len(found)} picks in {self.tomogram.name}"
        radius = diameter_in_angstroms / voxel_size / 2
        pictures.numbered_places(voxels, places, radius, self.contrast, title, self.out)
