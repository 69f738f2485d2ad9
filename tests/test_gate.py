"""The gate: fine on a re-run, regressed on a planted loss, silent about nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from bench.base.errors import BenchError
from bench.reporting import gate
from bench.trials.rows import printable
from bench.trials.spreadsheet import read_rows

Call = Callable[..., tuple[int, str, str]]
LEVELS = {"supervised": 0.5, "autoencoding": 0.6, "m2": 0.4}


def _rows(seed: int = 0, noise: float = 0.03) -> pd.DataFrame:
    """A synthetic run: three methods, three fractions, three seeds, independent training noise."""
    rng = np.random.default_rng(seed)
    rows = []
    for method, level in LEVELS.items():
        for i, percent in enumerate((5.0, 10.0, 20.0)):
            for s in range(3):
                row = {"dataset": "d", "data_parameters": "", "data_title": "d 8³", "protocol": "fair", "epochs": 1}
                row |= {"views": "turns", "select": "best", "test_views": 1}
                row |= {
                    "batch_size": 8,
                    "filters": 4,
                    "data": "x",
                    "method": method,
                    "method_title": "T",
                    "variant": method,
                    "labelled_percent": percent,
                    "seed": s,
                    "status": "done",
                }
                row |= dict.fromkeys(["balanced_accuracy", "macro_f1", "nll", "ece", "ece_calibrated"], 0.5)
                row |= {"accuracy": level + 0.1 * i + noise * rng.normal(), "n_test": 800, "split": f"split{s}"}
                rows.append(row | {"mse": 0.9 * np.exp(0.01 * rng.normal()) if method == "autoencoding" else None})
    return pd.DataFrame(rows)


def test_a_re_run_is_fine() -> None:
    assert not any(v.regressed for v in gate.compare(_rows(), _rows()))


def test_a_planted_loss_of_ten_points_is_found_in_its_method_alone() -> None:
    new = _rows(1)
    new.loc[new["variant"] == "m2", "accuracy"] -= 0.10
    assert [v.name for v in gate.compare(new, _rows()) if v.regressed] == ["d 8³ · fair · m2"]


def test_scores_that_vanish_are_a_regression() -> None:
    new = _rows()
    new.loc[new["variant"] == "m2", "accuracy"] = None
    assert [v.name for v in gate.compare(new, _rows()) if v.regressed] == ["d 8³ · fair · m2"]


def test_a_worse_reconstruction_is_found() -> None:
    new = _rows()
    new["mse"] *= 1.2
    assert [v.score for v in gate.compare(new, _rows()) if v.regressed] == ["mse"]


def test_a_trial_that_fails_now_is_a_regression() -> None:
    new = _rows()
    new.loc[0, ["status", "accuracy"]] = ["failed", None]
    assert [v.failed for v in gate.compare(new, _rows()) if v.regressed] == [1]


def test_runs_that_do_not_match_cannot_be_compared() -> None:
    with pytest.raises(BenchError, match="were not run"):
        gate.compare(_rows().iloc[1:], _rows())
    with pytest.raises(BenchError, match="split"):
        gate.compare(_rows().assign(split="other"), _rows())
    with pytest.raises(BenchError, match="no finished trial"):
        gate.compare(_rows(), _rows().assign(status="failed"))


def test_the_same_trial_on_two_data_sets_of_a_name_is_refused() -> None:
    both = pd.concat([_rows(), _rows(1).assign(data="y")], ignore_index=True)
    for new, baseline in ((both, _rows()), (_rows(), both)):
        with pytest.raises(BenchError, match=r"fair turns supervised 5 % seed 0, d 8³ is there with several volumes"):
            gate.compare(new, baseline)


@pytest.mark.parametrize(
    ("before", "now", "regressed"),
    [(0.0, 0.0, False), (0.9, 0.0, False), (0.0, 0.9, True), (0.0, 1e-15, False), (1e-15, 0.0, False)],
)
def test_a_perfect_reconstruction_is_the_best_there_is(before: float, now: float, regressed: bool) -> None:
    verdicts = gate.compare(_rows().assign(mse=now), _rows().assign(mse=before))
    judged = [v for v in verdicts if v.score == "mse"]
    assert len(judged) == len(LEVELS)
    assert {v.regressed for v in judged} == {regressed}
    assert all(np.isfinite(v.change) and (v.change > 0) == (before > 0.5) for v in judged)


def _assigned(**cells: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda rows: rows.assign(**cells)


BAD_ROWS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "accuracy in percent": lambda rows: rows.assign(accuracy=100 * rows["accuracy"]),
    "infinite accuracy": _assigned(accuracy=np.inf),
    "negative error": _assigned(mse=-1.0),
    "no test volume": _assigned(n_test=0),
    "a word": _assigned(accuracy="high"),
    "doubled": lambda rows: pd.concat([rows, rows]),
    "contradicting": lambda rows: pd.concat([rows, rows.assign(accuracy=0.9)]),
}


@pytest.mark.parametrize("change", BAD_ROWS)
def test_rows_that_no_run_writes_are_refused_on_either_side(bench: Call, tmp_path: Path, change: str) -> None:
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    _rows().to_csv(good, index=False)
    BAD_ROWS[change](_rows()).to_csv(bad, index=False)
    for pair in ((bad, good), (good, bad)):
        code, out, err = bench("gate", *pair)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"bench: {bad}: row ")


def test_a_hash_of_digits_is_no_number(tmp_path: Path) -> None:
    rows = _rows().assign(split="0012345678901234", data="12345678", variant="007")
    rows["seed"] = range(len(rows))
    rows.to_csv(tmp_path / "rows.csv", index=False)
    assert not any(v.regressed for v in gate.compare(read_rows(tmp_path / "rows.csv"), rows))


@pytest.mark.parametrize("name", ["a\0b\x1b\x0b", "\ud800", "]]>", "<&\"'>", "\ufffe\uffff", "two\nlines"])
def test_junit_is_xml_whatever_a_method_is_called(tmp_path: Path, name: str) -> None:
    verdicts = [gate.Verdict(name, score, -50.0, 1.0, 3, 0) for score in ("accuracy", "mse")]
    gate.write_junit(verdicts, tmp_path / "gate.xml")
    cases = ElementTree.parse(tmp_path / "gate.xml").getroot().findall("testcase")
    assert [(case.get("classname"), case.get("name")) for case in cases] == [
        (printable(name), score) for score in ("accuracy", "mse")
    ]
    assert all(printable(name) in str(failure.get("message")) for case in cases for failure in case)


def test_exit_codes_and_junit(bench: Call, tmp_path: Path) -> None:
    good, bad, junit = tmp_path / "good.csv", tmp_path / "bad.csv", tmp_path / "gate.xml"
    _rows().to_csv(good, index=False)
    _rows().assign(accuracy=lambda rows: rows["accuracy"] - 0.1).to_csv(bad, index=False)
    assert bench("gate", good, good)[0] == 0
    code, out, _ = bench("gate", bad, good, "--junit", junit)
    assert code == 1
    assert "REGRESSED  d 8³ · fair · m2 · accuracy: -10.00 points" in out
    suite = ElementTree.parse(junit).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("4", "3")
    code, _, err = bench("gate", good, good, "--junit", tmp_path / "gate.json")
    assert (code, err.count("\n")) == (2, 1)
    code, _, err = bench("gate", good, tmp_path / "nowhere")
    assert code == 2
    assert "nowhere" in err
    assert bench("gate", good, good, "--junit", tmp_path / "new" / "gate.xml")[0] == 0
    assert (tmp_path / "new" / "gate.xml").is_file()
    code, out, err = bench("gate", bad, good, "--junit", good / "gate.xml")  # in a file
    assert (code, out, err.count("\n")) == (2, "", 1)
    junit.write_text("a,b\n1,2\n")
    assert bench("gate", good, good, "--junit", junit)[0] == 2
    assert bench("gate", junit, good)[0] == 2
