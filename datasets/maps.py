"""Density maps of your own, imaged like the phantoms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bench.base.errors import BenchError
from bench.base.parameters import parameter, same
from bench.files import volume
from bench.simulation import Imaging, Plan, Simulation, common_extent, plan, read_map


@dataclass(frozen=True)
class Maps(Simulation):
    """Your density maps: --data DIR with one MRC file (also .gz) per class; with missing wedge, CTF and noise."""

    needs_folder = True

    box: int = parameter(
        28, "voxels along an edge of the box; the voxel size follows from the largest map", low=8, high=1024
    )
    per_class: int = parameter(300, "particles of each class", low=1, high=1_000_000)
    snr: float = same(Imaging, "snr", default=0.5)
    seed: int = parameter(0, "seed of poses and noise", low=0, high=10**12)
    threshold: float = parameter(0.0, "contour level: density at or below it is background", low=-1e9, high=1e9)

    def sources(self) -> list[Path]:
        """Every map in the folder."""
        return self.required_files(volume.SUFFIXES, "density maps")

    def plan(self) -> Plan:
        """Read the maps."""
        densities = []
        for path in self.sources():
            found = read_map(path)
            density = (found.voxels - self.threshold).clip(0)
            if not density.any():
                raise BenchError(f"{path}: no density above {self.threshold:g}; invert it, or set maps.threshold lower")
            inner = density[2:-2, 2:-2, 2:-2].sum(dtype=float)
            if inner < 0.9 * density.sum(dtype=float):
                raise BenchError(
                    f"{path}: more than a tenth of the density lies at the edge of the map; "
                    f"set --set maps.threshold=LEVEL (its contour level), or mask it"
                )
            densities.append(replace(found, voxels=density))
        title = f"maps {self.box}³ SNR {self.snr:g}"
        extent = common_extent(densities)
        return plan(densities, Imaging(snr=self.snr), self.box, self.per_class, extent, self.seed, title)
