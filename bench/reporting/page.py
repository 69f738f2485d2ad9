"""The results folder's rows → leaderboard, tables, pictures and one page; all of it made anew at each call."""

from __future__ import annotations

import html
from pathlib import Path

import pandas as pd

from bench.base.files import write_atomically
from bench.base.spreadsheet import as_csv
from bench.reporting import paper
from bench.reporting.critical_difference import diagram
from bench.reporting.statistics import LEAST_BLOCKS, blocks_of, cells, leaderboard, paired_differences
from bench.reporting.tables import Table, all_tables, comparison_title, printed_names, slug
from bench.reporting.words import sentences
from bench.trials.rows import CELL, COMPARISON, RULES
from bench.trials.store import Store

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}"
    "th,td{border-bottom:1px solid #ccc;padding:.25rem .6rem;text-align:left}img{max-width:100%}"
    "div{overflow-x:auto}li{color:#444}"
)


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
    said = sentences(rows)
    written = all_tables(rows)
    for table in written:
        table.write(folder / "tables")
    pictures = figures.write_all(rows, folder / "figures", store) + _ranks(rows, folder / "figures")
    overall = _overall(rows)
    if overall is not None:
        write_atomically(folder / "overall.csv", as_csv(overall, "%.6g"))
    write_atomically(folder / "report.html", _page(rows, said, board, overall, written, pictures, folder))


def summary(rows: pd.DataFrame) -> str:
    """Tables 2 and 3 for a terminal, and what they say."""
    return "\n\n".join([*(table.text() for table in all_tables(rows)), *sentences(rows)])


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


def _page(
    rows: pd.DataFrame,
    said: list[str],
    board: pd.DataFrame,
    overall: pd.DataFrame | None,
    tables: list[Table],
    pictures: list[tuple[str, Path]],
    folder: Path,
) -> str:
    parts = [f"<!doctype html><meta charset='utf-8'><title>subtomobench</title><style>{_STYLE}</style>"]
    parts.append("<h1>subtomobench</h1>")
    counts = rows["status"].value_counts()
    parts.append("<p>" + ", ".join(f"{n} trials {html.escape(str(status))}" for status, n in counts.items()) + "</p>")
    parts.append("".join(f"<p>{html.escape(sentence)}</p>" for sentence in said))
    for table in tables:
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in table.notes)
        parts.append(f"<h2>{html.escape(table.caption)}</h2><div>{_html(table.body)}</div><ul>{notes}</ul>")
    for caption, path in pictures:
        source = html.escape(path.relative_to(folder).as_posix())
        parts.append(f"<h2>{html.escape(caption)}</h2><img src='{source}' alt='{html.escape(caption)}'>")
    for comparison, group in board.groupby(COMPARISON, sort=False):
        shown = group.drop(columns=COMPARISON)
        parts.append(f"<h2>Leaderboard: {html.escape(comparison_title(comparison))}</h2><div>{_html(shown)}</div>")
    if overall is not None:
        parts.append(f"<h2>All blocks together</h2><div>{_html(overall)}</div>")
    failed = rows[rows["status"] != "done"]
    if len(failed):
        shown = failed[[*CELL, "seed", "status", "error", "trial"]]
        parts.append(f"<h2>Trials without a score</h2><div>{_html(shown)}</div>")
    parts.append(f"<p>Beside: Liu et al. 2019, {len(paper.ACCURACY)} methods. <code>rows.csv</code> has every trial, ")
    parts.append("<code>differences.csv</code> the paired differences between methods.</p>")
    return "\n".join(parts)


def _html(table: pd.DataFrame) -> str:
    return str(table.to_html(index=False, border=0, escape=True, na_rep="–", float_format=lambda x: f"{x:.4g}"))
