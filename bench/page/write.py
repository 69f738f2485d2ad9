"""The results folder's rows → leaderboard, tables, pictures and one page; all of it made anew at each call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench.base.files import write_atomically
from bench.base.spreadsheet import as_csv
from bench.page import content
from bench.page.render import render, svg_address
from bench.reporting.critical_difference import diagram
from bench.reporting.statistics import LEAST_BLOCKS, blocks_of, cells, leaderboard, paired_differences
from bench.reporting.tables import all_tables, printed_names, slug
from bench.reporting.words import sentences as said_of
from bench.trials.rows import CELL, COMPARISON, RULES
from bench.trials.store import Store


def write(rows: pd.DataFrame, folder: Path, store: Store | None = None) -> None:
    """Write `rows.csv`, `leaderboard.csv`, `differences.csv`, `overall.csv`, `tables/`, `figures/` and `report.html`.

    store: of the trials of these rows; without it the pictures that need more than scores are left out.
    """
    from bench.reporting import figures

    for name in ("tables", "figures"):
        (folder / name).mkdir(exist_ok=True, parents=True)
    board = cell_board(rows)
    write_atomically(folder / "rows.csv", as_csv(rows))
    write_atomically(folder / "leaderboard.csv", as_csv(board, "%.6g"))
    write_atomically(folder / "differences.csv", as_csv(paired_differences(rows), "%.6g"))
    written = all_tables(rows)
    for table in written:
        table.write(folder / "tables")
    pictures = figures.write_all(rows, folder / "figures", store) + _ranks(rows, folder / "figures")
    overall = _overall(rows)
    if overall is not None:
        write_atomically(folder / "overall.csv", as_csv(overall, "%.6g"))
    write_atomically(folder / "report.html", html(rows, pictures))


def summary(rows: pd.DataFrame) -> str:
    """Tables 2 and 3 for a terminal, and what they say."""
    return "\n\n".join([*(table.text() for table in all_tables(rows)), *said_of(rows)])


def cell_board(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a cell, best first within equal terms and label fraction; incomplete cells last, without a rank."""
    board = cells(rows)
    board = board[board["labelled_percent"].notna()].drop(columns=["mse_low", "mse_high", "method", "method_title"])
    board = board.sort_values([*COMPARISON, "labelled_percent", "rank"], na_position="last")
    first = [*COMPARISON, "labelled_percent", "rank", "variant", "accuracy", "accuracy_low", "accuracy_high"]
    first += ["seeds", "seeds_planned", "complete"]
    return board[first + [c for c in board if c not in first]]


def _overall(rows: pd.DataFrame) -> pd.DataFrame | None:
    """The leaderboards over several blocks, one for each set of rules; None where no rules have several."""
    boards = []
    for rules, blocks in blocks_of(rows).items():
        if len(blocks.names) > 1 and len(blocks.methods) > 1:
            boards.append(leaderboard(blocks).assign(**dict(zip(RULES, rules))))
    if not boards:
        return None
    together = pd.concat(boards, ignore_index=True)
    return together[[*RULES, *(c for c in together if c not in RULES)]]


def _ranks(rows: pd.DataFrame, folder: Path) -> list[tuple[str, Path]]:
    """Pictures of mean ranks, where there are blocks enough for a test."""
    pictures, names = [], printed_names(rows)
    for rules, blocks in blocks_of(rows).items():
        some = blocks.complete()
        if len(some.methods) > 1 and len(some.names) >= LEAST_BLOCKS:
            caption = f"Ranks over blocks: {', '.join(rules[:2])}"
            path = folder / f"ranks-{slug(' '.join(rules))}.svg"
            write_atomically(path, diagram(some, [names[method] for method in some.methods], caption))
            pictures.append((caption, path))
    return pictures


def html(rows: pd.DataFrame, pictures: Sequence[tuple[str, Path]] = ()) -> str:
    """The page of some rows; pictures: captions and files that lie beside it."""
    counts = rows["status"].value_counts()
    lines = content.leaderboard(cell_board(rows), rows)
    sentences, charts = content.answers(rows)
    overall = _overall(rows)
    failed = rows[rows["status"] != "done"][[*CELL, "seed", "status", "error", "trial"]]
    return render(
        title="subtomobench",
        state=", ".join(f"{n} trials {status}" for status, n in counts.items()),
        sentences=sentences,
        charts=charts,
        filters=content.filters(lines),
        columns=content.COLUMNS,
        lines=lines,
        matrices=content.differences(rows),
        tables=[{"caption": one.caption, "cells": _as_texts(one.body), "notes": one.notes} for one in all_tables(rows)],
        overall=None if overall is None else _as_texts(overall),
        ranks=[(caption, svg_address(path)) for caption, path in pictures if path.suffix == ".svg"],
        failed=_as_texts(failed) if len(failed) else None,
        pictures=[(caption, path.name) for caption, path in pictures],
    )


def _as_texts(table: pd.DataFrame) -> list[list[str]]:
    """The names of the columns, then the rows."""
    return [[str(c) for c in table], *([_as_text(v) for v in row] for row in table.itertuples(index=False))]


def _as_text(value: object) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.4g}"
    return "–" if value is pd.NA or value is None else str(value)
