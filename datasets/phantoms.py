"""The built-in default: eight complexes modelled on the paper's Table 1 by symmetry and size, from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from bench.base.arrays import Float64Array
from bench.base.machine import one_thread
from bench.base.parameters import parameter, same
from bench.base.seeds import numpy_generator
from bench.simulation import Density, Imaging, Plan, Simulation, plan

EXTENT_IN_ANGSTROMS = 336.0
CUBIC_ANGSTROMS_PER_DALTON = 1.21  # protein
RNA_CONTRAST = 1.6  # of a ribosome's density to a protein's


@dataclass(frozen=True)
class Phantoms(Simulation):
    """Eight phantom complexes, modelled on the paper's Table 1 and made from a seed; nothing to download."""

    box: int = parameter(16, "voxels along an edge of the box", low=8, high=1024)
    per_class: int = parameter(300, "particles of each class", low=1, high=1_000_000)
    snr: float = same(Imaging, "snr", default=0.5)
    seed: int = parameter(0, "seed of shapes, poses and noise", low=0, high=10**12)

    def plan(self) -> Plan:
        """Build the shapes."""
        voxel_size = min(6.0, EXTENT_IN_ANGSTROMS / self.box)
        densities = [
            _density(name, make(numpy_generator(self.seed, "shape", name)), voxel_size)
            for name, make in COMPLEXES.items()
        ]
        imaging = Imaging(snr=self.snr)
        title = f"phantoms {self.box}³ SNR {self.snr:g}"
        return plan(densities, imaging, self.box, self.per_class, EXTENT_IN_ANGSTROMS, self.seed, title)


@dataclass(frozen=True)
class Blobs:
    """A shape as a sum of Gaussians."""

    centres: Float64Array
    sigma: Float64Array  # (n,), Å
    mass: Float64Array  # (n,), integral of each


def _subunit(mass_in_kilodaltons: float, rng: np.random.Generator) -> tuple[Float64Array, float, float]:
    """A globular subunit as three overlapping lobes: offsets (3, 3), σ in Å and mass of each."""
    radius = (3 * CUBIC_ANGSTROMS_PER_DALTON * 1e3 * mass_in_kilodaltons / (4 * np.pi)) ** (1 / 3)
    lobe = radius / 3 ** (1 / 3)
    return rng.normal(0, 0.45 * radius, (3, 3)), lobe / np.sqrt(5), mass_in_kilodaltons / 3


def _ring(n: int, radius: float, height: float, mass: float, rng: np.random.Generator, phase: float = 0.0) -> Blobs:
    """`n` equal subunits about z, at `radius` and `height` in Å; `phase` in steps of the ring."""
    offsets, sigma, lobe_mass = _subunit(mass, rng)
    first = offsets + np.array([height, 0.0, radius])
    turns = [Rotation.from_rotvec([2 * np.pi * (i + phase) / n, 0, 0]) for i in range(n)]
    centres = np.concatenate([turn.apply(first) for turn in turns])
    return Blobs(centres, np.full(3 * n, sigma), np.full(3 * n, lobe_mass))


def _dihedral(half: Blobs, twist_in_degrees: float = 0.0) -> Blobs:
    """A half and its copy turned upside down about a two-fold axis across z."""
    angle = np.radians(twist_in_degrees) / 2
    twofold = Rotation.from_rotvec(np.pi * np.array([0.0, np.sin(angle), np.cos(angle)]))
    return _together(half, Blobs(twofold.apply(half.centres), half.sigma, half.mass))


def _together(*parts: Blobs) -> Blobs:
    return Blobs(
        np.concatenate([p.centres for p in parts]),
        np.concatenate([p.sigma for p in parts]),
        np.concatenate([p.mass for p in parts]),
    )


def _proteasome(rng: np.random.Generator) -> Blobs:
    """20S: rings α7 β7 β7 α7, 150 Å long, 113 Å across, 700 kDa."""
    beta, alpha = _ring(7, 36.0, 19.0, 25.0, rng), _ring(7, 38.0, 57.0, 25.0, rng)
    return _dihedral(_together(beta, alpha))


def _capped_proteasome(rng: np.random.Generator) -> Blobs:
    """20S with a heptameric PA26 cap on either end: 240 Å long, 1,080 kDa."""
    cap = _ring(7, 27.0, 97.0, 27.0, rng)
    return _together(_proteasome(rng), _dihedral(cap))


def _glutamine_synthetase(rng: np.random.Generator) -> Blobs:
    """Two hexameric rings face to face, D6: 143 Å across, 103 Å high, 620 kDa."""
    return _dihedral(_ring(6, 46.0, 23.0, 52.0, rng))


def _transcarbamoylase(rng: np.random.Generator) -> Blobs:
    """Two catalytic trimers and three regulatory dimers about the equator, D3: 130 Å across, 306 kDa."""
    catalytic = _ring(3, 24.0, 22.0, 34.0, rng)
    regulatory = _ring(3, 52.0, 9.0, 17.0, rng, phase=0.5)
    return _dihedral(_together(catalytic, regulatory))


def _decarboxylase(rng: np.random.Generator) -> Blobs:
    """Two trimers back to back, D3: 105 Å across, 330 kDa."""
    return _dihedral(_ring(3, 30.0, 25.0, 55.0, rng), twist_in_degrees=60.0)


def _groel(rng: np.random.Generator) -> Blobs:
    """GroEL: two heptameric rings of equatorial and apical domains, D7: 146 Å long, 137 Å across, 800 kDa."""
    equatorial, apical = _ring(7, 42.0, 18.0, 30.0, rng), _ring(7, 47.0, 56.0, 27.0, rng, phase=0.2)
    return _dihedral(_together(equatorial, apical))


def _ribosome(rng: np.random.Generator, diameter: float, mass: float, small_share: float) -> Blobs:
    """A large and a small subunit across a cleft, lumpy and without symmetry."""
    parts = []
    for share, offset in ((1 - small_share, 0.16), (small_share, -0.30)):
        n = round(70 * share)
        semi_axes = diameter * np.array([0.24, 0.42, 0.36]) * (share / 0.65) ** (1 / 3)
        inside = rng.normal(size=(n, 3))
        inside *= rng.uniform(0, 1, (n, 1)) ** (1 / 3) / np.linalg.norm(inside, axis=1, keepdims=True)
        centres = inside * semi_axes + np.array([offset * diameter, 0.0, 0.0])
        sigma = rng.uniform(9.0, 14.0, n) * diameter / 240
        parts.append(Blobs(centres, sigma, np.full(n, RNA_CONTRAST * mass * share / n)))
    return _together(*parts)


def _ribosome_70s(rng: np.random.Generator) -> Blobs:
    """Bacterial ribosome: 230 Å, 2.5 MDa."""
    return _ribosome(rng, 230.0, 2500.0, 0.35)


def _ribosome_80s(rng: np.random.Generator) -> Blobs:
    """Human ribosome: 280 Å, 4.3 MDa."""
    return _ribosome(rng, 280.0, 4300.0, 0.33)


# Named after the entry of Table 1 that each is modelled on; "~" so that nobody takes it for the entry.
COMPLEXES: dict[str, Callable[[np.random.Generator], Blobs]] = {
    "~1FNT capped 20S": _capped_proteasome,
    "~2GLS glutamine synthetase": _glutamine_synthetase,
    "~1F1B transcarbamoylase": _transcarbamoylase,
    "~2IDB decarboxylase": _decarboxylase,
    "~1KP8 GroEL": _groel,
    "~3DY4 20S": _proteasome,
    "~4V4A 70S": _ribosome_70s,
    "~5T2C 80S": _ribosome_80s,
}


@one_thread()
def _density(name: str, blobs: Blobs, voxel_size: float) -> Density:
    """Sample the blobs on a grid that holds the box in any pose."""
    n = int(np.ceil(EXTENT_IN_ANGSTROMS / voxel_size))
    grid = (np.arange(n) - n // 2) * voxel_size
    # (3, blobs, n): a Gaussian is the product of one along each axis.
    z, y, x = np.exp(-0.5 * ((grid[None, None, :] - blobs.centres.T[:, :, None]) / blobs.sigma[:, None]) ** 2)
    peak = blobs.mass / ((2 * np.pi) ** 1.5 * blobs.sigma**3)
    voxels = np.einsum("b,bd,bh,bw->dhw", peak, z, y, x, optimize=True)
    return Density(name, voxels.astype(np.float32), voxel_size)
