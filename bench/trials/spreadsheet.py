"""A `rows.csv`, perhaps from a spreadsheet, → rows."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd

from bench.base.errors import BenchError
from bench.base.spreadsheet import plain
from bench.trials.rows import NEEDED, validate
from bench.trials.store import Store


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
    rows = [dict(zip(names, map(plain, line))) for _, line in lines[1:]]
    return validate(rows, [f"{path}: row {number}" for number, _ in lines[1:]], mend)
