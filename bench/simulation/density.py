"""A density on a grid, fitted to a box: low-passed to the new voxel, ready to be turned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import fft, ndimage
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional

from bench.base.arrays import Float64Array, FloatArray
from bench.base.errors import BenchError
from bench.base.machine import one_thread
from bench.files import volume

LOWEST_PEAK, HIGHEST_PEAK = 1e-30, 1e30  # of a map
OVERSAMPLING = 3  # of the grid that is sampled over the box's


@dataclass(frozen=True)
class Density:
    """A macromolecule's density, bright on 0, its centre of mass anywhere in the grid."""

    name: str
    voxels: FloatArray  # (d, h, w)
    voxel_size_in_angstroms: float


@dataclass(frozen=True)
class FittedDensity:
    """A density low-passed to a coarser voxel, on a grid fine enough to be sampled linearly in any pose."""

    name: str
    voxels: Tensor  # (d, h, w)
    centre: Float64Array  # (3,), of mass, in voxels of the grid
    scale: Float64Array  # (3,), voxels of the grid to one voxel of the box
    radius: float  # of the sphere about the centre with 98 % of the mass, in voxels of the box

    def posed(self, shape: tuple[int, int, int], rotations: Rotation, shifts: FloatArray) -> Tensor:
        """The density in `b` poses: turned, then moved by `shifts` (b, 3) voxels of the box, (b, d, h, w).

        A rotation acts on (z, y, x) vectors about the centre of mass, which lands on voxel n // 2 of each side plus
        the shift.
        """
        box, grid = np.array(shape), np.array(self.voxels.shape)
        back = rotations.as_matrix().transpose(0, 2, 1) * self.scale[:, None]  # from the box into the density
        # PyTorch counts either grid from −1 at its first to 1 at its last voxel, and its axes are x, y, z.
        middle = (box - 1) / 2 - (box // 2 + shifts)
        offset = self.centre + np.einsum("bij,bj->bi", back, middle)
        turn = back * (box - 1)[None, None, :] / (grid - 1)[None, :, None]
        device = self.voxels.device
        along = [torch.linspace(-1, 1, n, device=device) for n in shape]
        turns = torch.from_numpy(turn[:, ::-1].astype(np.float32).copy()).to(device)  # (b, xyz, zyx)
        start = torch.from_numpy((2 * offset / (grid - 1) - 1)[:, ::-1].astype(np.float32).copy()).to(device)
        planes, rows, columns = (x[:, None] * turns[:, None, :, i] for i, x in enumerate(along))  # (b, n, xyz)
        at = (planes + start[:, None])[:, :, None, None] + rows[:, None, :, None] + columns[:, None, None]
        source = self.voxels.expand(len(at), 1, -1, -1, -1)
        sampled: Tensor = functional.grid_sample(source, at, align_corners=True)
        return sampled[:, 0]


@one_thread()
def fitted(density: Density, voxel_size_in_angstroms: float, device: str = "cpu") -> FittedDensity:
    """Low-pass a density to half amplitude at the Nyquist frequency of a voxel, and refine its grid for sampling.

    Linear sampling takes sinc² of each frequency along each axis; the grid has it divided out beforehand.
    """
    ratio = voxel_size_in_angstroms / density.voxel_size_in_angstroms
    margin = 2 * math.ceil(2 * max(ratio, 1))  # room for what the low-pass smears
    coarse = [fft.next_fast_len(n + margin, real=True) for n in density.voxels.shape]
    fine = [fft.next_fast_len(math.ceil(n * max(1, OVERSAMPLING / ratio)), real=True) for n in coarse]
    spectrum = torch.fft.rfftn(torch.from_numpy(density.voxels.astype(np.float32)), s=coarse)
    for axis, (n, m) in enumerate(zip(coarse, fine)):
        frequencies = torch.fft.rfftfreq(n) if axis == 2 else torch.fft.fftfreq(n)  # of the density's voxels
        transfer = torch.sinc(frequencies * n / m) ** -2
        if ratio > 1:
            transfer *= torch.exp(-math.log(2) * (2 * ratio * frequencies) ** 2)
        spectrum *= transfer.view([-1 if i == axis else 1 for i in range(3)])
    smooth = torch.fft.irfftn(_padded(spectrum, fine), s=fine) * (math.prod(fine) / math.prod(coarse))
    centre = np.array(ndimage.center_of_mass(smooth.clamp(min=0).numpy()))
    radius = radius_in_angstroms(density) / voxel_size_in_angstroms
    scale = ratio * np.divide(fine, coarse)
    return FittedDensity(density.name, smooth.to(device), centre, scale, radius)


def _padded(spectrum: Tensor, shape: list[int]) -> Tensor:
    """The half spectrum of the same density on a finer grid of `shape` points."""
    middle = torch.fft.fftshift(spectrum, (0, 1))
    pads = [0, shape[2] // 2 + 1 - spectrum.shape[2]]
    for n, m in zip(spectrum.shape[1::-1], shape[1::-1]):  # frequency 0 stands at n // 2
        pads += [m // 2 - n // 2, (m - m // 2) - (n - n // 2)]
    padded: Tensor = torch.fft.ifftshift(functional.pad(middle, pads), (0, 1))
    return padded


def read_map(path: Path) -> Density:
    """A density map from its file; raises BenchError where its header gives no voxel size, or float32 cannot sum it."""
    voxels, voxel_size = volume.read(path)
    highest = float(voxels.max())
    if highest > 0 and not LOWEST_PEAK < highest < HIGHEST_PEAK:
        raise BenchError(f"{path}: densities up to {highest:.3g}; scale the map to between 1e-30 and 1e30")
    if voxel_size is None:
        raise BenchError(f"{path}: the header gives no voxel size; write it into the header")
    return Density(volume.stem(path), voxels, voxel_size)


def common_extent(densities: list[Density]) -> float:
    """Edge in Å of a box that holds each of them in any pose: 1.1 × the largest diameter about the centre of mass.

    A density's diameter holds 98 % of its mass.
    """
    return 1.1 * max(2 * radius_in_angstroms(density) for density in densities)


def radius_in_angstroms(density: Density) -> float:
    """Radius of the sphere about the centre of mass that holds 98 % of the mass."""
    mass = np.clip(density.voxels, 0, None)
    centre = ndimage.center_of_mass(mass)
    grids = np.ogrid[tuple(slice(0, n) for n in mass.shape)]
    radius = np.sqrt(sum((g - c) ** 2 for g, c in zip(grids, centre))).ravel()
    order = np.argsort(radius)
    within = np.cumsum(mass.ravel()[order], dtype=np.float64)
    edge = radius[order][np.searchsorted(within, 0.98 * within[-1])]
    return float(edge * density.voxel_size_in_angstroms)
