"""Electrostatic potential of a structure in vitreous ice, in volts, from electron scattering factors.

Form factors: five Gaussians (International Tables C, 4.3.2.2), by gemmi. Displaced ice: each atom takes the room of a
Gaussian with its solvent volume (Fraser, MacRae & Suzuki 1978), as in CRYSOL; a hydrogen nearly matches the ice that it
displaces (0.53 against 0.49 Å), so that files with and without them agree.
"""

from __future__ import annotations

import math

import gemmi
import numpy as np
import torch
from torch import Tensor

from bench.base.errors import BenchError
from bench.base.machine import one_thread
from bench.simulation.density import Density
from bench.simulation.structure import Structure

VOLTS = 47.878  # V Å², h² / (2π m e): from scattering amplitude (Å) per Å³ to volts
ICE_DENSITY = 0.94  # g/cm³, low-density amorphous ice
_WATER_MASS, _AVOGADRO = 18.015, 6.02214e23
VOLUMES = {"H": 5.15, "D": 5.15, "C": 16.44, "N": 2.49, "O": 9.13, "S": 19.86, "P": 5.73}  # Å³
OTHER_VOLUME = 10.0  # Å³, of metals and the like: too few to matter
MAX_GRID = 2**28  # points of the fine grid: 4 GiB while it is worked on
OVERSAMPLING = 2  # of the grid on which atoms are laid down
MARGIN_IN_ANGSTROMS = 12.0


def scattering_factor(element: str, k2: Tensor) -> Tensor:
    """Electron scattering factor in Å at the squared frequencies `k2` (1/Å²)."""
    table = gemmi.Element(element).c4322
    factor = torch.zeros_like(k2)
    for a, b in zip(table.a, table.b):
        factor += a * torch.exp(-b / 4 * k2)
    return factor


def ice_scattering() -> float:
    """Scattering amplitude of vitreous ice, Å per Å³: 4.6 V of mean inner potential."""
    molecules = ICE_DENSITY / _WATER_MASS * _AVOGADRO * 1e-24
    zero = torch.zeros(1, dtype=torch.float64)
    return molecules * float(scattering_factor("O", zero) + 2 * scattering_factor("H", zero))


@one_thread()
def potential(structure: Structure, spacing_in_angstroms: float, in_ice: bool = True) -> Density:
    """The potential on a grid that holds the whole structure, low-passed to half amplitude at the grid's Nyquist.

    in_ice: less the potential of the ice that the structure displaces. Raises BenchError where the grid would not fit
    into memory.
    """
    spacing = spacing_in_angstroms / OVERSAMPLING
    low = structure.positions.min(0) - MARGIN_IN_ANGSTROMS - 4 * spacing_in_angstroms
    extent = structure.positions.max(0) + MARGIN_IN_ANGSTROMS + 4 * spacing_in_angstroms - low
    coarse = [_fft_size(math.ceil(length / spacing_in_angstroms)) for length in extent]
    fine = [OVERSAMPLING * n for n in coarse]
    if math.prod(fine) > MAX_GRID:
        raise BenchError(
            f"{structure.name}: {'×'.join(map(str, coarse))} voxels of {spacing_in_angstroms:g} Å hold it, too many; "
            f"take a larger voxel"
        )
    k = [torch.fft.fftfreq(n, spacing, dtype=torch.float64) for n in fine[:2]]
    k.append(torch.fft.rfftfreq(fine[2], spacing, dtype=torch.float64))
    kz, ky, kx = (f.view([-1 if i == axis else 1 for i in range(3)]) for axis, f in enumerate(k))
    k2 = (kz**2 + ky**2 + kx**2).float()
    spectrum = torch.zeros(k2.shape, dtype=torch.complex64)
    for element in np.unique(structure.elements):
        mine = structure.elements == element
        laid = _lay_down((structure.positions[mine] - low) / spacing, structure.occupancies[mine], fine)
        factor = scattering_factor(str(element), k2)
        if in_ice:
            volume = VOLUMES.get(str(element), OTHER_VOLUME)
            factor -= ice_scattering() * volume * torch.exp(-math.pi * volume ** (2 / 3) * k2)
        spectrum += torch.fft.rfftn(laid) * factor
    # Undo the spline that laid the atoms down, and low-pass.
    for f in (kz, ky, kx):
        spectrum /= torch.sinc(f * spacing).pow(4).to(torch.float32)
    nyquist = 1 / (2 * spacing_in_angstroms)
    spectrum *= torch.exp(-math.log(2) * k2 / nyquist**2)
    voxels = torch.fft.irfftn(_cropped(spectrum, coarse), s=coarse)
    voxels *= VOLTS / spacing_in_angstroms**3
    return Density(structure.name, voxels.numpy(), spacing_in_angstroms)


def _lay_down(positions: np.ndarray, weights: np.ndarray, shape: list[int]) -> Tensor:
    """Atoms at `positions` (n, 3), in voxels, as cubic B-splines on a grid: exact sums, smooth in the position."""
    at = torch.from_numpy(positions)
    first = at.floor().long() - 1
    t = at - at.floor()
    # Weights of the four nodes around, along each axis: (n, 3, 4).
    spline = torch.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], -1) / 6
    grid = torch.zeros(math.prod(shape))
    occupancy = torch.from_numpy(weights)
    for i in range(4):
        for j in range(4):
            plane = ((first[:, 0] + i) * shape[1] + first[:, 1] + j) * shape[2] + first[:, 2]
            share = occupancy * spline[:, 0, i] * spline[:, 1, j]
            for m in range(4):
                grid.index_add_(0, plane + m, (share * spline[:, 2, m]).float())
    return grid.view(shape)


def _cropped(spectrum: Tensor, shape: list[int]) -> Tensor:
    """The low frequencies of a half spectrum, those of a grid of `shape` points."""
    for axis, n in enumerate(shape[:2]):
        half = n // 2
        ends = (spectrum.narrow(axis, 0, half), spectrum.narrow(axis, spectrum.shape[axis] - half, half))
        spectrum = torch.cat(ends, axis)
    return spectrum[:, :, : shape[2] // 2 + 1]


def _fft_size(n: int) -> int:
    """The next even size with small prime factors."""
    n += n % 2
    while True:
        rest = n
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 2
