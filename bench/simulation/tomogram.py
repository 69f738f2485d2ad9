"""A crowded tomogram of known truth: where each particle is, how it lies, and which voxels are its."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy.spatial.transform import Rotation

from bench.base.arrays import FloatArray
from bench.base.errors import BenchError
from bench.base.machine import one_thread
from bench.base.seeds import derive, numpy_generator
from bench.base.units import ANGLES
from bench.simulation.density import FittedDensity
from bench.simulation.imaging import Imaging
from bench.simulation.plan import relion_angles

TRIES = 300  # places tried for a particle before the volume counts as full
MASK_LEVEL = 0.1  # of a class's highest density: at and above it a voxel is the particle's


@dataclass(frozen=True)
class Tomogram:
    """What `tomogram` makes; arrays are (d, h, w)."""

    noise_free: FloatArray  # the specimen, before the microscope
    voxels: FloatArray  # the reconstruction
    mask: npt.NDArray[np.int8]  # 0 is ice, else the class, counted from 1
    particles: pd.DataFrame  # class, z, y, x in voxels (the centre of mass), angles as in `Plan.truth`
    snr: float  # achieved, over the whole volume


@one_thread()
def tomogram(
    densities: list[FittedDensity],
    imaging: Imaging,
    shape: tuple[int, int, int],
    per_class: int,
    voxel_size_in_angstroms: float,
    seed: int,
) -> Tomogram:
    """Up to `per_class` particles of each class in ice, in random poses, no two spheres about 98 % overlapping.

    The largest are placed first. Raises BenchError where a class does not fit between the walls, or none finds room.
    """
    if len(densities) > 127 or per_class < 1:
        raise BenchError(
            f"{len(densities)} classes, {per_class} of each: 1 to 127 classes, one particle or more of each"
        )
    rng = numpy_generator(seed, "crowd")
    specimen, mask = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.int8)
    places, radii = np.empty((0, 3)), np.empty(0)
    rows = []
    for label in sorted(range(len(densities)), key=lambda i: -densities[i].radius):
        density = densities[label]
        low, high = density.radius, np.array(shape) - 1 - density.radius
        if (high < low).any():
            side = math.ceil(2 * density.radius) + 1
            raise BenchError(
                f"a tomogram of {'×'.join(map(str, shape))} voxels is too small for {density.name}; "
                f"each side needs {side} voxels, or the voxels must be larger"
            )
        level = MASK_LEVEL * float(density.voxels.max())
        for _ in range(per_class):
            candidates = rng.uniform(low, high, (TRIES, 3))
            turn = Rotation.random(1, rng=rng)
            gaps = np.linalg.norm(candidates[:, None] - places, axis=2) - radii - density.radius
            free = np.flatnonzero((gaps >= 0).all(axis=1))
            if not len(free):
                break
            place = candidates[free[0]]
            places, radii = np.vstack([places, place]), np.append(radii, density.radius)
            side = 2 * math.ceil(density.radius + 3)
            corner = np.round(place).astype(int) - side // 2
            shift = (place - corner - side // 2).astype(np.float32)
            patch = density.posed((side,) * 3, turn, shift[None])[0].cpu().numpy()
            inside = tuple(slice(max(0, c), min(n, c + side)) for c, n in zip(corner, shape))
            part = patch[tuple(slice(i.start - c, i.stop - c) for i, c in zip(inside, corner))]
            specimen[inside] += part
            mask[inside][part >= level] = label + 1
            rows.append((density.name, *place, *relion_angles(turn)[0]))
    names = ["class", "z", "y", "x", *ANGLES]
    device = densities[0].voxels.device
    noise = torch.Generator(device).manual_seed(derive(seed, "noise"))
    volume = torch.from_numpy(specimen)[None].to(device)
    image, snr = imaging.image(volume, voxel_size_in_angstroms, noise)
    particles = pd.DataFrame(rows, columns=names).round(5)
    return Tomogram(specimen, image[0].cpu().numpy(), mask, particles, float(snr[0]))
