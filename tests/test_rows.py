"""Columns: declared once, documented as declared, filled from a record that survives the disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from bench.trials.rows import COLUMNS, COSTS, SCORES, TERMS, as_rows, columns_as_markdown
from bench.trials.run import run
from bench.trials.store import Store
from bench.trials.trial import Record, Runtime, Status, Trial

README = Path(__file__).parents[1] / "results" / "README.md"


def test_the_page_on_results_has_the_columns_as_they_are_declared() -> None:
    assert columns_as_markdown() in README.read_text()
    names = [column.name for column in COLUMNS]
    assert len(set(names)) == len(names)
    assert {*SCORES, *COSTS, *TERMS} <= set(names)


def test_a_record_is_the_same_after_the_disk(
    make_trial: Callable[..., Trial], runtime: Runtime, tiny_folder: Path, tmp_path: Path
) -> None:
    store = Store.create(tmp_path / "out")
    done, missing = make_trial("autoencoding"), make_trial(seed=1)
    store.write(done, run(done, tiny_folder, runtime), "cpu")
    store.plan([done, missing])
    record = store.read(done.key())
    assert record is not None
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record
    assert [r.status for r in store.records()] == [Status.DONE, Status.MISSING]
    rows = store.rows().set_index("method")
    assert rows.loc["autoencoding", "data_parameters"] == "box=8, per_class=30"
    assert rows.loc["autoencoding", "accuracy"] == record.result.scores.accuracy
    assert pd.isna(rows.loc["supervised", "n_test"])
    assert list(as_rows([record]).columns) == [column.name for column in COLUMNS]
