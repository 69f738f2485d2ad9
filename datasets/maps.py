"""Any folder of density maps, imaged like the phantoms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench import volume
from bench.dataset import Dataset, Report, Subtomograms, silent
from bench.errors import BenchError
from bench.simulation import Density, Imaging, common_extent, simulate


@dataclass(frozen=True)
class Maps(Dataset):
    """Your density maps: --data DIR with one MRC file (also .gz) a class; imaged with missing wedge, CTF and noise."""

    needs_folder = True

    box: int = 28  # voxels along an edge; the voxel size follows from the largest map
    per_class: int = 300
    snr: float = 0.5
    seed: int = 0  # of poses and noise

    def sources(self) -> list[Path]:
        """Every map in the folder."""
        folder = self.required_folder()
        maps = volume.find(folder)
        if len(maps) < 2:
            raise BenchError(f"{folder}: {len(maps)} density maps (.mrc, .map, also .gz); put two or more there")
        return maps

    def load(self, report: Report = silent) -> Subtomograms:
        """Read the maps and image them in random poses."""
        densities = []
        for path in self.sources():
            voxels, voxel_size = volume.read(path)
            if voxel_size <= 0:
                raise BenchError(f"{path}: the header gives no voxel size; write it into the header")
            if voxels.max() <= 0:
                raise BenchError(f"{path}: no positive density; invert the map")
            densities.append(Density(volume.stem(path), voxels.clip(0), voxel_size))
        title = f"maps {self.box}³ SNR {self.snr:g}"
        extent = common_extent(densities)
        return simulate(densities, Imaging(snr=self.snr), self.box, self.per_class, extent, self.seed, title, report)
