"""One box out of a tomogram: cut, resampled, put on one grey scale."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from bench.base.arrays import Float64Array, FloatArray


def inside(places: Float64Array, shape: tuple[int, ...], box: int, ratio: float) -> npt.NDArray[np.bool_]:
    """Which of `places` (n, 3) have room for a box in a tomogram of `shape`."""
    if ratio == 1:
        low = np.round(places) - box // 2
        return np.asarray(((low >= 0) & (low + box <= shape)).all(axis=1))
    low, high = places - box // 2 * ratio, places + (box - 1 - box // 2) * ratio
    return np.asarray(((low >= 0) & (high <= np.array(shape) - 1)).all(axis=1))


def cut(voxels: npt.NDArray[np.generic], centre: Float64Array, box: int, ratio: float) -> FloatArray:
    """The cube of `box` voxels about `centre` (z, y, x), which lands on voxel box // 2 of each side, (box, box, box).

    ratio: voxels of the tomogram to one of the box. At 1 voxels are taken as they are, about the nearest one; else
    they are low-passed below the box's Nyquist frequency and sampled by cubic splines, at the very centre.
    """
    if ratio == 1:
        corner = np.round(centre).astype(int) - box // 2
        return np.array(voxels[tuple(slice(c, c + box) for c in corner)], dtype=np.float32)
    along = centre[:, None] + (np.arange(box) - box // 2) * ratio  # (3, box)
    margin = int(np.ceil(6 * max(1.0, ratio)))
    low, high = np.floor(along[:, 0]).astype(int) - margin, np.ceil(along[:, -1]).astype(int) + margin + 1
    shape = np.array(voxels.shape)
    inside = tuple(slice(max(0, a), min(n, b)) for a, b, n in zip(low, high, shape))
    outside = [(max(0, -a), max(0, b - n)) for a, b, n in zip(low, high, shape)]
    patch = np.pad(np.asarray(voxels[inside], dtype=np.float32), outside, mode="edge")
    if ratio > 1:
        patch = _low_passed(patch, 0.5 / ratio)
    grid = np.meshgrid(*(some - a for some, a in zip(along, low)), indexing="ij")
    sampled: FloatArray = ndimage.map_coordinates(patch, grid, order=3, mode="nearest")
    return sampled


def _low_passed(patch: FloatArray, cutoff: float) -> FloatArray:
    """Without what lies beyond `cutoff` (of the sampling frequency) along any axis; a cosine edge of 15 % before it."""
    spectrum = fft.rfftn(patch)
    for axis, n in enumerate(patch.shape):
        k = np.abs(np.fft.rfftfreq(n) if axis == 2 else np.fft.fftfreq(n))
        edge = np.clip((k / cutoff - 0.85) / 0.15, 0, 1)
        shape = [-1 if i == axis else 1 for i in range(3)]
        spectrum *= (0.5 + 0.5 * np.cos(np.pi * edge)).astype(np.float32).reshape(shape)
    filtered: FloatArray = fft.irfftn(spectrum, s=patch.shape)
    return filtered


def normalised(box: FloatArray, contrast: str = "bright") -> FloatArray | None:
    """A box of mean 0 and variance 1, particles bright; None where it holds NaN or nothing but one grey level."""
    mean, std = box.mean(dtype=np.float64), box.std(dtype=np.float64)
    if not np.isfinite(std) or std <= 1e-6 * max(1.0, abs(float(mean))):
        return None
    return np.asarray((box - mean) / (std if contrast == "bright" else -std), dtype=np.float32)
