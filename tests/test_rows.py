"""Columns: declared once, documented as declared, filled from a record that survives the disk."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.base.errors import BenchError
from bench.base.spreadsheet import as_csv, plain, protected, read_csv
from bench.trials.rows import COLUMNS, COSTS, NEEDED, SCORES, TERMS, as_rows, columns_as_markdown
from bench.trials.run import run
from bench.trials.spreadsheet import read_rows
from bench.trials.store import Store
from bench.trials.trial import Counts, Record, Result, Runtime, Scores, Status, Trial

Make = Callable[..., Trial]
COUNTS = Counts(144, 28, 4, 80, 8, "particle", "0123456789012345")
Bench = Callable[..., tuple[int, str, str]]
README = Path(__file__).parents[1] / "results" / "README.md"


def test_the_page_on_results_has_the_columns_as_they_are_declared() -> None:
    assert columns_as_markdown() in README.read_text()
    names = [column.name for column in COLUMNS]
    assert len(set(names)) == len(names)
    assert {*SCORES, *COSTS, *TERMS} <= set(names)


def test_a_record_is_the_same_after_the_disk(
    make_trial: Make, runtime: Runtime, tiny_folder: Path, tmp_path: Path
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


@pytest.fixture
def rows(make_trial: Make) -> pd.DataFrame:
    """Rows of a trial that is done, one that failed and one that never ran."""
    done = Result(Status.DONE, counts=COUNTS, scores=Scores(accuracy=1 / 3, mse=0.1 + 0.2))
    results = [done, Result(Status.FAILED, "KeyError: 'x'", counts=COUNTS), Result(Status.MISSING)]
    trials = [make_trial(seed=seed) for seed in range(3)]
    return as_rows([Record(trial.key(), trial, result) for trial, result in zip(trials, results)])


def test_rows_are_the_same_after_the_file(rows: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(as_csv(rows), encoding="utf-8")
    pd.testing.assert_frame_equal(read_rows(tmp_path / "rows.csv"), rows)


BAD_CELLS = [
    *(("accuracy", cell) for cell in ("44.9", "1.0001", "-0.1", "inf", "nan", "high", "0,5", "1_0", " 0.5", "1e999")),
    *((score, cell) for score in SCORES[:3] for cell in ("2", "-1")),
    *((score, cell) for score in ("mse", "nll", "seconds") for cell in ("-1", "-inf", "nan", "word")),
    ("ece", "1.5"),
    ("n_test", "0"),
    ("n_test", "2.5"),
    ("n_train", "-1"),
    ("epochs", "0"),
    ("epochs", ""),
    ("filters", "1e30"),
    ("seed", "1.5"),
    ("seed", "-1"),
    ("seed", ""),
    ("labelled_percent", "0"),
    ("labelled_percent", "100.1"),
    ("status", "fine"),
    ("status", ""),
    ("protocol", ""),
    ("dataset", ""),
    ("variant", "two\nlines"),
    ("variant", "a\0b"),
]


@pytest.mark.parametrize(("column", "cell"), BAD_CELLS)
def test_a_cell_outside_its_range_is_refused_with_its_place(
    rows: pd.DataFrame, tmp_path: Path, column: str, cell: str
) -> None:
    table = rows.astype(object)
    table.loc[1, column] = cell
    (tmp_path / "rows.csv").write_text(as_csv(table), encoding="utf-8")
    with pytest.raises(BenchError) as refused:
        read_rows(tmp_path / "rows.csv")
    message = str(refused.value)
    kind = next(c.kind for c in COLUMNS if c.name == column)
    assert message.startswith(f"{tmp_path / 'rows.csv'}: row 3, column {column}: {cell!a} must be {kind}; ")
    assert "\n" not in message


@pytest.mark.parametrize("lacking", [["n_test"], ["split"], ["accuracy", "mse"]])
def test_a_trial_that_is_done_has_its_scores_and_its_test_set(
    rows: pd.DataFrame, tmp_path: Path, lacking: list[str]
) -> None:
    rows[lacking] = None
    (tmp_path / "rows.csv").write_text(as_csv(rows), encoding="utf-8")
    with pytest.raises(BenchError, match=rf"row 2: is done, but has no {' or '.join(lacking)};"):
        read_rows(tmp_path / "rows.csv")


def test_a_trial_has_one_row(rows: pd.DataFrame, tmp_path: Path) -> None:
    rows["labelled_percent"] = None
    (tmp_path / "rows.csv").write_text(as_csv(pd.concat([rows, rows.iloc[:1].assign(accuracy=0.9)])), encoding="utf-8")
    with pytest.raises(BenchError, match=r"row 5: is the trial of .*row 2 again \(fair turns supervised seed 0\)"):
        read_rows(tmp_path / "rows.csv")


def _renamed(name: str) -> Callable[[bytes], bytes]:
    """Another name for a column."""
    return lambda text: b",".join(b"other" if c == name.encode() else c for c in text.split(b","))


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda text: b"", "is empty"),
    "header only": (lambda text: text.partition(b"\n")[0] + b"\n", "holds no rows"),
    "binary": (lambda text: bytes(range(256)) * 100, "cannot be read as rows"),
    "NUL bytes": (lambda text: text.replace(b"supervised", b"super\0vised"), r"'super\x00vised' must be a text"),
    "one line of 10 MB": (lambda text: b"a" * 10_000_000, "cannot be read as rows"),
    "UTF-16": (lambda text: text.decode().encode("utf-16"), "cannot be read as rows"),
    "Latin-1": (lambda text: text.decode().encode("latin-1"), "cannot be read as rows"),
    "a column twice": (lambda text: text.replace(b",trial\n", b",seed\n"), "has two columns 'seed'"),
    "a short row": (lambda text: text + b"a,b\n", f"row 5 has 2 cells instead of {len(COLUMNS)}"),
    "longer rows": (lambda text: text.replace(b",,", b",,,"), "row 2 has"),
    "an open quote": (lambda text: text + b'"a', "cannot be read as rows"),
    "semicolons": (lambda text: text.replace(b",", b";"), "lacks the columns dataset, "),
    **{name: (_renamed(name), f"lacks the columns {name};") for name in NEEDED},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_in_one_line(rows: pd.DataFrame, tmp_path: Path, bench: Bench, damage: str) -> None:
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text(as_csv(rows), encoding="utf-8")
    change, says = DAMAGES[damage]
    bad.write_bytes(change(good.read_bytes()))
    for pair in ((bad, good), (good, bad)):
        code, out, err = bench("gate", *pair)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"bench: {bad}")
        assert says in err


def test_every_text_comes_back_and_none_is_a_formula() -> None:
    for text in map("".join, itertools.chain(*(itertools.product("'=+-@\t\ra＝", repeat=n) for n in range(5)))):
        cell = protected(text)
        assert plain(cell) == text
        assert not cell.startswith(tuple("=+-@\t\r＝"))


def test_a_table_comes_back_from_csv_with_the_texts_that_it_had(tmp_path: Path) -> None:
    names = ["=1+1", "'=1", "-", "@a", "+b", "NA", "plain, but long", '"so"', "'a'"]
    table = pd.DataFrame({"name": names, "=column": np.arange(len(names)) - 0.5})
    (tmp_path / "a.csv").write_text(as_csv(table), encoding="utf-8")
    assert not [cell for cell in (tmp_path / "a.csv").read_text().split() if cell.startswith(tuple("=+@"))]
    pd.testing.assert_frame_equal(read_csv(tmp_path / "a.csv"), table, check_dtype=False)


def test_no_text_of_a_row_is_a_formula_and_numbers_are_numbers(rows: pd.DataFrame, tmp_path: Path) -> None:
    texts = ["dataset", "data_parameters", "data_title", "method_title", "variant", "error"]
    for name in texts:
        rows[name] = pd.Series([f"{sign}HYPERLINK({name})" for sign in "=-@"], dtype=object)
    (tmp_path / "rows.csv").write_text(as_csv(rows.assign(difference=-0.5)), encoding="utf-8")
    written = pd.read_csv(tmp_path / "rows.csv")
    assert all(cell.startswith("'") for cell in written[texts].to_numpy().ravel())
    assert written["difference"].tolist() == [-0.5] * 3
    pd.testing.assert_frame_equal(read_rows(tmp_path / "rows.csv"), rows)


RESULT = Result(Status.DONE, counts=COUNTS, scores=Scores(accuracy=0.5))
REFUSED = {
    "accuracy: '1.7' must be": replace(RESULT, scores=Scores(accuracy=1.7)),
    "mse: 'nan' must be": replace(RESULT, scores=Scores(mse=float("nan"))),
    "has no n_test, no split": replace(RESULT, counts=None),
    "has no accuracy or mse": replace(RESULT, scores=Scores()),
}


@pytest.mark.parametrize("says", REFUSED)
def test_a_record_that_no_trial_writes_is_one_line(make_trial: Make, tmp_path: Path, bench: Bench, says: str) -> None:
    store, trial = Store.create(tmp_path / "out"), make_trial()
    store.plan([trial])
    store.write(trial, REFUSED[says], "cpu")
    for arguments in (("report", tmp_path / "out"), ("status", tmp_path / "out"), ("gate", tmp_path / "out", README)):
        code, out, err = bench(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert str(store.home(trial.key())) in err
        assert says in err
    assert not (tmp_path / "out" / "rows.csv").exists()
