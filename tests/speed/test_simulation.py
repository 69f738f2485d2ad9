"""Subtomograms of 64³ a second, beside a plain implementation with SciPy, a particle and a tilt at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import fft, ndimage
from scipy.spatial.transform import Rotation

from bench.simulation import Density, Imaging, plan, simulate

BOX, VOXEL = 64, 5.5  # Å
PLAIN, FAST = 2, 64  # particles
Noise = Callable[[tuple[int, ...]], np.ndarray]


def _density() -> Density:
    """A ring of Gaussians, on a grid of half the voxel."""
    n = 2 * BOX
    grid = np.ogrid[:n, :n, :n]
    turns = np.arange(7) * 2 * np.pi / 7
    centres = [(n / 2 + 6 * np.cos(3 * t), n / 2 + 24 * np.cos(t), n / 2 + 24 * np.sin(t)) for t in turns]
    voxels = sum(np.exp(-sum((g - m) ** 2 for g, m in zip(grid, centre)) / 50) for centre in centres)
    return Density("ring", voxels.astype(np.float32), VOXEL / 2)


def _ctf(k2: np.ndarray) -> np.ndarray:
    phase = np.pi * 0.019687 * 5e4 * k2 - np.pi / 2 * 2e7 * 0.019687**3 * k2**2 + np.arcsin(0.07)
    return np.sin(phase) * np.exp(-k2 / 2 * (2 * VOXEL / 0.4) ** 2)


def _mtf(k2: np.ndarray) -> np.ndarray:
    return np.exp(np.log(0.5) * k2 * (2 * VOXEL) ** 2)


def _posed(density: Density, rng: np.random.Generator) -> np.ndarray:
    back = 2 * Rotation.random(rng=rng).as_matrix().T
    middle = BOX // 2 + rng.uniform(-BOX / 16, BOX / 16, 3)
    offset = np.full(3, BOX) - back @ middle
    return ndimage.affine_transform(density.voxels, back, offset, (BOX,) * 3, order=3)


def _finished(signal: np.ndarray, noise: np.ndarray) -> np.ndarray:
    image = signal + noise * np.sqrt(signal.var() / noise.var() / 0.03)
    return (image - image.mean()) / image.std()


def _plain_fourier(density: Density, rng: np.random.Generator) -> np.ndarray:
    k = [fft.fftfreq(BOX, VOXEL), fft.fftfreq(BOX, VOXEL), fft.rfftfreq(BOX, VOXEL)]
    kz, ky, kx = np.meshgrid(*k, indexing="ij")
    k2 = kz**2 + ky**2 + kx**2
    seen = (np.abs(kz) <= np.sqrt(3) * np.abs(kx) + 1e-9) & (k2 <= 1 / (2 * VOXEL) ** 2)
    ctf, mtf = _ctf(k2), _mtf(k2) * seen
    shape = (BOX,) * 3
    signal = fft.irfftn(fft.rfftn(_posed(density, rng)) * ctf * mtf, shape)
    before, after = rng.normal(size=shape), rng.normal(size=shape)
    noise = fft.irfftn((fft.rfftn(before) * ctf + fft.rfftn(after)) * mtf, shape)
    return _finished(signal, noise)


def _plain_tilt_series(density: Density, rng: np.random.Generator) -> np.ndarray:
    volume = _posed(density, rng)
    ky, kx = np.meshgrid(fft.fftfreq(BOX, VOXEL), fft.rfftfreq(BOX, VOXEL), indexing="ij")
    k2 = ky**2 + kx**2
    ctf, mtf, ramp = _ctf(k2), _mtf(k2), kx * VOXEL
    signal, noise = np.zeros((BOX,) * 3), np.zeros((BOX,) * 3)
    for tilt in np.arange(-60, 61, 3):
        shadow = ndimage.rotate(volume, tilt, (0, 2), reshape=False, order=1).sum(0)
        before, after = rng.normal(size=shadow.shape), rng.normal(size=shadow.shape)
        seen = fft.rfft2(shadow) * ctf * mtf * ramp
        grain = (fft.rfft2(before) * ctf + fft.rfft2(after)) * mtf * ramp
        for total, spectrum in ((signal, seen), (noise, grain)):
            smeared = np.broadcast_to(fft.irfft2(spectrum, (BOX, BOX)), (BOX,) * 3)
            total += ndimage.rotate(smeared, -tilt, (0, 2), reshape=False, order=1)
    return _finished(signal, noise)


@pytest.mark.parametrize("mode", ["fourier", "tilt_series"])
def test_subtomograms(mode: str, compare: Callable[..., None]) -> None:
    density, rng = _density(), np.random.default_rng(0)
    one = _plain_fourier if mode == "fourier" else _plain_tilt_series
    made = plan([density], Imaging(mode=mode, snr=0.03), BOX, FAST, BOX * VOXEL, 0, "speed")
    compare(
        f"a simulated particle, 64³, {mode}",
        lambda: [one(density, rng) for _ in range(PLAIN)],
        lambda: sum(len(boxes) for _, boxes, _ in simulate(made)),
        pieces=(PLAIN, FAST),
    )
