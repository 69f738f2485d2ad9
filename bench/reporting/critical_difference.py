"""Mean ranks of methods over blocks on one axis; a bar joins methods that the blocks cannot tell apart.

After Demšar 2006 (Journal of Machine Learning Research 7, 1), with Wilcoxon's test and Holm's correction in place of
Nemenyi's critical distance (Benavoli et al. 2016, ibid. 17, 5).
"""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
from scipy import stats

from bench.base.arrays import BoolArray, Float64Array
from bench.reporting.statistics import LEAST_BLOCKS, Blocks, compare_pairs, friedman

ALPHA = 0.05
_WIDTH, _MARGIN, _LINE = 860, 270, 22  # of the picture, of the names on each side, of a name: pixels
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#222}path{stroke:#222;fill:none}"
    ".bar{stroke:#1f4e79;stroke-width:5;stroke-linecap:round}"
)


def diagram(blocks: Blocks, titles: Sequence[str], caption: str) -> str:
    """An SVG picture of complete blocks; titles: of its methods. Too few blocks, or methods all alike, give words."""
    n = len(blocks.names)
    if n < LEAST_BLOCKS:
        return _svg(
            [_text(16, 30, caption), _text(16, 56, f"Cannot tell: {n} of the {LEAST_BLOCKS} blocks needed.")], 76
        )
    scores = np.nanmean(blocks.scores, axis=2)
    means = stats.rankdata(-scores.round(12), axis=1).mean(axis=0)
    p = friedman(scores)
    order = np.argsort(means, kind="stable")
    # Friedman's test first: if it sees no difference at all, no pair is looked at.
    apart = _apart(blocks) if p < ALPHA or len(means) < 3 else np.zeros((len(means), len(means)), dtype=bool)
    bars = groups(apart[np.ix_(order, order)])
    parts = [_text(16, 24, caption), _text(16, 44, _explained(n, p)), *_axis(len(means)), *_bars(means[order], bars)]
    parts += _names(means, [int(i) for i in order], titles, len(bars))
    return _svg(parts, _top(len(bars)) + _LINE * -(-len(means) // 2) + 8)


def groups(apart: BoolArray) -> list[tuple[int, int]]:
    """Runs (first, last) of methods, in the order of their ranks, no two of which are apart; the longest ones alone."""
    found: list[tuple[int, int]] = []
    for first in range(len(apart)):
        last = first
        while last + 1 < len(apart) and not apart[first : last + 2, first : last + 2].any():
            last += 1
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found


def _apart(blocks: Blocks) -> BoolArray:
    apart = np.zeros((len(blocks.methods), len(blocks.methods)), dtype=bool)
    pairs = compare_pairs(blocks)
    for first, second, p in zip(pairs["method"], pairs["minus"], pairs["holm"]):
        i, j = blocks.methods.index(first), blocks.methods.index(second)
        apart[i, j] = apart[j, i] = p < ALPHA
    return apart


def _explained(n: int, p: float) -> str:
    test = f"; Friedman p = {p:.2g}" if np.isfinite(p) else ""
    return (
        f"Mean rank on {n} blocks, the best on the left{test}. A bar joins methods that are not apart (Wilcoxon, Holm)."
    )


def _at(rank: float, n: int) -> float:
    return _MARGIN + (rank - 1) / (n - 1) * (_WIDTH - 2 * _MARGIN)


def _top(bars: int) -> int:
    """Where the names begin."""
    return 104 + 12 * bars


def _axis(n: int) -> list[str]:
    parts = [f'<path d="M{_at(1, n):.1f} 84H{_at(n, n):.1f}"/>']
    for rank in range(1, n + 1):
        parts += [f'<path d="M{_at(rank, n):.1f} 78V84"/>', _text(_at(rank, n), 72, str(rank), "middle")]
    return parts


def _bars(means: Float64Array, bars: Sequence[tuple[int, int]]) -> list[str]:
    n = len(means)
    return [
        f'<path class="bar" d="M{_at(means[first], n) - 3:.1f} {96 + 12 * i}H{_at(means[last], n) + 3:.1f}"/>'
        for i, (first, last) in enumerate(bars)
    ]


def _names(means: Float64Array, order: Sequence[int], titles: Sequence[str], bars: int) -> list[str]:
    """The better half on the left, the best at the top; the worse half on the right, the worst at the top."""
    parts, n = [], len(means)
    half = -(-n // 2)
    for place, method in enumerate(order):
        left = place < half
        row = place if left else n - 1 - place
        y, x = _top(bars) + _LINE * row + 4, _at(means[method], n)
        end, anchor = (_MARGIN - 20, "end") if left else (_WIDTH - _MARGIN + 20, "start")
        parts.append(f'<path d="M{x:.1f} 84V{y}H{end}"/>')
        title = f"{titles[method][:34]} ({means[method]:.1f})"
        parts.append(_text(end + (-6 if left else 6), y + 4, title, anchor))
    return parts


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>'


def _svg(parts: Sequence[str], height: int) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img"><style>{_STYLE}</style>'
    return "\n".join([head, f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>', *parts, "</svg>\n"])
