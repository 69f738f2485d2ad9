"""Pairs of methods over blocks: differences, wins, and the tests that the field uses.

Agarwal et al. 2021 (doi:10.48550/arXiv.2108.13264) for the probability of improvement; Benavoli et al. 2017
(Journal of Machine Learning Research 18, 77) for the Bayesian signed-rank test; Demšar 2006 (ibid. 7, 1) and Benavoli
et al. 2016 (ibid. 17, 5) for Friedman's test and then Wilcoxon's with Holm's correction.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from bench.base.arrays import Float64Array
from bench.base.seeds import numpy_generator
from bench.reporting.statistics.blocks import Blocks
from bench.reporting.statistics.overall import TIE, here

LEAST_BLOCKS = 6  # with fewer, Wilcoxon's test cannot reach 5 %: its smallest two-sided p is 2 / 2ⁿ
_SAMPLES = 20_000


class Posterior(NamedTuple):
    """Probabilities that sum to 1: the first method is worse than the second, equal for practice, better."""

    worse: float
    same: float
    better: float


def improvement(first: Float64Array, second: Float64Array) -> float:
    """P(a run of the first is above a run of the second), mean over blocks; both (block, seed), NaN where none is.

    Of a block: the Mann–Whitney U over its number of pairs; a tie counts half.
    """
    shares = []
    for a, b in zip(first, second):
        difference = a[np.isfinite(a)][:, None] - b[np.isfinite(b)]
        shares.append((np.sign(difference).mean() + 1) / 2)
    return float(np.mean(shares))


def bayesian_signed_rank(differences: Float64Array, equal: float = TIE) -> Posterior:
    """From the differences on blocks, (block,); within ± `equal` two methods are the same for practice.

    A Dirichlet process whose prior is half a block more, without a difference: with weights w of the blocks, the region
    of a pair (i, j) of blocks is that of the mean of their differences. A sample of w votes for the heaviest region.
    """
    z = np.append(0.0, differences)
    weights = numpy_generator(0, "signed rank").dirichlet(np.append(0.5, np.ones(len(differences))), _SAMPLES)
    sums = z[:, None] + z
    regions = [sums < -2 * equal, np.abs(sums) <= 2 * equal, sums > 2 * equal]
    weight = np.column_stack([((weights @ region) * weights).sum(axis=1) for region in regions])
    counts = np.bincount(weight.argmax(axis=1), minlength=3) / _SAMPLES
    return Posterior(*(float(share) for share in counts))


def friedman(scores: Float64Array) -> float:
    """p of Friedman's test that all methods are alike; scores (block, method). NaN below three methods, two blocks."""
    if scores.shape[1] < 3 or len(scores) < 2:
        return math.nan
    if (scores == scores[:, :1]).all():
        return 1.0
    return float(stats.friedmanchisquare(*scores.T).pvalue)


def holm(p: Float64Array) -> Float64Array:
    """Holm's step-down correction of p-values, (test,); NaN stays and does not count."""
    corrected = np.full_like(p, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known])]
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(steps))
    return corrected


def compare_pairs(blocks: Blocks) -> pd.DataFrame:
    """One line a pair of methods of complete blocks.

    `difference` is the mean of chance-corrected accuracy of `method` minus that of `minus`, with the 95 % interval for
    other seeds on the same blocks. p-values are NaN below LEAST_BLOCKS blocks.
    """
    means, at = np.nanmean(blocks.corrected, axis=2), here(blocks)
    lines = []
    for i, j in itertools.combinations(range(len(blocks.methods)), 2):
        difference, low, high = (values[j] for values in at.behind(i))
        points = np.nanmean(blocks.scores[:, i] - blocks.scores[:, j], axis=1)
        posterior = bayesian_signed_rank(points)
        p = math.nan
        if len(points) >= LEAST_BLOCKS:
            p = float(stats.wilcoxon(means[:, i], means[:, j]).pvalue) if points.any() else 1.0
        lines.append(
            {"method": blocks.methods[i], "minus": blocks.methods[j], "blocks": len(points)}
            | {"difference": difference, "low": low, "high": high}
            | {"wins": int((points >= TIE).sum()), "losses": int((points <= -TIE).sum())}
            | {"improvement": improvement(blocks.scores[:, i], blocks.scores[:, j])}
            | {f"p_{name}": share for name, share in posterior._asdict().items()}
            | {"wilcoxon": p}
        )
    columns = ["method", "minus", "blocks", "difference", "low", "high", "wins", "losses", "improvement"]
    columns += ["p_worse", "p_same", "p_better", "wilcoxon", "holm"]
    table = pd.DataFrame(lines, columns=columns)
    table["holm"] = holm(table["wilcoxon"].to_numpy(dtype=float))
    return table
