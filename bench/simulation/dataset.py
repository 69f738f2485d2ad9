"""A simulated set as a data set: in memory, or on disk batch by batch."""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from bench.base.arrays import FloatArray
from bench.base.json_files import read_json
from bench.base.progress import Progress, silent
from bench.base.spreadsheet import as_csv
from bench.data.dataset import MANIFEST, Dataset
from bench.data.subtomograms import Subtomograms
from bench.simulation import structure
from bench.simulation.plan import BATCH, EULER, Plan, simulate


class Simulation(Dataset):
    """A data set that is simulated; a concrete one says what its plan is."""

    @abstractmethod
    def plan(self) -> Plan:
        """Everything that decides the bytes; raises BenchError for a recipe that cannot be made."""

    def load(self, progress: Progress = silent) -> Subtomograms:
        """Make the set in memory."""
        plan = self.plan()
        volumes = np.empty((len(plan.labels), *(plan.box,) * 3), dtype=np.float32)
        for particles, boxes, _ in simulate(plan):
            volumes[particles.start : particles.stop] = boxes
            progress(particles.stop, len(volumes))
        return _set(plan, volumes)

    def write(self, folder: Path, progress: Progress = silent) -> None:
        """Make the set on disk, a batch at a time, going on where an interrupted call left off.

        Beside what `Subtomograms.save` writes: `truth.csv`, a row a particle, and `manifest.json`: the recipe with its
        hash, the conventions, and what was done to each structure's atoms.
        """
        self.stream(self.plan(), folder, progress)

    def remarks(self, folder: Path) -> list[str]:
        """What was left out of the structures."""
        manifest = read_json(folder / "manifest.json", MANIFEST, f"delete {folder}, the set is made again")
        return structure.remarks(manifest["structures"])

    def stream(self, plan: Plan, folder: Path, progress: Progress) -> None:
        """What `write` does, of a plan that is made already."""
        volumes, journal = folder / "volumes.npy", folder / "snr.f32"
        expected = 4 * plan.box**3 * len(plan.labels)
        if (
            not journal.exists() or not volumes.exists() or volumes.stat().st_size <= expected
        ):  # the header comes on top
            journal.unlink(missing_ok=True)
            np.lib.format.open_memmap(volumes, "w+", np.float32, (len(plan.labels), *(plan.box,) * 3))
        offset = np.load(volumes, mmap_mode="r").offset
        # The journal grows after the boxes are safe: what it does not list is made again.
        with volumes.open("r+b") as boxes_file, journal.open("ab") as journal_file:
            finished = journal.stat().st_size // 4
            if finished < len(plan.labels):
                finished -= finished % BATCH
            journal_file.truncate(4 * finished)
            boxes_file.seek(offset + finished * plan.box**3 * 4)
            began = -(-finished // BATCH)
            for particles, boxes, snr in simulate(plan, began):
                boxes_file.write(boxes.tobytes())
                boxes_file.flush()
                os.fsync(boxes_file.fileno())
                journal_file.write(snr.astype(np.float32).tobytes())
                journal_file.flush()
                # What was finished before costs nothing now: the time left is that of the rest.
                progress(particles.stop - finished, len(plan.labels) - finished)
        (folder / "manifest.json").write_text(json.dumps(self.manifest(plan), indent=1) + "\n", encoding="utf-8")
        truth = as_csv(plan.truth(np.fromfile(journal, np.float32)))
        (folder / "truth.csv").write_text(truth, encoding="utf-8")
        _set(plan, np.load(volumes, mmap_mode="r")).save(folder)

    def manifest(self, plan: Plan) -> dict[str, Any]:
        """All that the set depends on, and how its truth table is to be read."""
        return {
            "recipe": self.recipe(),
            "recipe_hash": self.key(),
            "seed": plan.seed,
            "title": plan.title,
            "classes": plan.class_names,
            "voxel_size_in_angstroms": plan.voxel_size_in_angstroms,
            "conventions": {
                "particles": "truth.csv, a row a particle, in the order of the volumes",
                "axes": "volumes are (z, y, x); the beam runs along z, the tilt axis along y",
                "angles": EULER,
                "shift": "of the centre of mass from voxel box // 2, in voxels",
                "snr": "var(signal) / var(noise) over the delivered box",
            },
            "structures": plan.notes,
        }


def _set(plan: Plan, volumes: FloatArray) -> Subtomograms:
    return Subtomograms(
        volumes=volumes,
        labels=plan.labels,
        class_names=plan.class_names,
        voxel_size_in_angstroms=plan.voxel_size_in_angstroms,
        title=plan.title,
        grey_scale="each box",
        tilt_range_in_degrees=(-plan.imaging.tilt_limit_in_degrees, plan.imaging.tilt_limit_in_degrees),
    )
