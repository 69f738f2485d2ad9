"""Maxima of a score map, and the strongest of them that keep their distance."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional

from bench.base.arrays import Float64Array, IntArray
from bench.picking.tiles import Slices


def maxima(scores: Tensor, inner: Slices) -> tuple[IntArray, Float64Array, Float64Array]:
    """Voxels (n, 3) of `inner` that are above 0 and above or like their 26 neighbours in `scores` (d, h, w).

    Also their sub-voxel places, counted from the first voxel of `scores`, and their scores.
    """
    highest = functional.max_pool3d(scores[None], 3, 1, 1)[0]
    found = ((scores == highest) & (scores > 0))[inner].nonzero()
    found += torch.tensor([along.start for along in inner], device=found.device)
    values = scores[tuple(found.T)].double().cpu().numpy()
    return found.cpu().numpy(), (found.cpu() + _offsets(scores, found).cpu()).numpy(), values


def _offsets(scores: Tensor, at: Tensor) -> Tensor:
    """From the maxima `at` (n, 3) to the tops of the parabolas along the axes, (n, 3), ±½ at most; at a wall 0."""
    offsets = torch.zeros(at.shape, dtype=torch.float64, device=at.device)
    top = scores[tuple(at.T)].double()
    for axis, n in enumerate(scores.shape):
        step = torch.eye(3, dtype=at.dtype, device=at.device)[axis]
        free = (at[:, axis] > 0) & (at[:, axis] < n - 1)
        below, above = (scores[tuple((at[free] + move).T)].double() for move in (-step, step))
        bend = (2 * top[free] - below - above).clamp(min=1e-30)
        offsets[free, axis] = (0.5 * (above - below) / bend).clamp(-0.5, 0.5)
    return offsets


def strongest(places: Float64Array, scores: Float64Array, distance: float, count: int) -> IntArray:
    """Indices of up to `count` places, best first, none nearer than `distance` voxels to a better one that is kept."""
    if not len(places):
        return np.empty(0, dtype=np.int64)
    tree, alive, kept = cKDTree(places), np.ones(len(places), dtype=bool), []
    for i in np.lexsort((*places.T[::-1], -scores)):  # places decide between equals, not the order of the tiles
        if alive[i]:
            alive[tree.query_ball_point(places[i], distance)] = False
            kept.append(i)
            if len(kept) == count:
                break
    return np.array(kept, dtype=np.int64)
