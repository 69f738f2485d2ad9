"""Rows → scores by block, method and seed: the array that comparisons over several data sets begin with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from bench.base.arrays import Float64Array, IntArray
from bench.reporting.statistics.cells import unequal
from bench.trials.rows import RULES, SIZES

LEAST_COVERAGE = 0.75  # of the trials (block and seed) that any method has; who has fewer is listed, but not compared
_CONDITION = ["dataset", "data_parameters", "data_title", "data", *SIZES]
_BLOCK = [*_CONDITION, "labelled_percent"]


@dataclass(frozen=True)
class Blocks:
    """Accuracies of methods on blocks; a block is a data set in one condition with one label fraction.

    Several conditions of a data set (its noise, the length of the training) are no independent evidence, nor are
    several label fractions: their seeds share splits. So each block knows its data set and its condition.
    """

    scores: Float64Array  # (block, method, seed), 0 to 1; NaN where no trial is done
    chance: Float64Array  # (block,): 1 / number of classes
    methods: tuple[str, ...]
    names: tuple[str, ...]  # of blocks
    datasets: IntArray  # (block,): number of the data set
    conditions: IntArray  # (block,): number of the condition
    percents: Float64Array  # (block,): labelled
    n_test: IntArray  # (block,): volumes that an accuracy is counted on

    @property
    def corrected(self) -> Float64Array:
        """Accuracies with chance at 0 and a perfect answer at 1, so that blocks of unlike classes can be averaged."""
        chance = self.chance[:, None, None]
        return (self.scores - chance) / (1 - chance)

    @property
    def coverage(self) -> IntArray:
        """(method,): blocks in which a method has a score."""
        return np.asarray(np.isfinite(self.scores).any(axis=2).sum(axis=0))

    def chosen(self, blocks: IntArray, methods: IntArray) -> Blocks:
        """These blocks and methods alone, by their numbers."""
        return replace(
            self,
            scores=self.scores[np.ix_(blocks, methods)],
            chance=self.chance[blocks],
            methods=tuple(self.methods[i] for i in methods),
            names=tuple(self.names[i] for i in blocks),
            datasets=self.datasets[blocks],
            conditions=self.conditions[blocks],
            percents=self.percents[blocks],
            n_test=self.n_test[blocks],
        )

    def complete(self) -> Blocks:
        """The methods that have LEAST_COVERAGE of the trials, the blocks that all of these have, their common seeds.

        Within a block, methods are compared on the same seeds: the same splits.
        """
        there = np.isfinite(self.scores)
        methods = np.flatnonzero(there.sum(axis=(0, 2)) >= LEAST_COVERAGE * there.any(axis=1).sum())
        common = np.asarray(there[:, methods].all(axis=1))  # (block, seed)
        if not len(methods):
            common[:] = False  # NumPy's "all of none" is true
        blocks = np.flatnonzero(common.any(axis=1))
        kept = self.chosen(blocks, methods)
        return replace(kept, scores=np.where(common[blocks][:, None], kept.scores, np.nan))


def blocks_of(rows: pd.DataFrame) -> dict[tuple[str, ...], Blocks]:
    """The blocks of each set of rules (protocol, views, weights kept, test views): only on these are methods compared.

    Trials that failed, have no labels, or took more than their share of steps are left out.
    """
    done = rows[(rows["status"] == "done") & rows["accuracy"].notna() & rows["labelled_percent"].notna()]
    done = done[~unequal(done)]
    return {tuple(map(str, rules)): _blocks(group) for rules, group in done.groupby(RULES, sort=False)}


def _blocks(rows: pd.DataFrame) -> Blocks:
    by_block = rows.groupby(_BLOCK, sort=True, dropna=False)
    methods, seeds = sorted(rows["variant"].unique()), sorted(rows["seed"].unique())
    scores = np.full((by_block.ngroups, len(methods), len(seeds)), np.nan)
    for block, (_, group) in enumerate(by_block):
        at = [methods.index(v) for v in group["variant"]], [seeds.index(s) for s in group["seed"]]
        scores[block, at[0], at[1]] = group["accuracy"]
    keys = [dict(zip(_BLOCK, key)) for key, _ in by_block]
    names = [f"{key['data_title']}, {key['epochs']} epochs, {key['labelled_percent']:g} %" for key in keys]
    datasets = np.unique([str(key["dataset"]) for key in keys], return_inverse=True)[1]
    conditions = np.unique(["\0".join(str(key[c]) for c in _CONDITION) for key in keys], return_inverse=True)[1]
    chance = 1 / by_block["n_classes"].first().to_numpy(dtype=float)
    percents = by_block["labelled_percent"].first().to_numpy(dtype=float)
    n_test = by_block["n_test"].min().to_numpy(dtype=np.int64)
    return Blocks(scores, chance, tuple(methods), tuple(names), datasets, conditions, percents, n_test)
