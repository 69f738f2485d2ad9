"""Rows → intervals, cells, and what blocks of several data sets let one say; SciPy alone."""

from bench.reporting.statistics.blocks import Blocks, blocks_of
from bench.reporting.statistics.cells import cells, paired_differences
from bench.reporting.statistics.intervals import bootstrap_interval, precision, t_interval
from bench.reporting.statistics.overall import Overall, elsewhere, here, leaderboard
from bench.reporting.statistics.pairs import LEAST_BLOCKS, compare_pairs, friedman
from bench.reporting.statistics.profiles import profiles

__all__ = [
    "LEAST_BLOCKS",
    "Blocks",
    "Overall",
    "blocks_of",
    "bootstrap_interval",
    "cells",
    "compare_pairs",
    "elsewhere",
    "friedman",
    "here",
    "leaderboard",
    "paired_differences",
    "precision",
    "profiles",
    "t_interval",
]
