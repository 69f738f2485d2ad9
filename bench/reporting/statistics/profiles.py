"""How often a method does better than some score: its performance profile over blocks and seeds."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from bench.base.arrays import Float64Array
from bench.reporting.statistics import overall
from bench.reporting.statistics.blocks import Blocks
from bench.reporting.statistics.intervals import student
from bench.reporting.statistics.overall import ENDS, fewest_seeds, seed_weights


def profiles(blocks: Blocks, at: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
    """(share, low, high) of the trials above each score, every block counting the same; each (method, score).

    blocks: complete ones; at: (score,), chance-corrected accuracies, ascending. 95 % intervals for other seeds on
    these blocks, by the bootstrap over seeds within blocks (Agarwal et al. 2021, arXiv:2108.13264, Section 4.2), made
    longer for few seeds as those of `overall.here`; NaN where a block has one seed alone.
    """
    corrected = blocks.corrected  # (block, method, seed)
    there = np.isfinite(corrected[:, 0])
    n_blocks, n_methods, n_seeds = corrected.shape
    above = np.where(there[:, None, :, None], corrected[..., None] > at, 0.0)  # (block, method, seed, score)
    share = (above.sum(axis=2) / there.sum(axis=1)[:, None, None]).mean(axis=0)
    by_trial = above.transpose(0, 2, 1, 3).reshape(n_blocks * n_seeds, -1)
    weights = seed_weights(blocks.conditions, there).reshape(overall.DRAWS, -1) / n_blocks
    drawn = (weights @ by_trial).reshape(overall.DRAWS, n_methods, len(at))
    n, freedom = fewest_seeds(blocks)
    if not freedom:
        return share, np.full_like(share, np.nan), np.full_like(share, np.nan)
    longer = math.sqrt(n / (n - 1)) * student(freedom) / stats.norm.ppf(ENDS[1])
    low, high = share + longer * (np.quantile(drawn, ENDS, axis=0) - share)
    return share, np.clip(low, 0, 1), np.clip(high, 0, 1)
