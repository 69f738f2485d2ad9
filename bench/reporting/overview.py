"""What a comparison comes to at a glance: accuracy against its cost, and how often each method reaches a score."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from bench.reporting import paper
from bench.reporting.statistics import Blocks, cells, profiles

_MARKERS = "osD^vP*X"
_SCORES = np.linspace(0, 1, 101)


def marks(methods: Sequence[tuple[str, str]]) -> dict[str, dict[str, str]]:
    """(method, variant) of a picture → the colour and marker of each variant, in the order of the tables."""
    ordered = sorted(set(methods), key=lambda p: (paper.accuracy_rank(p[0]), p[1]))
    return {
        variant: {"color": f"C{k % 10}", "marker": _MARKERS[k // 10 % len(_MARKERS)]}
        for k, (_, variant) in enumerate(ordered)
    }


def cost(rows: pd.DataFrame, names: dict[str, str], title: str) -> Figure | None:
    """Accuracy against the seconds of a training, a panel a label fraction: equal steps are not equal work.

    rows: of one comparison. None where no cell has both, or where one method alone has them at each fraction.
    """
    table = cells(rows)
    table = table[table["accuracy"].notna() & table["labelled_percent"].notna() & (table["training_seconds"] > 0)]
    table = table[table.groupby("labelled_percent")["variant"].transform("nunique") > 1]
    if table.empty:
        return None
    styles = marks(list(zip(table["method"], table["variant"])))
    fractions = sorted(table["labelled_percent"].unique())
    size = (3.0 * len(fractions) + 2.4, 3.6)
    figure, panels = plt.subplots(
        1, len(fractions), figsize=size, squeeze=False, sharex=True, sharey=True, layout="constrained"
    )
    handles = {}
    for axes, percent in zip(panels[0], fractions):
        some = table[table["labelled_percent"] == percent].set_index("variant")
        for variant, style in styles.items():
            if variant in some.index:
                cell = some.loc[variant]
                y, low, high = (100 * float(cell[c]) for c in ("accuracy", "accuracy_low", "accuracy_high"))
                spread = np.nan_to_num([[y - low], [high - y]])
                handles[names[variant]] = axes.errorbar(
                    [cell["training_seconds"]], [y], yerr=spread, linestyle="", capsize=2, elinewidth=0.7, **style
                )
        axes.axhline(100 / rows["n_classes"].dropna().max(), color="grey", linestyle=":")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_title(f"{percent:g} % labelled", fontsize=9)
    panels[0][0].set_ylabel("accuracy on the test set in %", fontsize=9)
    figure.supxlabel("seconds of a training, with its part of what trials share; dotted: chance", fontsize=9)
    figure.suptitle(title, fontsize=9)
    figure.legend([*handles.values()], [*handles], fontsize=8, loc="outside right center")
    return figure


def profile(blocks: Blocks, styles: dict[str, dict[str, str]], names: dict[str, str], title: str) -> Figure:
    """Share of the trials above each chance-corrected accuracy, a line a method with its 95 % band for other seeds.

    blocks: complete ones. A line above another everywhere is better whatever score one asks for; where lines cross,
    it depends on that.
    """
    share, low, high = profiles(blocks, _SCORES)
    figure, axes = plt.subplots(figsize=(8.2, 4.2), layout="constrained")
    for k, method in enumerate(blocks.methods):
        colour = styles[method]["color"]
        dashes = "-" if styles[method]["marker"] == _MARKERS[0] else "--"
        axes.plot(100 * _SCORES, 100 * share[k], color=colour, linestyle=dashes, lw=1.3, label=names[method])
        axes.fill_between(100 * _SCORES, 100 * low[k], 100 * high[k], color=colour, alpha=0.1, lw=0)
    axes.set_xlabel("accuracy, with chance at 0 and a perfect answer at 100", fontsize=9)
    axes.set_ylabel(f"trials above it, in % ({len(blocks.names)} blocks)", fontsize=9)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 101)
    figure.suptitle(title, fontsize=9)
    figure.legend(fontsize=8, loc="outside right center")
    return figure
