"""What a comparison says, in sentences that are no stronger than its intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.reporting import paper
from bench.reporting.statistics import Blocks, Overall, blocks_of, here
from bench.reporting.tables import printed_names

_NAMED = 6  # methods of a list, and those of which each has its own interval


class Verdict(NamedTuple):
    """What a comparison says."""

    where: str  # the name of a block, or of several
    protocol: str
    views: str
    text: str

    def sentence(self) -> str:
        """All of it."""
        return f"{self.where} ({self.protocol}, {self.views}): {self.text}"


def sentences(rows: pd.DataFrame) -> list[str]:
    """The verdicts of a comparison as sentences."""
    return [verdict.sentence() for verdict in verdicts(rows)]


def verdicts(rows: pd.DataFrame) -> list[Verdict]:
    """What the comparison on each set of rules says: on each block, then at each label fraction over its blocks.

    Nothing is said of fewer than two methods.
    """
    said = []
    names = printed_names(rows)
    for (protocol, views, *_), blocks in blocks_of(rows).items():
        parts = [(blocks.names[b], np.array([b])) for b in range(len(blocks.names))]
        for percent in sorted(set(blocks.percents)):
            which = np.flatnonzero(blocks.percents == percent)
            if len(which) > 1:
                parts.append((f"{percent:g} % on all {len(which)} blocks", which))
        for where, which in parts:
            some = blocks.chosen(which, np.arange(len(blocks.methods))).complete()
            if len(some.methods) > 1 and some.names:
                text = _verdict(some, [names[m] for m in some.methods])
                said.append(Verdict(where, protocol, views, text))
    return said


def _verdict(blocks: Blocks, titles: Sequence[str]) -> str:
    """blocks: complete, of one label fraction; titles: of its methods."""
    found = here(blocks)
    order = [int(i) for i in np.argsort(-found.means, kind="stable")]
    best = order[0]
    if not found.freedom:
        return f"one seed cannot tell the methods apart; {titles[best]} has the highest accuracy."
    # The order is that of chance-corrected accuracy; what people read is in points of accuracy.
    points = here(replace(blocks, chance=np.zeros_like(blocks.chance)))
    ties = found.tied
    tied, behind = [i for i in order if ties[i]], [i for i in order if not ties[i]]
    if len(tied) == 1:
        text = f"{titles[best]} is best"
    elif behind:
        text = f"{_listed([titles[i] for i in tied])} tie for best"
    else:
        text = f"{f'all {len(tied)} methods' if len(tied) > _NAMED else _listed([titles[i] for i in tied])} tie"
    if behind:
        text += f"; {_ranges(points, best, behind, titles)} behind {titles[best]}"
    if paper.BASELINE not in blocks.methods:
        return f"{text}."
    base = blocks.methods.index(paper.BASELINE)
    above = found.above(base)
    better = [i for i in order if above[i]]
    if better:
        return f"{text}. {_ranges(points, base, better, titles)} above {titles[base]}."
    return f"{text}. None is above {titles[base]} by more than chance." if best != base else f"{text}."


def _ranges(points: Overall, reference: int, which: Sequence[int], titles: Sequence[str]) -> str:
    """How far some methods are from one, by their 95 % intervals: "A is 1.2 to 3.4 points", "9 others are …"."""
    _, low, high = points.behind(reference)
    near, far = (np.abs([low, high]).min(axis=0), np.abs([low, high]).max(axis=0))
    if len(which) > _NAMED:
        some = list(which)
        return f"{len(which)} others are {100 * near[some].min():.1f} to {100 * far[some].max():.1f} points"
    return _listed([f"{titles[i]} is {100 * near[i]:.1f} to {100 * far[i]:.1f} points" for i in which])


def _listed(words: Sequence[str]) -> str:
    if len(words) > _NAMED:
        words = [*words[:_NAMED], f"{len(words) - _NAMED} more"]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
