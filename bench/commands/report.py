"""`bench report`: the trials of one results folder, or the rows of several runs, → tables and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench import page
from bench.base.errors import BenchError
from bench.trials.spreadsheet import read_together
from bench.trials.store import Store


def report(runs: Sequence[Path], out: Path | None) -> tuple[pd.DataFrame, Path]:
    """Write the report of a results folder into it, or that of `runs` (folders or `rows.csv`) to `out`.

    Returns the rows and the folder of the report. Raises BenchError for runs that contradict each other, and where
    `out` holds anything but an earlier report.
    """
    if out is None:
        if len(runs) > 1 or runs[0].is_file():
            raise BenchError("several runs, or a rows.csv: name a folder for the report with --out")
        store = Store(runs[0])
        rows = store.rows()
        page.write(rows, store.folder, store)
        return rows, store.folder
    if out.is_file():
        raise BenchError(f"--out {out}: is a file; name a folder")
    inside = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if (inside and "report.html" not in inside) or "plan.json" in inside:
        raise BenchError(f"--out {out}: holds other files than a report of several runs; name a new folder")
    if any(out.resolve() in (run.resolve(), *run.resolve().parents) for run in runs):
        raise BenchError(f"--out {out}: holds one of the runs; name another folder")
    rows = read_together(runs)
    page.write(rows, out)
    return rows, out
