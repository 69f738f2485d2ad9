"""A density on a grid, fitted to a box: low-passed to the new voxel, ready to be turned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bench.volume import FloatArray


@dataclass(frozen=True)
class Density:
    """A macromolecule's density, bright on 0, its centre of mass anywhere in the grid."""

    name: str
    voxels: FloatArray  # (d, h, w)
    voxel_size_in_angstroms: float


@dataclass(frozen=True)
class FittedDensity:
    """Spline coefficients of a density that was low-passed to a coarser voxel, and how to sample them in any pose."""

    coefficients: FloatArray  # (d, h, w)
    centre: FloatArray  # (3,), in voxels of the coefficients
    scale: float  # voxels of the coefficients to one voxel of the box

    def posed(self, box: int, rotation: Rotation, shift: FloatArray) -> FloatArray:
        """The density turned by `rotation`, then moved by `shift` voxels of the box, (box, box, box).

        The rotation acts on (z, y, x) vectors about the centre of mass, which lands on voxel box // 2 plus `shift`.
        """
        back = rotation.as_matrix().T * self.scale  # from the box into the density
        middle = box // 2 + shift
        offset = self.centre - back @ middle
        posed = ndimage.affine_transform(
            self.coefficients, back, offset, (box,) * 3, order=3, mode="grid-constant", prefilter=False
        )
        return np.asarray(posed, dtype=np.float32)


def fitted(density: Density, voxel_size_in_angstroms: float) -> FittedDensity:
    """Low-pass a density to the Nyquist frequency of a voxel and prepare it for sampling."""
    ratio = voxel_size_in_angstroms / density.voxel_size_in_angstroms
    voxels = density.voxels
    if ratio > 1:
        # Half amplitude at the new Nyquist frequency: σ = ratio · √(2 ln 2) / π, in old voxels.
        voxels = ndimage.gaussian_filter(voxels, ratio * np.sqrt(2 * np.log(2)) / np.pi, mode="constant")
    centre = np.array(ndimage.center_of_mass(np.clip(voxels, 0, None)), dtype=np.float32)
    coefficients = ndimage.spline_filter(voxels, order=3, mode="grid-constant", output=np.float32)
    return FittedDensity(coefficients, centre, ratio)


def common_extent(densities: list[Density]) -> float:
    """Edge in Å of a box that holds each of them in any pose: 1.1 × the largest diameter about the centre of mass.

    A density's diameter holds 98 % of its mass.
    """
    return 1.1 * max(_diameter(density) for density in densities)


def _diameter(density: Density) -> float:
    mass = np.clip(density.voxels, 0, None)
    centre = ndimage.center_of_mass(mass)
    grids = np.ogrid[tuple(slice(0, n) for n in mass.shape)]
    radius = np.sqrt(sum((g - c) ** 2 for g, c in zip(grids, centre))).ravel()
    order = np.argsort(radius)
    within = np.cumsum(mass.ravel()[order])
    edge = radius[order][np.searchsorted(within, 0.98 * within[-1])]
    return float(2 * edge * density.voxel_size_in_angstroms)
