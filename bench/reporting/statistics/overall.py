"""A leaderboard over blocks whose ranks have intervals: who is better than whom, and on what evidence?

Agarwal et al. 2021 (doi:10.48550/arXiv.2108.13264) for the interquartile mean and the bootstrap over seeds; Hesterberg
2015 (doi:10.1080/00031305.2015.1089789) for what few units need.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from bench.base.arrays import BoolArray, Float64Array, IntArray
from bench.base.seeds import numpy_generator
from bench.reporting.statistics.blocks import Blocks
from bench.reporting.statistics.intervals import CONFIDENCE, rounding, student

DRAWS = 4000
TIE = 0.01  # of accuracy: a smaller difference on a block is no win
ENDS = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]


@dataclass(frozen=True)
class Overall:
    """Means of methods over blocks, and how much other seeds, or other data, could have moved them."""

    means: Float64Array  # (method,), chance-corrected
    moved: Float64Array  # (draw, method): a draw minus the means
    freedom: int  # of Student's t: how many deviations the draws rest on; 0: nothing can be told
    rounding: float = 0.0  # standard deviation of what counting takes from a difference of two means

    def behind(self, method: int) -> tuple[Float64Array, Float64Array, Float64Array]:
        """How far each method is behind one of them: (difference, low, high), each (method,), 95 %, pair by pair."""
        difference = self.means[method] - self.means
        if not self.freedom:
            unknown = np.full_like(difference, np.nan)
            return difference, unknown, unknown
        low, high = np.quantile(self._long[:, [method]] - self._long, ENDS, axis=0)
        return difference, difference + np.minimum(low, -self._least), difference + np.maximum(high, self._least)

    @property
    def tied(self) -> BoolArray:
        """(method,): whether chance may have put it behind the best, all methods considered at once.

        Behind is who lacks more than the largest difference that the methods show in 95 % of the draws about their
        means. This is a comparison with the best (Hsu 1984, Ann. Statist. 12, 1136), by the bootstrap.
        """
        if not self.freedom:
            return np.ones(len(self.means), dtype=bool)
        largest = np.quantile(self.moved.max(axis=1) - self.moved.min(axis=1), CONFIDENCE)
        return np.asarray(self.means.max() - self.means <= max(largest * self._few, self._least) + 1e-12)

    def above(self, method: int) -> BoolArray:
        """(method,): whether it is above one of them by more than chance, all methods considered at once.

        Above is who has more than the largest advantage over that method in 95 % of the draws (Dunnett's comparison
        with a control, by the bootstrap).
        """
        if not self.freedom:
            return np.zeros(len(self.means), dtype=bool)
        advantage = self.moved - self.moved[:, [method]]
        largest = np.quantile(advantage.max(axis=1), CONFIDENCE)
        return np.asarray(self.means - self.means[method] > max(largest * self._few, self._least) + 1e-12)

    @property
    def ranks(self) -> tuple[IntArray, IntArray, IntArray]:
        """(rank, low, high) by the means, each (method,), 95 %; equal means share a rank."""
        rank = stats.rankdata(-self.means.round(12), method="min").astype(np.int64)
        if not self.freedom:
            return rank, np.ones_like(rank), np.full_like(rank, len(rank))
        drawn = stats.rankdata(-(self.means + self._long).round(12), axis=1, method="min")
        low, high = np.quantile(drawn, ENDS, axis=0, method="closest_observation").astype(np.int64)
        above = self.means[:, None] - self.means > self._least + 1e-12  # (method, other)
        return rank, np.minimum(low, 1 + above.sum(axis=0)), np.maximum(high, len(rank) - above.sum(axis=1))

    @property
    def _least(self) -> float:
        """Half of the narrowest interval of a difference."""
        return student(self.freedom) * self.rounding

    @property
    def _few(self) -> float:
        """By what the largest of several differences is larger than that of the draws, for a spread from few of them.

        All methods together tell the spread: the more equal they are, the better (Satterthwaite).
        """
        n = len(self.means)
        spread = (self.moved - self.moved.mean(axis=1, keepdims=True)).var(axis=0)
        alike = spread.sum() ** 2 / (spread**2).sum() if spread.any() else float(n)
        freedom = max(1, round(self.freedom * alike * (n - 1) / n))
        return _studentized_range(n, freedom) / _studentized_range(n, math.inf)

    @property
    def _long(self) -> Float64Array:
        """The deviations, made longer by Student's t over the normal quantile."""
        return self.moved * (student(self.freedom) / stats.norm.ppf(ENDS[1]))


@cache
def _studentized_range(n: int, freedom: float) -> float:
    if n < 2:
        return 1.0
    return float(stats.studentized_range.ppf(CONFIDENCE, n, freedom))


def here(blocks: Blocks) -> Overall:
    """What other seeds could have given on these very blocks, which are complete."""
    seeds = np.isfinite(blocks.scores[:, 0]).sum(axis=1)
    fewest, freedom = fewest_seeds(blocks)
    found = _drawn(blocks, np.ones((DRAWS, len(blocks.names))), fewest, freedom)
    counted = np.array([rounding(n) for n in blocks.n_test]) / (1 - blocks.chance)
    return replace(found, rounding=float(np.sqrt((2 * counted**2 / seeds).sum()) / len(counted)))


def fewest_seeds(blocks: Blocks) -> tuple[int, int]:
    """The seeds that every block has, and the deviations that a spread over seeds rests on: 0 where one has one."""
    seeds = np.isfinite(blocks.scores[:, 0]).sum(axis=1)
    fewest = [int(seeds[blocks.conditions == condition].min()) for condition in np.unique(blocks.conditions)]
    return min(fewest), sum(n - 1 for n in fewest) if min(fewest) > 1 else 0


def elsewhere(blocks: Blocks) -> Overall:
    """What other data could have given: data sets, then their conditions, then seeds are drawn."""
    rng = numpy_generator(0, "data")
    weights = _times(rng, np.zeros_like(blocks.datasets), blocks.datasets)
    weights *= _times(rng, blocks.datasets, blocks.conditions)
    units = len(np.unique(blocks.datasets))
    return _drawn(blocks, weights, units, units - 1)


def _drawn(blocks: Blocks, weights: Float64Array, units: int, freedom: int) -> Overall:
    """weights: (draw, block); all methods have the same draw.

    n units drawn n times vary too little, so that deviations are made longer by √(n / (n − 1)) (Hesterberg).
    """
    corrected = blocks.corrected
    there = np.isfinite(corrected[:, 0])  # (block, seed)
    scores = np.where(there[:, None], corrected, 0.0)
    means = (scores.sum(axis=2) / there.sum(axis=1, keepdims=True)).mean(axis=0)
    if not freedom:
        return Overall(means, np.zeros((1, len(means))), 0)
    by_seed = seed_weights(blocks.conditions, there) * (weights / weights.sum(axis=1, keepdims=True))[:, :, None]
    drawn = by_seed.reshape(DRAWS, -1) @ scores.transpose(0, 2, 1).reshape(-1, len(means))
    return Overall(means, math.sqrt(units / (units - 1)) * (drawn - means), freedom)


def _times(rng: np.random.Generator, groups: IntArray, units: IntArray) -> Float64Array:
    """How often each block's unit is drawn, (draw, block), if each group draws as many of its units as it has."""
    times = np.ones((DRAWS, len(units)))
    for group in np.unique(groups):
        members = np.unique(units[groups == group])
        drawn = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), DRAWS)
        for member, counts in zip(members, drawn.T):
            times[:, units == member] = counts[:, None]
    return times


def seed_weights(conditions: IntArray, there: BoolArray) -> Float64Array:
    """The weight of each seed, (draw, block, seed), summing to 1 over seeds.

    Label fractions of a condition share their splits, so that they share their draw where they have the same seeds.
    """
    rng = numpy_generator(0, "seeds")
    weights = np.zeros((DRAWS, *there.shape))
    kinds = np.unique(np.column_stack([conditions, there]), axis=0, return_inverse=True)[1].ravel()
    for kind in np.unique(kinds):
        block = int(np.flatnonzero(kinds == kind)[0])
        n = int(there[block].sum())
        drawn = rng.multinomial(n, np.full(n, 1 / n), DRAWS) / n
        weights[np.ix_(np.arange(DRAWS), np.flatnonzero(kinds == kind), np.flatnonzero(there[block]))] = drawn[:, None]
    return weights


def leaderboard(blocks: Blocks) -> pd.DataFrame:
    """One line a method, best first; who has too few blocks stands last, with its number of blocks alone.

    `accuracy` and `corrected` are means over the compared blocks, `iqm` is the mean of the middle half of all blocks
    and seeds, `mean_rank` that of the ranks on each block. `rank` is by `corrected`, with its 95 % interval and `tied`
    with the best, for other seeds on these blocks; `…_elsewhere` are for other data sets. Wins, ties and losses count
    blocks and opponents; a tie is a difference of less than TIE.
    """
    compared = blocks.complete()
    table = pd.DataFrame({"method": blocks.methods, "blocks": blocks.coverage, "of_blocks": len(blocks.names)})
    if not compared.names:
        return table
    scores, corrected = np.nanmean(compared.scores, axis=2), compared.corrected
    margins = scores[:, :, None] - scores[:, None]  # (block, method, opponent)
    others = ~np.eye(len(compared.methods), dtype=bool)
    columns: dict[str, Any] = {"compared_blocks": len(compared.names), "accuracy": scores.mean(axis=0)}
    columns["corrected"] = np.nanmean(corrected, axis=2).mean(axis=0)
    columns["iqm"] = [stats.trim_mean(c[np.isfinite(c)], 0.25) for c in corrected.swapaxes(0, 1)]
    columns["mean_rank"] = stats.rankdata(-scores.round(12), axis=1).mean(axis=0)
    for end, overall in (("", here(compared)), ("_elsewhere", elsewhere(compared))):
        rank, low, high = overall.ranks
        columns |= {} if end else {"rank": rank}
        columns |= {f"rank_low{end}": low, f"rank_high{end}": high, f"tied{end}": overall.tied}
    columns["wins"] = (margins >= TIE).sum(axis=(0, 2))
    columns["ties"] = ((np.abs(margins) < TIE) & others).sum(axis=(0, 2))
    columns["losses"] = (margins <= -TIE).sum(axis=(0, 2))
    known = pd.DataFrame({"method": compared.methods} | columns)
    return table.merge(known, on="method", how="left").sort_values(["rank", "method"], ignore_index=True)
