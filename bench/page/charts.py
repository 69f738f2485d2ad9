"""Pictures of the page: SVG texts, right without a script, in colours that the page's style sheet names."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

COLOURS = 10  # .c0 to .c9 in the style sheet
SHAPES = 5
_ROW, _LEFT, _PANEL, _TOP, _BOTTOM, _GAP = 22, 210, 180, 34, 34, 34  # pixels


@dataclass(frozen=True)
class Mark:
    """How a method looks wherever it is drawn."""

    colour: int  # below COLOURS
    shape: int  # below SHAPES


@dataclass(frozen=True)
class Dot:
    """A value with its interval; without one where low and high are NaN."""

    row: int
    value: float
    low: float
    high: float
    mark: Mark
    text: str  # what a pointer or a screen reader says


@dataclass(frozen=True)
class Panel:
    """Dots on one axis; panels of a chart share rows and axis."""

    title: str
    dots: Sequence[Dot]


def dot_chart(rows: Sequence[str], panels: Sequence[Panel], unit: str, line: float, line_name: str) -> str:
    """A panel beside the other: names of rows at the left, values to the right; a dotted line at `line`."""
    ends = [v for p in panels for d in p.dots for v in (d.value, d.low, d.high) if not math.isnan(v)]
    ticks = nice_ticks(min([*ends, line]), max([*ends, line]))
    low, high = ticks[0], ticks[-1]
    height = _TOP + _ROW * len(rows) + _BOTTOM
    width = _LEFT + (_PANEL + _GAP) * max(2, len(panels))  # the axis's name takes the place of two

    def x(value: float, left: float) -> float:
        return left + _PANEL * (value - low) / (high - low)

    parts = []
    for i, name in enumerate(rows):
        y = _TOP + _ROW * (i + 0.5)
        parts.append(_text(_LEFT - 10, y + 4, name, "end"))
    for k, panel in enumerate(panels):
        left = _LEFT + k * (_PANEL + _GAP)
        bottom = _TOP + _ROW * len(rows)
        parts.append(_text(left + _PANEL / 2, 14, panel.title, "middle", "head"))
        for tick in ticks:
            at = x(tick, left)
            parts.append(f'<path class="grid" d="M{at:.1f} {_TOP}V{bottom}"/>')
            parts.append(_text(at, bottom + 15, f"{tick:g}", "middle", "tick"))
        dotted = f'd="M{x(line, left):.1f} {_TOP - 6}V{bottom}"'
        parts.append(f'<path class="line" {dotted}><title>{_escaped(line_name)}</title></path>')
        parts += [_dot(d, x(d.value, left), x(d.low, left), x(d.high, left)) for d in panel.dots]
    parts.append(_text(_LEFT, height - 4, f"{unit}; dotted: {line_name}", "start", "tick"))
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{_escaped(unit)}">{"".join(parts)}</svg>'
    )


def swatch(mark: Mark) -> str:
    """A method's mark beside its name."""
    size = 'viewBox="-7 -7 14 14" width="14" height="14"'
    return f'<svg class="swatch" {size} aria-hidden="true">{_shape(mark, 0, 0)}</svg>'


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from below `low` to above `high`, at most so many steps apart."""
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(s * power for s in (1, 2, 5, 10, 20) if span / (s * power) <= most)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


def _dot(dot: Dot, x: float, low: float, high: float) -> str:
    y = _TOP + _ROW * (dot.row + 0.5)
    bar = "" if math.isnan(low) else f'<path class="bar c{dot.mark.colour}" d="M{low:.1f} {y:.1f}H{high:.1f}"/>'
    return f"<g><title>{_escaped(dot.text)}</title>{bar}{_shape(dot.mark, x, y)}</g>"


def _shape(mark: Mark, x: float, y: float) -> str:
    shapes = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5"',
        f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"',
        f'<path d="M{x:.1f} {y - 5.5:.1f}l5.5 5.5-5.5 5.5-5.5-5.5z"',
        f'<path d="M{x:.1f} {y - 5:.1f}l5 9h-10z"',
        f'<path d="M{x:.1f} {y + 5:.1f}l5-9h-10z"',
    )
    return f'{shapes[mark.shape]} class="mark c{mark.colour}"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{_escaped(text)}</text>'


def _escaped(text: str) -> str:
    return html.escape(text, quote=True)
