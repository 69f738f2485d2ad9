"""Rows → Tables 2 and 3 with the paper's numbers beside, as CSV, Markdown and LaTeX."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from bench.base.files import digest, write_atomically
from bench.base.spreadsheet import as_csv
from bench.learning.protocol import PROTOCOLS, SELECTIONS
from bench.reporting import paper
from bench.reporting.statistics import cells, precision
from bench.trials.rows import COMPARISON, DATA, SIZES
from bench.trials.trial import Status

_LONGEST = 160  # characters of a title in a file's name; file systems allow 255 bytes
PAPER_SETS = ("paper's real set", "paper's simulated set")
_LATEX = str.maketrans({"±": r"$\pm$", "³": r"$^3$", "–": "--", "·": r"$\cdot$", "×": r"$\times$", "≥": r"$\geq$"})


@dataclass(frozen=True)
class Table:
    """A table to print: text cells, the names of its columns, and the notes that make its numbers readable."""

    name: str
    caption: str
    body: pd.DataFrame
    notes: list[str]

    def text(self) -> str:
        """For a terminal."""
        return f"{self.caption}\n\n{self._formatted('simple')}\n\n" + "\n".join(f"  {note}" for note in self.notes)

    def markdown(self) -> str:
        """For a README or a web page."""
        return f"**{self.caption}**\n\n{self._formatted('pipe')}\n\n" + "\n".join(f"- {n}" for n in self.notes) + "\n"

    def latex(self) -> str:
        """For a manuscript; needs the package booktabs."""
        escaped = self.body.to_latex(index=False, escape=True, caption=None).translate(_LATEX)
        notes = " ".join(note + "." for note in self.notes)
        for character in "%_&#":
            notes = notes.replace(character, "\\" + character)
        return f"% {self.caption}\n{escaped}% {notes}\n".translate(_LATEX)

    def write(self, folder: Path) -> None:
        """`name`.csv, .md and .tex."""
        write_atomically(folder / f"{self.name}.csv", as_csv(self.body))
        write_atomically(folder / f"{self.name}.md", self.markdown())
        write_atomically(folder / f"{self.name}.tex", self.latex())

    def _formatted(self, style: str) -> str:
        return str(self.body.to_markdown(index=False, tablefmt=style, disable_numparse=True))


def comparison_title(comparison: tuple[object, ...]) -> str:
    """Names the data and the terms: "phantoms 16³ SNR 0.1 · fair (3 epochs, batch 16, 16 filters, data 1a2b3c4d)"."""
    of = dict(zip(COMPARISON, comparison))
    sizes = f"{of['epochs']} epochs, batch {of['batch_size']}, {of['filters']} filters, data {of['data']}"
    return f"{of['data_title']} · {_rules(of)} ({sizes})"


def printed_names(rows: pd.DataFrame) -> dict[str, str]:
    """Variant → its name in tables and pictures: the method's title, with the hyperparameters that were changed."""
    return {
        variant: title + variant.removeprefix(method)
        for method, title, variant in zip(rows["method"], rows["method_title"], rows["variant"])
    }


def slug(title: str) -> str:
    """A title as a part of a file's name: "phantoms-16-snr-0.5"; a long one ends in a hash of the rest."""
    name = re.sub(r"[^a-z0-9.]+", "-", title.lower().replace("³", "")).strip("-")
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 9]}-{digest(title)[:8]}"


def all_tables(rows: pd.DataFrame) -> list[Table]:
    """Tables 2 and 3 of each data set, as far as its rows allow."""
    tables = []
    several = len(rows[DATA].drop_duplicates()) > 1
    for data, group in rows.groupby(DATA, sort=False):
        title, volumes = dict(zip(DATA, data))["data_title"], dict(zip(DATA, data))["data"]
        end = f"-{slug(f'{title} {volumes}')}" if several else ""
        if group["labelled_percent"].notna().any():
            tables.append(replace(accuracy_table(group), name=f"table2{end}"))
        if group.loc[group["status"] == Status.DONE, "mse"].notna().any():
            tables.append(replace(reconstruction_table(group), name=f"table3{end}"))
    return tables


def accuracy_table(rows: pd.DataFrame) -> Table:
    """Table 2 of one data set: accuracy of each method at each label fraction, by its rules, beside the paper's."""
    table = cells(rows)
    table = table[table["labelled_percent"].notna()]
    names = printed_names(rows)
    variants = sorted(set(zip(table["method"], table["variant"])), key=lambda v: (paper.accuracy_rank(v[0]), v[1]))
    body = {"method": [names[variant] for _, variant in variants]}
    for comparison, group in table.groupby(COMPARISON, sort=False):
        for percent in sorted(group["labelled_percent"].unique()):
            chosen = group[group["labelled_percent"] == percent].set_index("variant")
            body[f"{_short(comparison, table)}: {percent:g} %"] = [
                _percent(chosen.loc[variant]) if variant in chosen.index else "–" for _, variant in variants
            ]
    for i, name in enumerate(PAPER_SETS):
        for j, percent in enumerate(paper.PERCENTS):
            body[f"{name}: {percent:g} %"] = [
                f"{paper.ACCURACY[m][i][j]:.2f}" if m in paper.ACCURACY and m == v else "–" for m, v in variants
            ]
    caption = (
        f"Table 2. {rows['data_title'].iloc[0]}: accuracy in % on the test set, by labelled part of the training set"
    )
    return Table("table2", caption, pd.DataFrame(body), _notes(rows, "accuracy"))


def reconstruction_table(rows: pd.DataFrame) -> Table:
    """Table 3 of one data set: reconstruction MSE on the test set, by its rules, beside the paper's."""
    table = cells(rows)
    table = table[table["mse"].notna()]
    lines = {(row["method"], row["variant"], row["labelled_percent"]) for _, row in table.iterrows()}
    ordered = sorted(
        {(m, v, None if pd.isna(f) else float(f)) for m, v, f in lines},
        key=lambda line: (paper.reconstruction_rank(line[0]), line[1], line[2] or 0.0),
    )
    names = printed_names(rows)
    body = {"method": [names[v] + ("" if f is None else f", {f:g} % labelled") for _, v, f in ordered]}
    for comparison, group in table.groupby(COMPARISON, sort=False):
        column = []
        for _, variant, percent in ordered:
            same = group["labelled_percent"].isna() if percent is None else group["labelled_percent"] == percent
            chosen = group[same & (group["variant"] == variant)]
            column.append(_error(chosen.iloc[0]) if len(chosen) else "–")
        body[_short(comparison, table)] = column
    for i, name in enumerate(PAPER_SETS):
        values = [paper.RECONSTRUCTION.get(m, {}).get(f) if m == v else None for m, v, f in ordered]
        body[name] = [f"{value[i]:.4f}" if value else "–" for value in values]
    caption = f"Table 3. {rows['data_title'].iloc[0]}: reconstruction error (mean squared, voxels scaled to variance 1)"
    caption += " on the test set"
    notes = _notes(rows, "mse") + ["the paper does not state the scale of its voxels: compare within a column only"]
    return Table("table3", caption, pd.DataFrame(body), notes)


def status_grid(rows: pd.DataFrame) -> str:
    """How many seeds of each method and label fraction are done, and what became of the others; for a terminal."""
    parts = []
    for comparison, group in rows.groupby(COMPARISON, sort=False):
        columns = {"no labels" if pd.isna(f) else f"{f:g} %": f for f in sorted(group["labelled_percent"].unique())}
        body = []
        for variant, ours in group.groupby("variant"):
            line = [variant]
            for percent in columns.values():
                statuses = ours[
                    ours["labelled_percent"].isna() if pd.isna(percent) else ours["labelled_percent"] == percent
                ]["status"]
                others = statuses[statuses != "done"].value_counts()
                text = f"{(statuses == 'done').sum()} of {len(statuses)} done" if len(statuses) else "–"
                line.append(", ".join([text, *(f"{n} {status}" for status, n in others.items())]))
            body.append(line)
        table = pd.DataFrame(body, columns=["method", *columns])
        parts.append(comparison_title(comparison))
        parts.append(str(table.to_markdown(index=False, tablefmt="simple", disable_numparse=True)))
    counts = rows["status"].value_counts()
    parts.append(f"{len(rows)} trials: " + ", ".join(f"{counts[s]} {s}" for s in Status if s in counts))
    return "\n\n".join(parts)


def _short(comparison: tuple[object, ...], table: pd.DataFrame) -> str:
    """The rules of a comparison of one data set, and those sizes that differ in the table."""
    of = dict(zip(COMPARISON, comparison))
    words = {"epochs": f"{of['epochs']} epochs", "batch_size": f"batch {of['batch_size']}"}
    words["filters"] = f"{of['filters']} filters"
    sizes = [words[name] for name in SIZES if len(table[name].unique()) > 1]
    return _rules(of) + (f" ({', '.join(sizes)})" if sizes else "")


def _rules(of: dict[str, object]) -> str:
    """The rules of a comparison: "fair, rotations"; what is not the protocol's default is said too."""
    parts = [f"{of['protocol']}", f"{of['views']}"]
    if of["select"] != PROTOCOLS[str(of["protocol"])].select:
        parts.append(f"{of['select']} weights")
    if of["test_views"] != 1:
        parts.append(f"{of['test_views']} test views")
    return ", ".join(parts)


def _percent(cell: pd.Series) -> str:
    text = f"{100 * cell['accuracy']:.1f}"
    if not math.isnan(cell["accuracy_low"]):
        text += f" ± {100 * (cell['accuracy_high'] - cell['accuracy']):.1f}"
    return _marked(text, cell)


def _error(cell: pd.Series) -> str:
    text = f"{cell['mse']:.4f}"
    if not math.isnan(cell["mse_low"]):
        text += f" ± {cell['mse_high'] - cell['mse']:.4f}"
    return _marked(text, cell)


def _marked(text: str, cell: pd.Series) -> str:
    if cell["seeds"] == 0:
        return f"none of {cell['seeds_planned']} seeds"
    if cell["unequal"]:
        text += " (unequal training)"
    return text if cell["complete"] else f"{text} ({cell['seeds']} of {cell['seeds_planned']} seeds)"


def _notes(rows: pd.DataFrame, score: str) -> list[str]:
    notes = []
    for comparison, group in rows.groupby(COMPARISON, sort=False):
        of = dict(zip(COMPARISON, comparison))
        protocol = PROTOCOLS[str(of["protocol"])]
        seeds = group["seed"].nunique()
        text = f"{comparison_title(comparison)}: {seeds} seed{'s' if seeds > 1 else ''}"
        text += "; ± is the half-width of the 95 % t interval over seeds (ddof = 1)" if seeds > 1 else "; no interval"
        text += f"; weights kept: {SELECTIONS[str(of['select'])]}"
        if of["select"] == "best":
            text += (
                " (the method's own)"
                if protocol.selects_by_own_loss
                else " (cross-entropy; without labels the method's own)"
            )
        n_test = group["n_test"].dropna()
        if score == "accuracy" and len(n_test):
            points = 100 * precision(int(n_test.iloc[0]))
            text += f"; {int(n_test.iloc[0])} test volumes allow ±{points:.1f} points at 50 %"
        notes.append(text)
    published = "one run, interval not stated; their data sets are not public and not those of the other columns"
    return [*notes, f"the paper's columns: Liu et al. 2019, {published}"]
