"""Densities → a labelled set of subtomograms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from bench.dataset import Report, Subtomograms
from bench.errors import BenchError
from bench.seeds import numpy_generator, torch_generator
from bench.simulation.density import Density, fitted
from bench.simulation.imaging import Imaging

BATCH = 100  # particles imaged at a time


@contextmanager
def _one_thread() -> Iterator[None]:
    """Another number of threads rounds sums otherwise; the bytes of a set must not depend on the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def simulate(
    densities: list[Density],
    imaging: Imaging,
    box: int,
    per_class: int,
    extent_in_angstroms: float,
    seed: int,
    title: str,
    report: Report,
) -> Subtomograms:
    """`per_class` subtomograms of each density, in uniformly random poses, shifted by up to a sixteenth of the box.

    Raises BenchError for a recipe that cannot be made.
    """
    if box < 8 or per_class < 1:
        raise BenchError(f"box {box}, per_class {per_class}: a box has 8 voxels or more, a class one particle or more")
    voxel_size = extent_in_angstroms / box
    total = len(densities) * per_class
    volumes = np.empty((total, box, box, box), dtype=np.float32)
    done = 0
    for density in densities:
        form = fitted(density, voxel_size)
        poses = numpy_generator(seed, "poses", density.name)
        noise = torch_generator(seed, "noise", density.name)
        for first in range(0, per_class, BATCH):
            n = min(BATCH, per_class - first)
            rotations = Rotation.random(n, rng=poses)
            shifts = poses.uniform(-box / 16, box / 16, (n, 3)).astype(np.float32)
            clean = np.stack([form.posed(box, r, s) for r, s in zip(rotations, shifts)])
            if not clean.any(axis=(1, 2, 3)).all():
                raise BenchError(f"{density.name}: no density inside the box; give a map with positive density")
            with _one_thread():
                volumes[done : done + n] = imaging.image(torch.from_numpy(clean), voxel_size, noise).numpy()
            done += n
            report(done, total)
    return Subtomograms(
        volumes=volumes,
        labels=np.repeat(np.arange(len(densities)), per_class),
        class_names=tuple(d.name for d in densities),
        voxel_size_in_angstroms=voxel_size,
        title=title,
    )
