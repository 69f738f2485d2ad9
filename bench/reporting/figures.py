"""Rows and records → pictures; the only importer of seaborn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib

from bench.files.sheets import save, three_slices

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.base.arrays import FloatArray
from bench.learning.views import VIEWS
from bench.reporting import overview, paper, response
from bench.reporting.statistics import LEAST_BLOCKS, blocks_of, cells
from bench.reporting.tables import comparison_title, printed_names, slug
from bench.trials.rows import COMPARISON
from bench.trials.store import Store
from bench.trials.trial import Record

_Drawn = tuple[str, str, str, Figure | None]  # its file's first word, its caption, its title
_COLUMNS = 5  # of small pictures beside one another
_MOST_NUMBERED = 12  # classes of a confusion matrix whose cells have room for a number


def write_all(rows: pd.DataFrame, folder: Path, store: Store | None) -> list[tuple[str, Path]]:
    """Draw every picture that the rows allow; returns (caption, file), in the order to show them.

    store: of the trials of these rows, for the pictures that need more than their scores.
    """
    sns.set_theme(style="whitegrid", palette="colorblind", font_scale=0.9)
    done = rows[rows["status"] == "done"]
    names = printed_names(done)
    drawn: list[_Drawn] = []
    for _, group in done.groupby([c for c in COMPARISON if c != "views"], sort=False):
        comparison = group.iloc[0].to_dict() | {"views": " and ".join(_views(group))}
        title = comparison_title(tuple(comparison[name] for name in COMPARISON))
        drawn.append(("accuracy", "Accuracy", title, _accuracy(group, names, title)))
    for terms, group in done.groupby(COMPARISON, sort=False):
        title = comparison_title(terms)
        drawn.append(("cost", "Accuracy against training time", title, overview.cost(group, names, title)))
    styles = overview.marks(list(zip(done["method"], done["variant"])))
    for rules, blocks in blocks_of(done).items():
        some = blocks.complete()
        if len(some.methods) > 1 and len(some.names) >= LEAST_BLOCKS:
            title = f"over blocks: {', '.join(rules[:2])}"
            picture = overview.profile(some, styles, names, f"Performance profiles {title}")
            drawn.append(("profile", "Performance profiles", " ".join(rules), picture))
    for found in response.series(done):
        title = f"{found.condition} {found.others}"
        drawn.append(("response", f"Accuracy by {found.condition}", title, response.curve(found, names)))
        drawn.append(("gain", f"What methods add, by {found.condition}", title, response.gain(found, names)))
    if store is not None:
        drawn += _of_trials(store, done, names)
    pictures = []
    for name, caption, title, figure in drawn:
        if figure is not None:
            path = folder / f"{name}-{slug(title)}.png"
            save(figure, path, bbox_inches="tight")
            pictures.append((f"{caption}: {title}", path))
    return pictures


def _of_trials(store: Store, rows: pd.DataFrame, names: dict[str, str]) -> Iterator[_Drawn]:
    records = {record.key: record for record in store.records()}
    for comparison, group in rows.groupby(COMPARISON, sort=False):
        title, chosen = comparison_title(comparison), {key: records[key] for key in group["trial"]}
        yield "confusion", "Confusion matrices, all seeds together", title, _confusion(chosen, names, title)
        yield "learning", "Learning curves: validation loss", title, _learning(chosen, names, title)
        caption = "Original beside reconstruction, three orthogonal slices"
        yield "reconstruction", caption, title, _reconstruction(store, chosen, names, title)


def _views(rows: pd.DataFrame) -> list[str]:
    return sorted(rows["views"].unique(), key=[*VIEWS].index)


def _accuracy(rows: pd.DataFrame, names: dict[str, str], title: str) -> Figure | None:
    """A panel a label fraction, a line a method, a point with its interval for each of the views."""
    table = cells(rows)
    table = table[table["accuracy"].notna() & table["labelled_percent"].notna()]
    if table.empty:
        return None
    variants, views, fractions = _ordered(table), _views(table), sorted(table["labelled_percent"].unique())
    size = (2.4 * len(fractions) + 2.2, (0.12 + 0.16 * len(views)) * len(variants) + 1.5)
    figure, panels = plt.subplots(1, len(fractions), figsize=size, squeeze=False, sharey=True, layout="constrained")
    chance = 100 / rows["n_classes"].dropna().iloc[0]
    for axes, percent in zip(panels[0], fractions):
        for k, view in enumerate(views):
            points = table[(table["labelled_percent"] == percent) & (table["views"] == view)].set_index("variant")
            points = points.reindex(variants)
            x, low, high = (100 * points[c] for c in ("accuracy", "accuracy_low", "accuracy_high"))
            y = np.arange(len(variants)) + 0.6 * ((k + 0.5) / len(views) - 0.5)
            spread = np.vstack([(x - low).fillna(0), (high - x).fillna(0)])
            axes.errorbar(x, y, xerr=spread, fmt="os^Dv"[k % 5], markersize=4, capsize=2, label=view)
        axes.axvline(chance, color="grey", linestyle=":", label="chance")
        axes.set_title(f"{percent:g} % labelled", fontsize=9)
        axes.set_yticks(range(len(variants)), [names[v] for v in variants], fontsize=8)
        axes.set_ylim(len(variants) - 0.5, -0.5)
        axes.tick_params(axis="x", labelsize=8)
    low, high = (100 * table[c].fillna(table["accuracy"]) for c in ("accuracy_low", "accuracy_high"))
    for axes in panels[0]:
        axes.set_xlim(max(0, min(low.min(), chance) - 2), min(100, high.max() + 2))
    few, most = int(table["seeds"].min()), int(table["seeds"].max())
    seeds = f" of {most if few == most else f'{few} to {most}'} seeds, with its 95 % t interval" if most > 1 else ""
    figure.supxlabel(f"accuracy on the test set in %: mean{seeds}", fontsize=9)
    figure.suptitle(title, fontsize=9)
    figure.legend(*panels[0][0].get_legend_handles_labels(), fontsize=8, loc="outside right center")
    return figure


def _confusion(records: dict[str, Record], names: dict[str, str], title: str) -> Figure | None:
    sums: dict[tuple[str, float], np.ndarray] = {}
    classes: tuple[str, ...] = ()
    methods = {}
    for record in records.values():
        trial, result = record.trial, record.result
        if result.confusion and trial.labelled_percent is not None:
            cell = (trial.variant, trial.labelled_percent)
            sums[cell] = sums.get(cell, 0) + np.array(result.confusion)
            classes, methods[cell[0]] = result.class_names, trial.method
    if not sums:
        return None
    variants = sorted(methods, key=lambda v: (paper.accuracy_rank(methods[v]), v))
    fractions = sorted({percent for _, percent in sums})
    size = (2.6 * len(fractions) + 1.5, 2.5 * len(variants) + 1.2)
    figure, grid = plt.subplots(len(variants), len(fractions), figsize=size, squeeze=False, layout="constrained")
    short = [name[:20] for name in classes]
    for i, variant in enumerate(variants):
        for j, percent in enumerate(fractions):
            axes: Axes = grid[i][j]
            if (variant, percent) not in sums:
                axes.set_axis_off()
                continue
            counts = sums[variant, percent]
            shares = 100 * counts / counts.sum(1, keepdims=True)
            image = axes.imshow(shares, vmin=0, vmax=100, cmap="rocket_r")
            if len(short) <= _MOST_NUMBERED:
                for row, column in np.argwhere(np.isfinite(shares)):  # a class without a test volume has no shares
                    share = shares[row, column]
                    colour = "white" if share > 35 else "black"
                    axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=5, color=colour)
            axes.set_title(f"{names[variant]}, {percent:g} %", fontsize=8)
            axes.set_xticks(range(len(short)), short if i == len(variants) - 1 else [], rotation=90, fontsize=6)
            axes.set_yticks(range(len(short)), short if j == 0 else [], fontsize=6)
            axes.grid(visible=False)
    figure.colorbar(image, ax=grid, label="of the true class (row), in %", shrink=0.4)
    figure.suptitle(f"{title}\nrows: true class, columns: predicted", fontsize=9)
    return figure


def _learning(records: dict[str, Record], names: dict[str, str], title: str) -> Figure | None:
    curves = [
        {name: getattr(record.trial, name) for name in ("variant", "method", "labelled_percent", "seed")}
        | {"step": point.step, "loss": point.validation_loss, "stage": point.stage}
        for record in records.values()
        for point in record.result.history
    ]
    if not curves:
        return None
    table = pd.DataFrame(curves)
    table["line"] = [f"{seed} {stage}" for seed, stage in zip(table["seed"], table["stage"])]
    table["labelled"] = [f"{f:g} %" if pd.notna(f) else "none" for f in table["labelled_percent"]]
    variants = _ordered(table)
    columns = min(_COLUMNS, len(variants))
    rows = -(-len(variants) // columns)
    size = (2.5 * columns + 0.5, 2.3 * rows + 0.5)
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axes in grid.flat[len(variants) :]:
        axes.set_axis_off()
    order = sorted(table["labelled"].unique(), key=lambda text: float(text.removesuffix(" %").replace("none", "0")))
    colours = dict(zip(order, sns.color_palette(n_colors=len(order))))
    for axes, variant in zip(grid.flat, variants):
        chosen = table[table["variant"] == variant]
        present = [label for label in order if label in set(chosen["labelled"])]
        lines = {
            "hue": "labelled",
            "hue_order": present,
            "palette": colours,
            "units": "line",
            "estimator": None,
        }
        sns.lineplot(chosen, x="step", y="loss", ax=axes, lw=0.9, **lines)
        axes.set_title(names[variant], fontsize=8)
        axes.set(xlabel="optimiser step", ylabel="validation loss" if axes in grid[:, 0] else "")
        axes.legend(fontsize=6, title="labelled", title_fontsize=6)
    figure.suptitle(f"{title}\none line per seed and stage of the training", fontsize=9)
    return figure


def _reconstruction(store: Store, records: dict[str, Record], names: dict[str, str], title: str) -> Figure | None:
    """Rows: classes; columns: the original, then each method with the most labels, first seed; three slices each."""
    chosen: dict[str, tuple[float, str]] = {}
    first = min(record.trial.seed for record in records.values())
    for key, record in records.items():
        trial, percent = record.trial, record.trial.labelled_percent or 0.0
        rebuilt = trial.seed == first and record.result.scores.mse is not None
        if rebuilt and percent >= chosen.get(trial.variant, (-1.0, ""))[0]:
            chosen[trial.variant] = (percent, key)
    volumes: dict[str, FloatArray] = {}
    for variant, (_, key) in chosen.items():
        found = store.reconstructions(key)
        if found is not None:
            volumes[variant] = found
    if not volumes:
        return None
    methods = {variant: records[key].trial.method for variant, (_, key) in chosen.items()}
    variants = sorted(volumes, key=lambda v: (paper.reconstruction_rank(methods[v]), v))
    classes = records[chosen[variants[0]][1]].result.class_names
    columns = [("original", volumes[variants[0]][:, 0])]
    columns += [(_with_percent(names[v], chosen[v][0]), volumes[v][:, 1]) for v in variants]
    shape = (len(classes), 3 * len(columns))
    figure, grid = plt.subplots(*shape, figsize=(0.95 * shape[1] + 1.2, 0.98 * shape[0] + 0.9), squeeze=False)
    for j, (column, parts) in enumerate(columns):
        for i, volume in enumerate(parts):
            # The original shares its own grey range; reconstructions, which hold less noise, one each.
            low, high = np.percentile(volume, [1, 99])
            three_slices(grid[i][3 * j : 3 * j + 3], volume, low, high, column if i == 0 else None)
    for i, name in enumerate(classes):
        grid[i][0].set_ylabel(name[:20], fontsize=7, rotation=0, ha="right", va="center")
    above = figure.subplotpars.top + 0.5 / figure.get_figheight()  # half an inch: the columns' names stand between
    figure.suptitle(title, fontsize=9, y=above, va="bottom")
    figure.subplots_adjust(wspace=0.05, hspace=0.05)
    return figure


def _with_percent(name: str, percent: float) -> str:
    return f"{name}, {percent:g} %" if percent else name


def _ordered(table: pd.DataFrame) -> list[str]:
    pairs = set(zip(table["method"], table["variant"]))
    return [variant for method, variant in sorted(pairs, key=lambda p: (paper.accuracy_rank(p[0]), p[1]))]
