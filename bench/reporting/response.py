"""How accuracy, and what unlabelled data add to it, answer to one condition: noise, wrong labels, other classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.base.arrays import Float64Array
from bench.data.conditions import AS_IT_IS
from bench.reporting import paper
from bench.reporting.statistics import cells, paired_differences
from bench.trials.rows import CELL, RULES, SIZES

_LONG = 4  # the highest value over the lowest: from here on a condition's axis is logarithmic
_UNCHANGED = {name: str(value) for name, value in vars(AS_IT_IS).items()}


@dataclass(frozen=True)
class Series:
    """Rows that differ by one condition of their data alone, beside method, label fraction and seed."""

    condition: str
    others: str  # for a person: rules, sizes, and the other conditions
    rows: pd.DataFrame  # with the column `at`, the condition's value


def series(rows: pd.DataFrame) -> Iterator[Series]:
    """Each condition that takes two values or more while all else is equal."""
    for key, group in rows.groupby(["dataset", *RULES, *SIZES], sort=False):
        said = {text: _parsed(text) for text in group["data_parameters"].fillna("").unique()}
        names = [*dict.fromkeys(name for values in said.values() for name in values if name != "seed")]
        table = pd.DataFrame({text: {n: _value(v, n) for n in names} for text, v in said.items()}).T
        for name in names:
            others = [n for n in names if n != name]
            alike = table.groupby(others, sort=False, dropna=False) if others else [((), table)]
            for rest, some in alike:
                at = pd.to_numeric(some[name], errors="coerce")
                if at.notna().all() and at.min() < at.max():
                    chosen = group[group["data_parameters"].isin(some.index)]
                    chosen = chosen.assign(at=chosen["data_parameters"].map(at))
                    fixed = dict(zip(others, rest))
                    yield Series(name, _others(key, fixed), chosen)


def _parsed(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(", ") if "=" in part)
    return {name: value for name, _, value in pairs}


def _value(values: dict[str, str], name: str) -> str:
    return values.get(name, _UNCHANGED.get(name, ""))


def _others(key: tuple[object, ...], fixed: Mapping[str, object]) -> str:
    dataset, protocol, views, *_, epochs, _, _ = map(str, key)
    changed = [f"{name} {value}" for name, value in fixed.items() if value != _UNCHANGED.get(name)]
    return f"{', '.join([dataset, *changed])} · {protocol}, {views}, {epochs} epochs"


def curve(found: Series, names: dict[str, str]) -> Figure | None:
    """Accuracy by condition: a panel a label fraction, a line a method, with the 95 % interval of each point."""
    table = _by_value(found)
    table = table[table["accuracy"].notna() & table["labelled_percent"].notna()]
    spans = table.groupby("labelled_percent")["at"].agg(lambda at: at.max() - at.min())
    fractions: list[float] = spans.index[spans > 0].tolist()
    if not fractions:
        return None
    variants = _ordered(table[table["labelled_percent"].isin(fractions)])
    figure, panels = plt.subplots(
        1, len(fractions), figsize=(3.0 * len(fractions) + 2.4, 3.6), squeeze=False, sharey=True, layout="constrained"
    )
    for axes, percent in zip(panels[0], fractions):
        for k, variant in enumerate(variants):
            line = table[(table["variant"] == variant) & (table["labelled_percent"] == percent)].sort_values("at")
            y, low, high = (100 * line[c] for c in ("accuracy", "accuracy_low", "accuracy_high"))
            spread = np.vstack([(y - low).fillna(0), (high - y).fillna(0)])
            style = {"color": f"C{k % 10}", "marker": "osD^vP*X"[k // 10 % 8], "label": names[variant]}
            axes.errorbar(line["at"], y, yerr=spread, markersize=4, capsize=2, lw=1.2, elinewidth=0.7, **style)
        axes.set_title(f"{percent:g} % labelled", fontsize=9)
        axes.axhline(100 / found.rows["n_classes"].dropna().max(), color="grey", linestyle=":", label="chance")
        _scale(axes, found.rows["at"])
    panels[0][0].set_ylabel("accuracy on the test set in %", fontsize=9)
    figure.supxlabel(found.condition, fontsize=9)
    figure.suptitle(found.others, fontsize=9)
    figure.legend(*panels[0][0].get_legend_handles_labels(), fontsize=8, loc="outside right center")
    return figure


def gain(found: Series, names: dict[str, str]) -> Figure | None:
    """What each method adds to the baseline, in points: a panel a method, values × label fractions.

    Bold where the 95 % interval of the paired difference leaves out 0.
    """
    table = _gains(found.rows)
    if table.empty:
        return None
    variants = [v for v in _ordered(found.rows) if v in set(table["variant"])]
    values, percents = sorted(table["at"].unique()), sorted(table["percent"].unique())
    columns = min(4, len(variants))
    shape = (-(-len(variants) // columns), columns)
    size = ((0.62 * len(percents) + 0.7) * columns + 1.4, (0.34 * len(values) + 0.7) * shape[0] + 0.9)
    figure, grid = plt.subplots(*shape, figsize=size, squeeze=False, sharey=True, layout="constrained")
    most = max(1.0, float(table["points"].abs().max()))
    for axes, variant in zip(grid.flat, variants):
        own = table[table["variant"] == variant]
        points, sure = (_grid(own, name, values, percents) for name in ("points", "sure"))
        image = axes.imshow(points, cmap="RdBu", vmin=-most, vmax=most, aspect="auto")
        for i, j in np.argwhere(np.isfinite(points)):
            text = f"{points[i, j]:+.1f}".replace("-", "−")
            style = {"weight": "bold" if sure[i, j] else "normal"}
            style["color"] = "white" if abs(points[i, j]) > 0.6 * most else "black"
            axes.text(j, i, text, ha="center", va="center", fontsize=7, **style)
        axes.set_title(names[variant], fontsize=8)
        axes.set_xticks(range(len(percents)), [f"{p:g} %" for p in percents], fontsize=7)
        axes.set_yticks(range(len(values)), [f"{v:g}" for v in values], fontsize=7)
        axes.grid(visible=False)
    for axes in grid.flat[len(variants) :]:
        axes.set_axis_off()
    bar = figure.colorbar(image, ax=grid, shrink=0.8)
    bar.set_label(f"points above {names.get(paper.BASELINE, paper.BASELINE)}", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure.supylabel(found.condition, fontsize=9)
    figure.suptitle(f"{found.others}\nby labelled part; bold: the 95 % interval leaves out 0", fontsize=8)
    return figure


def _gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Method, value, label fraction → points above the baseline, and whether the interval leaves out 0."""
    lines = []
    for at, group in rows.groupby("at"):
        for pair in paired_differences(group).to_dict("records"):
            sure = pair["low"] > 0 or pair["high"] < 0
            for sign, one, other in ((1, "method", "minus"), (-1, "minus", "method")):
                if pair[other] == paper.BASELINE:
                    lines.append((pair[one], at, pair["labelled_percent"], 100 * sign * pair["difference"], sure))
    return pd.DataFrame(lines, columns=["variant", "at", "percent", "points", "sure"])


def _grid(table: pd.DataFrame, name: str, values: list[float], percents: list[float]) -> Float64Array:
    """(value, label fraction), NaN where there is none."""
    wide = table.astype({name: float}).pivot_table(index="at", columns="percent", values=name)
    return wide.reindex(index=values, columns=percents).to_numpy(dtype=float)


def _by_value(found: Series) -> pd.DataFrame:
    at = found.rows.groupby(CELL, sort=False, dropna=False)["at"].first().reset_index()
    return cells(found.rows).merge(at, on=CELL)


def _ordered(table: pd.DataFrame) -> list[str]:
    pairs = set(zip(table["method"], table["variant"]))
    return [variant for method, variant in sorted(pairs, key=lambda p: (paper.accuracy_rank(p[0]), p[1]))]


def _scale(axes: Axes, values: pd.Series) -> None:
    known: Sequence[float] = sorted(values.unique())
    if known[0] > 0 and known[-1] / known[0] >= _LONG:
        axes.set_xscale("log")
    axes.set_xticks(known, [f"{value:g}" for value in known], fontsize=8)
    axes.minorticks_off()
