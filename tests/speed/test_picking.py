"""A rotation of a template search, beside a plain one with SciPy: turn, filter, pad, transform, keep the best."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import fft, ndimage
from scipy.spatial.transform import Rotation

from bench.picking import match
from bench.picking.rotations import rotation_grid
from bench.simulation import Density

SHAPE = (96, 192, 192)
VOXEL, STEP = 30.0, 20.0  # Å, degrees
PLAIN = 10  # rotations


def _density() -> Density:
    """A lopsided ring of Gaussians of 270 Å, on a grid of 10 Å."""
    grid = np.ogrid[:40, :40, :40]
    turns = np.arange(7) * 2 * np.pi / 7
    centres = [(20 + 3 * np.cos(3 * t), 20 + 9 * np.cos(t), 20 + 9 * np.sin(t)) for t in turns]
    voxels = sum((1 + i / 7) * np.exp(-sum((g - m) ** 2 for g, m in zip(grid, c)) / 18) for i, c in enumerate(centres))
    return Density("ring", np.asarray(voxels, dtype=np.float32), 10.0)


def _plain(voxels: np.ndarray, density: Density, rotations: Rotation) -> np.ndarray:
    side, ratio = 21, VOXEL / density.voxel_size_in_angstroms
    k = np.meshgrid(*[fft.fftfreq(side)] * 2, fft.rfftfreq(side), indexing="ij")
    seen = np.abs(k[0]) <= np.sqrt(3) * np.abs(k[2]) + 1e-9
    smooth = ndimage.gaussian_filter(density.voxels, 0.375 * ratio)
    ball = (np.indices((side,) * 3) - side // 2) ** 2
    mask = (ball.sum(0) <= 36).astype(np.float32)
    n = mask.sum()
    spectrum = fft.rfftn(voxels, workers=2)
    ones = fft.rfftn(mask, SHAPE, workers=2).conj()
    mean = fft.irfftn(spectrum * ones, SHAPE, workers=2) / n
    squares = fft.irfftn(fft.rfftn(voxels**2, workers=2) * ones, SHAPE, workers=2) / n
    std = np.sqrt(np.maximum(squares - mean**2, 1e-6))
    best = np.full(SHAPE, -np.inf, dtype=np.float32)
    for rotation in rotations:
        back = rotation.inv().as_matrix() * ratio
        turned = ndimage.affine_transform(smooth, back, 20 - back @ np.full(3, side // 2), (side,) * 3, order=1)
        turned = fft.irfftn(fft.rfftn(turned) * seen, turned.shape).astype(np.float32)
        turned = (turned - (turned * mask).sum() / n) * mask
        turned /= np.sqrt((turned**2).sum() * n)
        found = fft.irfftn(spectrum * fft.rfftn(turned, SHAPE, workers=2).conj(), SHAPE, workers=2)
        np.maximum(best, found, out=best)
    return best / std


def test_template_search(compare: Callable[..., None]) -> None:
    voxels = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    density, rotations = _density(), rotation_grid(STEP)
    compare(
        "a rotation of a template search, 96 × 192 × 192",
        lambda: _plain(voxels, density, rotations[:PLAIN]),
        lambda: match(voxels, VOXEL, density, 100, step_in_degrees=STEP, contrast="bright"),
        pieces=(PLAIN, len(rotations)),
    )
