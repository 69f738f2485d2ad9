"""A `rows.csv`, perhaps from a spreadsheet, → rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench.base.errors import BenchError
from bench.base.spreadsheet import plain
from bench.learning.protocol import PROTOCOLS, SELECTIONS
from bench.learning.views import VIEWS
from bench.trials.rows import CELL, COLUMNS, COSTS, NEEDED, row_label, validate
from bench.trials.store import Store
from bench.trials.trial import Status


def read_rows(path: Path) -> pd.DataFrame:
    """Rows of a results folder, or of a `rows.csv` by itself; raises BenchError for anything else or a damaged one."""
    if path.is_dir():
        return Store(path).rows()
    mend = "name a results folder, or a rows.csv as bench wrote it"
    try:
        text = path.read_bytes().decode("utf-8-sig")
        lines = [line for line in enumerate(csv.reader(io.StringIO(text, newline=""), strict=True), 1) if line[1]]
    except (OSError, ValueError, csv.Error) as error:
        raise BenchError(f"{path}: cannot be read as rows ({error}); {mend}") from error
    if not lines:
        raise BenchError(f"{path}: is empty; {mend}")
    names = lines[0][1]
    if lacking := [name for name in NEEDED if name not in names]:
        raise BenchError(f"{path}: lacks the columns {', '.join(lacking)}; {mend}")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BenchError(f"{path}: has two columns {twice[:40]!r}; {mend}")
    if len(lines) == 1:
        raise BenchError(f"{path}: holds no rows; {mend}")
    for number, line in lines:
        if len(line) != len(names):
            raise BenchError(f"{path}: row {number} has {len(line)} cells instead of {len(names)}; {mend}")
    defaults = {column.name: column.default for column in COLUMNS if column.default is not None}
    rows = [defaults | dict(zip(names, map(plain, line))) for _, line in lines[1:]]
    return validate(rows, [f"{path}: row {number}" for number, _ in lines[1:]], mend)


def read_together(paths: Sequence[Path]) -> pd.DataFrame:
    """The rows of several runs, each trial once: a finished one before one that is not.

    Raises BenchError as `read_rows` does, for rows without some column, and for a trial with two different scores.
    """
    tables = []
    for path in paths:
        rows = read_rows(path)
        if lacking := [c.name for c in COLUMNS if c.name not in rows]:
            raise BenchError(
                f"{path}: lacks the columns {', '.join(lacking)}; write it again with this version of bench"
            )
        for name, known in (("protocol", PROTOCOLS), ("views", VIEWS), ("select", SELECTIONS)):
            if unknown := set(rows[name]) - set(known):
                raise BenchError(
                    f"{path}: column {name}: this version of bench has no {min(unknown)[:40]!r}; leave it out"
                )
        tables.append(rows.assign(source=str(path), unfinished=rows["status"] != Status.DONE))
    together = pd.concat(tables, ignore_index=True).sort_values([*CELL, "seed", "unfinished"], kind="stable")
    same = ["split", "accuracy", "mse", *COSTS[2:4]]
    for _, pair in together[~together["unfinished"]].groupby([*CELL, "seed"], dropna=False, sort=False):
        if len(pair[same].drop_duplicates()) > 1:
            first, second = pair["source"].iloc[0], pair["source"].iloc[-1]
            raise BenchError(f"{row_label(pair.iloc[0])}: {first} and {second} have different scores; leave one out")
    together = together.drop_duplicates([*CELL, "seed"])
    return together.drop(columns=["source", "unfinished"]).reset_index(drop=True)
