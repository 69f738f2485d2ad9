"""Particles by their size alone: maxima of a difference of Gaussians (Voss et al. 2009, J. Struct. Biol. 166:205)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from bench.base.arrays import Float64Array
from bench.base.errors import BenchError
from bench.base.progress import Progress, silent
from bench.picking.input import constant, sign_of
from bench.picking.peaks import maxima, strongest
from bench.picking.tiles import Shape, Slices, Tile, part, tiles

SIDE = 128  # of a tile's core, in voxels
RATIO = 1.6  # of the two widths: the band is that of the Laplacian of a Gaussian (Marr & Hildreth 1980)
REACH = 4.0  # widths after which a Gaussian is cut off


def blobs(
    voxels: npt.NDArray[Any],
    voxel_size_in_angstroms: float,
    diameter_in_angstroms: float,
    count: int,
    *,
    contrast: str = "dark",
    min_distance_in_angstroms: float | None = None,
    device: str = "cpu",
    progress: Progress = silent,
) -> pd.DataFrame:
    """The `count` best places of particles of one diameter in `voxels` (d, h, w), of any real dtype, mapped or not.

    The filter is positive inside a ball of that diameter and negative around it, so that such a ball answers most.
    The score is the answer in units of its standard deviation over the tomogram. Near a wall the tomogram is
    mirrored, and the answer divided by what that adds to its noise.
    Places are nearer than `min_distance_in_angstroms` (None: ¾ of the diameter) to no better one.

    Returns z, y, x in voxels (the first is 0), finer than a voxel, and score, best first. Memory is that of a tile.
    Raises BenchError for a diameter of 2 voxels or fewer or beyond the shortest side, and for a constant tomogram.
    """
    sign = sign_of(voxels, voxel_size_in_angstroms, contrast, count)
    diameter = diameter_in_angstroms / voxel_size_in_angstroms
    if not 2 < diameter <= min(voxels.shape):
        raise BenchError(
            f"diameter {diameter_in_angstroms:g} Å is {diameter:.3g} voxels: must be above 2 and at most the "
            f"tomogram's shortest side, {min(voxels.shape)}; check the units and the voxel size"
        )
    widths = _widths(diameter)
    d, h, w = voxels.shape
    parts = tiles((d, h, w), SIDE, math.ceil(REACH * widths[1]) + 1)
    places, scores, square, total = [], [], 0.0, 0.0
    for done, tile in enumerate(parts):
        answer, outer = _answer(part(voxels, tile.read, sign), tile, (d, h, w), widths, device)
        core = _within(tile.core, outer)
        square += float(answer[core].square().sum(dtype=torch.float64))
        total += float(answer[core].sum(dtype=torch.float64))
        _, some, values = maxima(answer, core)
        places.append(some + [along.start for along in outer])
        scores.append(values)
        progress(done + 1, len(parts))
    std = math.sqrt(max(square / voxels.size - (total / voxels.size) ** 2, 0.0))
    if std == 0:
        raise constant("the tomogram")
    distance = 0.75 * diameter
    if min_distance_in_angstroms is not None:
        distance = min_distance_in_angstroms / voxel_size_in_angstroms
    found, values = np.concatenate(places), np.concatenate(scores) / std
    best = strongest(found, values, distance, count)
    return pd.DataFrame({"z": found[best, 0], "y": found[best, 1], "x": found[best, 2], "score": values[best]})


def _widths(diameter: float) -> tuple[float, float]:
    """Of the two Gaussians: their difference in 3D is 0 on the ball's surface, at 3 ln(b²/a²) = r² (1/a² − 1/b²)."""
    narrow = diameter / 2 * math.sqrt((1 - RATIO**-2) / (6 * math.log(RATIO)))
    return narrow, RATIO * narrow


def _within(core: Slices, outer: Slices) -> Slices:
    z, y, x = (slice(c.start - o.start, c.stop - o.start) for c, o in zip(core, outer))
    return z, y, x


def _answer(
    taken: npt.NDArray[np.float32], tile: Tile, shape: Shape, widths: tuple[float, float], device: str
) -> tuple[Tensor, Slices]:
    """The filter's answer on the core and the voxels that touch it, and where those are."""
    z, y, x = (slice(max(0, c.start - 1), min(n, c.stop + 1)) for c, n in zip(tile.core, shape))
    source = torch.from_numpy(taken).to(device)
    narrow, wide = (
        [_blur(n, width, rows, read) for n, rows, read in zip(shape, (z, y, x), tile.read)] for width in widths
    )
    answer = _along_axes(source, narrow) - _along_axes(source, wide)
    noise = sum(
        sign * _outer([(a * b).sum(1) for a, b in zip(one, other)])
        for sign, one, other in ((1, narrow, narrow), (-2, narrow, wide), (1, wide, wide))
    )
    inside = _noise_inside(widths)
    return answer * torch.from_numpy(np.sqrt(inside / noise).astype(np.float32)).to(device), (z, y, x)


def _blur(n: int, width: float, rows: slice, columns: slice) -> Float64Array:
    """The matrix that blurs an axis of `n` voxels, mirrored at its walls: `rows` of the blurred, `columns` of it."""
    weights = _weights(width)
    steps = np.arange(len(weights)) - len(weights) // 2
    places = (np.arange(rows.start, rows.stop)[:, None] + steps) % (2 * n)
    places = np.where(places < n, places, 2 * n - 1 - places) - columns.start
    matrix = np.zeros((rows.stop - rows.start, columns.stop - columns.start))
    np.add.at(matrix, (np.arange(len(matrix))[:, None], places), np.broadcast_to(weights, places.shape))
    return matrix


def _weights(width: float) -> Float64Array:
    reach = math.ceil(REACH * width)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    normal: Float64Array = weights / weights.sum()
    return normal


def _noise_inside(widths: tuple[float, float]) -> float:
    """Variance that the filter makes of white noise far from the walls."""
    wide = _weights(widths[1])
    narrow = np.pad(inner := _weights(widths[0]), (len(wide) - len(inner)) // 2)
    return float((narrow**2).sum() ** 3 - 2 * (narrow * wide).sum() ** 3 + (wide**2).sum() ** 3)


def _outer(axes: list[Float64Array]) -> Float64Array:
    z, y, x = axes
    return z[:, None, None] * y[:, None] * x


def _along_axes(source: Tensor, matrices: list[Float64Array]) -> Tensor:
    """The axes z, y, x of `source` (d, h, w), each times its matrix."""
    z, y, x = (torch.from_numpy(matrix.astype(np.float32)).to(source.device) for matrix in matrices)
    flat = y @ (source @ x.T)
    return (z @ flat.flatten(1)).view(-1, *flat.shape[1:])
