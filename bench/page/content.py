"""Rows → what the page shows: charts, one leaderboard over everything, tables, trials."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bench import registry
from bench.base.files import digest
from bench.page.charts import COLOURS, SHAPES, Dot, Mark, Panel, dot_chart
from bench.reporting import paper
from bench.reporting.statistics import cells, paired_differences
from bench.reporting.tables import comparison_title, printed_names
from bench.reporting.words import verdicts
from bench.trials.rows import COMPARISON

FILTERS = {"data_title": "Data", "protocol": "Protocol", "views": "Views", "labelled": "Labelled"}


@dataclass(frozen=True)
class Chart:
    """A picture with its title, and what it says."""

    title: str
    svg: str
    sentences: Sequence[str]


@dataclass(frozen=True)
class Cell:
    """A cell of the page's leaderboard: what is read, and by what it is sorted."""

    text: str
    value: float | str
    mark: Mark | None = None


@dataclass(frozen=True)
class Difference:
    """The accuracy of a row's method minus a column's, in points; where none can be told, an empty text."""

    text: str
    interval: str
    side: str  # "above" or "below" where the 95 % interval is on one side of zero, else ""


@dataclass(frozen=True)
class Matrix:
    """All differences between the methods of a block."""

    title: str
    methods: Sequence[tuple[str, Mark]]  # as printed; in the order of their mean accuracy, best first
    rows: Sequence[Sequence[Difference]]


@dataclass(frozen=True)
class Line:
    """A row of the leaderboard, and what it is filtered by."""

    cells: Sequence[Cell]
    keys: Mapping[str, str]


COLUMNS = (
    ("Data", "text"),
    ("Rules", "text"),
    ("Labelled, %", "number"),
    ("Rank", "number"),
    ("Method", "text"),
    ("Accuracy, %", "number"),
    ("±", "number"),
    ("Seeds", "number"),
    ("Balanced, %", "number"),
    ("ECE", "number"),
    ("NLL", "number"),
    ("MSE", "number"),
    ("Training, s", "number"),
    ("Memory, MiB", "number"),
    ("Origin", "text"),
)


def mark(method: str, variant: str) -> Mark:
    """The look of a method, bound to its name: whatever else is shown, it stays the same."""
    known = registry.built_in(registry.METHODS)
    number = known.index(method) if method in known else int(digest(method), 16)
    shape = number // COLOURS if variant == method else int(digest(variant), 16)
    return Mark(number % COLOURS, shape % SHAPES)


def answers(rows: pd.DataFrame) -> tuple[list[str], list[Chart]]:
    """What is said over several blocks, then each comparison: accuracy of each method, and what is said of that."""
    left = verdicts(rows)
    drawn = []
    for start, rules, chart in _charts(rows):
        own = [v for v in left if (v.protocol, v.views) == rules and v.where.startswith(start)]
        left = [v for v in left if v not in own]
        said = [f"{v.where.removeprefix(start)} labelled: {v.text}" for v in own]
        drawn.append(Chart(chart.title, chart.svg, said))
    return [v.sentence() for v in left], drawn


def _charts(rows: pd.DataFrame) -> Iterator[tuple[str, tuple[str, str], Chart]]:
    """With each, how the names of its blocks begin, and its protocol and views."""
    table, names = cells(rows), printed_names(rows)
    table = table[table["accuracy"].notna() & table["labelled_percent"].notna()]
    for terms, group in table.groupby(COMPARISON, sort=False):
        pairs = sorted(set(zip(group["method"], group["variant"])), key=lambda p: (paper.accuracy_rank(p[0]), p[1]))
        variants = [variant for _, variant in pairs]
        classes = rows.loc[rows["data"] == dict(zip(COMPARISON, terms))["data"], "n_classes"].dropna()
        panels = []
        for percent in sorted(group["labelled_percent"].unique()):
            dots = []
            for cell in group[group["labelled_percent"] == percent].to_dict("records"):
                value, low, high = (100 * cell[c] for c in ("accuracy", "accuracy_low", "accuracy_high"))
                text = f"{names[cell['variant']]}: {value:.1f} %" + _interval(low, high)
                look = mark(cell["method"], cell["variant"])
                dots.append(Dot(variants.index(cell["variant"]), value, low, high, look, text))
            panels.append(Panel(f"{percent:g} % labelled", dots))
        chance = 100 / classes.max()
        svg = dot_chart([names[v] for v in variants], panels, "accuracy on the test set in %", chance, "chance")
        of = dict(zip(COMPARISON, terms))
        start = f"{of['data_title']}, {of['epochs']} epochs, "
        yield start, (str(of["protocol"]), str(of["views"])), Chart(comparison_title(terms), svg, ())


def leaderboard(board: pd.DataFrame, rows: pd.DataFrame) -> list[Line]:
    """Every cell of every comparison in one table; the order is that of `cell_board`."""
    names = printed_names(rows)
    methods = dict(zip(rows["variant"], rows["method"]))
    lines = []
    for cell in board.to_dict("records"):
        rules = f"{cell['protocol']}, {cell['views']}, {cell['epochs']} epochs"
        done = f"{cell['seeds']} of {cell['seeds_planned']}" if not cell["complete"] else f"{cell['seeds']}"
        rank = math.nan if pd.isna(cell["rank"]) else int(cell["rank"])
        half = 100 * (cell["accuracy_high"] - cell["accuracy"])
        shown = [
            Cell(cell["data_title"], cell["data_title"]),
            Cell(rules, rules),
            _number(cell["labelled_percent"], "g"),
            _number(rank, "g"),
            Cell(names[cell["variant"]], names[cell["variant"]], mark(methods[cell["variant"]], cell["variant"])),
            _number(100 * cell["accuracy"], ".1f"),
            _number(half, ".1f"),
            Cell(done + (", unequal training" if cell["unequal"] else ""), cell["seeds"]),
            _number(100 * cell["balanced_accuracy"], ".1f"),
            _number(cell["ece"], ".3f"),
            _number(cell["nll"], ".3f"),
            _number(cell["mse"], ".4f"),
            _number(cell["training_seconds"], ".0f"),
            _number(cell["peak_memory_mib"], ".0f"),
            Cell(cell["origin"], cell["origin"]),
        ]
        keys = {name: str(cell[name]) for name in ("data_title", "protocol", "views")}
        lines.append(Line(shown, keys | {"labelled": f"{cell['labelled_percent']:g} %"}))
    return lines


def differences(rows: pd.DataFrame) -> list[Matrix]:
    """A matrix for each comparison and label fraction with two methods or more."""
    pairs, names = paired_differences(rows), printed_names(rows)
    methods = dict(zip(rows["variant"], rows["method"]))
    matrices = []
    for terms, group in pairs.groupby([*COMPARISON, "labelled_percent"], sort=False) if len(pairs) else ():
        found = {}
        for pair in group.to_dict("records"):
            ends = tuple(100 * pair[c] for c in ("difference", "low", "high"))
            found[pair["method"], pair["minus"]] = _difference(*ends)
            found[pair["minus"], pair["method"]] = _difference(-ends[0], -ends[2], -ends[1])
        variants = [*dict.fromkeys(variant for both in found for variant in both)]
        means = {
            v: group.loc[group["method"] == v, "difference"].sum() - group.loc[group["minus"] == v, "difference"].sum()
            for v in variants
        }
        variants.sort(key=lambda v: -means[v])
        nothing = Difference("", "", "")
        matrices.append(
            Matrix(
                f"{comparison_title(terms[:-1])}, {terms[-1]:g} % labelled",
                [(names[v], mark(methods[v], v)) for v in variants],
                [[found.get((row, column), nothing) for column in variants] for row in variants],
            )
        )
    return matrices


def _difference(value: float, low: float, high: float) -> Difference:
    if math.isnan(value):
        return Difference("", "", "")
    side = "above" if low > 0 else "below" if high < 0 else ""
    interval = "" if math.isnan(low) else f"{_signed(low)} to {_signed(high)}"
    return Difference(_signed(value), interval, side)


def _signed(points: float) -> str:
    return f"{round(points, 1) + 0.0:+.1f}"  # never -0.0


def filters(lines: Sequence[Line]) -> list[tuple[str, str, list[str]]]:
    """(key, title, values) of each filter that has something to choose from, in the order of the rows."""
    found = []
    for key, title in FILTERS.items():
        values = [*dict.fromkeys(line.keys[key] for line in lines)]
        if key == "labelled":
            values.sort(key=lambda text: float(text.removesuffix(" %")))
        if len(values) > 1:
            found.append((key, title, values))
    return found


def _number(value: float, form: str) -> Cell:
    return Cell("–", math.nan) if math.isnan(value) else Cell(f"{value:{form}}", value)


def _interval(low: float, high: float) -> str:
    return "" if math.isnan(low) else f" (95 %: {low:.1f} to {high:.1f})"
