"""Intervals of means, over seeds and over pairs."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import stats

from bench.base.arrays import Float64Array
from bench.base.seeds import numpy_generator

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A mean with its 95 % interval; the bounds are NaN where one seed allows none."""

    mean: float
    low: float
    high: float
    n: int


def t_interval(values: Float64Array, rounding: float = 0.0) -> Interval:
    """Mean over seeds with Student's t interval, ddof = 1.

    rounding: standard deviation of what counting takes from each value. They cannot be told to spread by less: two
    seeds may name the same number of volumes by chance.
    """
    n = len(values)
    mean = float(np.mean(values)) if n else math.nan
    if n < 2:
        return Interval(mean, math.nan, math.nan, n)
    half = student(n - 1) * max(float(np.std(values, ddof=1)), rounding) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


@cache
def student(freedom: int) -> float:
    """The quantile of Student's t that a 95 % interval reaches to; SciPy takes milliseconds for it."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))


def bootstrap_interval(differences: Float64Array) -> Interval:
    """Mean of paired differences with a percentile bootstrap interval over the pairs (10,000 drawings, fixed seed).

    For six pairs or more: below that it hardly leaves the range of the pairs, and `t_interval` is the honest one.
    """
    n = len(differences)
    mean = float(np.mean(differences)) if n else math.nan
    if n < 2:
        return Interval(mean, math.nan, math.nan, n)
    drawn = numpy_generator(0, "bootstrap").integers(0, n, (10_000, n))
    means = differences[drawn].mean(1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(mean, float(low), float(high), n)


def rounding(n_test: float) -> float:
    """Standard deviation of the rounding of an accuracy that `n_test` volumes are counted for: 0.06 points for 480."""
    return 1 / (n_test * math.sqrt(12))


def precision(n_test: int, fraction: float = 0.5) -> float:
    """Half-width of the 95 % interval that `n_test` volumes allow for an accuracy of `fraction`: 4.5 points for 480."""
    return 1.959964 * math.sqrt(fraction * (1 - fraction) / n_test)
