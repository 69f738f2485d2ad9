"""A volume that need not fit the memory, taken in tiles: cores that share it out, each read with a halo."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bench.base.arrays import FloatArray
from bench.base.errors import BenchError

LARGEST = 1e15  # of a voxel
Shape = tuple[int, int, int]
Slices = tuple[slice, slice, slice]


class Tile(NamedTuple):
    """A part of a volume: `core`, which no other tile has, and `read`, the core with its halo inside the volume."""

    core: Slices
    read: Slices

    @property
    def inner(self) -> Slices:
        """The core, counted from the first voxel read."""
        z, y, x = (slice(c.start - r.start, c.stop - r.start) for c, r in zip(self.core, self.read))
        return z, y, x


def tiles(shape: Shape, side: int, halo: int) -> list[Tile]:
    """Cores of `side` voxels or fewer along an edge, as even as they can be, which cover `shape` once."""
    axes = [list(_spans(n, side, halo)) for n in shape]
    return [Tile((z[0], y[0], x[0]), (z[1], y[1], x[1])) for z, y, x in itertools.product(*axes)]


def _spans(n: int, side: int, halo: int) -> Iterator[tuple[slice, slice]]:
    step = even(n, side)
    for first in range(0, n, step):
        last = min(first + step, n)
        yield slice(first, last), slice(max(0, first - halo), min(n, last + halo))


def even(n: int, side: int) -> int:
    """The core side, up to `side`, whose tiles share out `n` voxels most evenly."""
    return math.ceil(n / math.ceil(n / side))


def part(voxels: npt.NDArray[Any], read: Slices, sign: float) -> FloatArray:
    """The voxels `read`, times `sign`, less their mean, as float32; exactly 0 where they are constant.

    Raises BenchError for NaN and infinite voxels, and for those whose squares float32 cannot sum.
    """
    with np.errstate(all="ignore"):
        taken = np.array(voxels[read], dtype=np.float32)
        within = taken.min() > -LARGEST and taken.max() < LARGEST
    if not within:
        corner = ", ".join(str(along.start) for along in read)
        raise BenchError(
            f"NaN or infinite voxels, or beyond ±{LARGEST:g}, in the tile from ({corner}) on; "
            f"mask or rebuild this tomogram"
        )
    taken -= np.float32(taken.mean(dtype=np.float64))
    taken *= sign
    return taken
