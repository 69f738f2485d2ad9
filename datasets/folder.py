"""A folder of your own subtomograms, one sub-folder a class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.base.errors import BenchError
from bench.base.progress import Progress, silent
from bench.data.dataset import Dataset, read_boxes
from bench.data.subtomograms import Subtomograms
from bench.files import volume


@dataclass(frozen=True)
class Folder(Dataset):
    """Your own subtomograms: --data DIR with one sub-folder of MRC boxes per class."""

    needs_folder = True

    def sources(self) -> list[Path]:
        """Every subtomogram of every class."""
        return [path for paths in self._classes().values() for path in paths]

    def load(self, progress: Progress = silent) -> Subtomograms:
        """Read every box; they must all have one shape and hold finite voxels."""
        classes = self._classes()
        volumes, voxel_size = read_boxes([path for paths in classes.values() for path in paths], progress)
        return Subtomograms(
            volumes=volumes,
            labels=np.repeat(np.arange(len(classes)), [len(paths) for paths in classes.values()]),
            class_names=tuple(classes),
            voxel_size_in_angstroms=voxel_size,
            title=f"{self.required_folder().resolve().name} {volumes.shape[1]}³",
        )

    def _classes(self) -> dict[str, list[Path]]:
        """Class name → its files; raises BenchError where a class has none."""
        folder = self.required_folder()
        classes = {sub.name: volume.find(sub) for sub in sorted(folder.iterdir()) if sub.is_dir()}
        if len(classes) < 2:
            raise BenchError(f"{folder}: {len(classes)} class folders; make one sub-folder of MRC boxes for each class")
        for name, paths in classes.items():
            if not paths:
                raise BenchError(f"{folder / name}: no MRC boxes in this class; fill the folder or remove it")
        return classes
