"""Densities → a labelled set of subtomograms, planned to the last pose before the first is made."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from bench.base.arrays import FloatArray, IntArray
from bench.base.errors import BenchError
from bench.base.machine import one_thread, usable_cpus
from bench.base.seeds import derive, numpy_generator
from bench.base.units import ANGLES
from bench.simulation.density import Density, FittedDensity, fitted
from bench.simulation.imaging import Imaging

BATCH = 16  # particles imaged at a time; another number would change the bytes of a set
POSED_TOGETHER = 4  # the places of a box's voxels take four times its room
EULER = "RELION: intrinsic ZYZ (rot, tilt, psi) in degrees, by which the particle is turned back onto the reference"


@dataclass(frozen=True)
class Plan:
    """What will be imaged, and how: the truth about each particle. The same plan gives the same bytes."""

    title: str
    densities: tuple[FittedDensity, ...]  # one a class
    imaging: Imaging
    box: int  # voxels along an edge
    voxel_size_in_angstroms: float
    seed: int
    labels: IntArray  # (n,)
    rotations: Rotation  # (n), acting on (z, y, x)
    shifts: FloatArray  # (n, 3), of the centre of mass from voxel box // 2, in voxels
    defocus_in_micrometres: FloatArray  # (n,)
    neighbours: int = 0  # other particles that are sought a place about each
    notes: dict[str, dict[str, int | str]] = field(default_factory=dict)  # what was done to each structure's atoms

    @property
    def class_names(self) -> tuple[str, ...]:
        """The densities' names."""
        return tuple(density.name for density in self.densities)

    def batches(self) -> list[range]:
        """The particles that are imaged together."""
        n = len(self.labels)
        return [range(first, min(first + BATCH, n)) for first in range(0, n, BATCH)]

    def clean(self, particles: range) -> Tensor:
        """The particles with their neighbours, before the microscope, (b, d, h, w)."""
        quaternions = self.rotations.as_quat()
        cast = []
        for slot, i in enumerate(particles):
            cast.append((slot, int(self.labels[i]), quaternions[i], self.shifts[i]))
            cast += [(slot, *other) for other in (self._neighbours(i) if self.neighbours else [])]
        shape = (self.box, self.box, self.box)
        volumes = torch.zeros(len(particles), *shape, device=self.densities[0].voxels.device)
        for label, density in enumerate(self.densities):
            mine = [part for part in cast if part[1] == label]
            for some in (mine[first : first + POSED_TOGETHER] for first in range(0, len(mine), POSED_TOGETHER)):
                slots, _, turns, shifts = zip(*some)
                posed = density.posed(shape, Rotation.from_quat(np.array(turns)), np.array(shifts))
                volumes.index_add_(0, torch.tensor(slots, device=volumes.device), posed)
        return volumes

    def _neighbours(self, particle: int) -> list[tuple[int, Any, Any]]:
        """Class, rotation (quaternion) and place of those that found one: no two spheres about 98 % overlap."""
        rng = numpy_generator(self.seed, "neighbours", particle)
        radii = [density.radius for density in self.densities]
        taken = [(self.shifts[particle], radii[self.labels[particle]])]
        found = []
        for _ in range(20 * self.neighbours):
            label = int(rng.integers(len(radii)))
            turn, direction = Rotation.random(rng=rng).as_quat(), rng.normal(size=3)
            distance = taken[0][1] + radii[label] + rng.uniform(0, self.box / 8)
            place = taken[0][0] + distance * direction / np.linalg.norm(direction)
            if all(np.linalg.norm(place - other) >= radius + radii[label] for other, radius in taken):
                taken.append((place, radii[label]))
                found.append((label, turn, place.astype(np.float32)))
            if len(found) == self.neighbours:
                break
        return found

    def image(self, particles: range) -> tuple[Tensor, Tensor]:
        """One batch of subtomograms (b, d, h, w) and the SNR that each has (b,)."""
        clean = self.clean(particles)
        for i, volume in zip(particles, clean):
            if not volume.any():
                name = self.class_names[self.labels[i]]
                raise BenchError(f"{name}: no density inside the box; give a map with positive density")
        noise = torch.Generator(clean.device).manual_seed(derive(self.seed, "noise", particles[0]))
        defocus = torch.from_numpy(self.defocus_in_micrometres[particles.start : particles.stop])
        boxes, snr = self.imaging.image(clean, self.voxel_size_in_angstroms, noise, defocus)
        return boxes.cpu(), snr.cpu()

    def truth(self, snr: FloatArray) -> pd.DataFrame:
        """A row a particle: class, pose (see EULER), shift, defocus, the SNR asked for and the one achieved."""
        angles = relion_angles(self.rotations)
        table = pd.DataFrame(
            {"particle": np.arange(len(self.labels)), "class": np.array(self.class_names)[self.labels]}
        )
        table[ANGLES] = angles.round(5)
        for i, axis in enumerate("zyx"):
            table[f"shift_{axis}_in_voxels"] = self.shifts[:, i]
        table["defocus_in_micrometres"] = self.defocus_in_micrometres
        table["nominal_snr" if self.imaging.nominal_snr else "snr"] = self.imaging.snr
        table["achieved_snr"] = snr
        return table


def relion_angles(rotations: Rotation) -> FloatArray:
    """Rotations of (z, y, x) vectors → rot, tilt, psi as EULER says, (n, 3)."""
    xyz = Rotation.from_matrix(rotations.as_matrix()[:, ::-1, ::-1])
    return np.asarray(xyz.inv().as_euler("ZYZ", degrees=True), dtype=np.float32)


def plan(
    densities: list[Density],
    imaging: Imaging,
    box: int,
    per_class: int,
    extent_in_angstroms: float,
    seed: int,
    title: str,
    neighbours: int = 0,
    shift_in_boxes: float = 1 / 16,
    device: str = "cpu",
    notes: dict[str, dict[str, int | str]] | None = None,
) -> Plan:
    """`per_class` particles of each density: uniformly random poses, shifts of up to a part of the box an axis.

    Raises BenchError for a recipe that cannot be made.
    """
    if box < 8 or per_class < 1:
        raise BenchError(f"box {box}, per_class {per_class}: a box has 8 voxels or more, a class one particle or more")
    if neighbours < 0 or not 0 <= shift_in_boxes <= 0.5:
        raise BenchError(f"neighbours {neighbours}, shift_in_boxes {shift_in_boxes:g}: 0 or more, and 0 to 0.5")
    voxel_size = extent_in_angstroms / box
    turns, shifts, spread = [], [], []
    for density in densities:
        rng = numpy_generator(seed, "poses", density.name)
        turns.append(Rotation.random(per_class, rng=rng))
        shifts.append(rng.uniform(-box * shift_in_boxes, box * shift_in_boxes, (per_class, 3)))
        spread.append(rng.uniform(-1, 1, per_class))
    defocus = imaging.defocus_in_micrometres + imaging.defocus_spread_in_micrometres * np.concatenate(spread)
    return Plan(
        title=title,
        densities=tuple(fitted(density, voxel_size, device) for density in densities),
        imaging=imaging,
        box=box,
        voxel_size_in_angstroms=voxel_size,
        seed=seed,
        labels=np.repeat(np.arange(len(densities)), per_class),
        rotations=Rotation.concatenate(turns),
        shifts=np.concatenate(shifts).astype(np.float32),
        defocus_in_micrometres=defocus.astype(np.float32),
        neighbours=neighbours,
        notes=notes or {},
    )


def simulate(plan: Plan, first: int = 0, workers: int | None = None) -> Iterator[tuple[range, FloatArray, FloatArray]]:
    """Particles, boxes (b, d, h, w) and SNR (b,), batch by batch in order, from batch `first`, on all cores.

    Each batch is made by one thread, so that the bytes of a set do not depend on the number of cores.
    """
    waiting = iter(plan.batches()[first:])
    workers = workers or usable_cpus()
    with one_thread():
        pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
        try:
            running: deque[tuple[range, Future[tuple[Tensor, Tensor]]]] = deque()
            while True:
                for particles in itertools.islice(waiting, 2 * workers - len(running)):
                    running.append((particles, pool.submit(plan.image, particles)))
                if not running:
                    break
                particles, made = running.popleft()
                boxes, snr = made.result()
                yield particles, boxes.numpy(), snr.numpy()
        finally:
            pool.shutdown(cancel_futures=True)
