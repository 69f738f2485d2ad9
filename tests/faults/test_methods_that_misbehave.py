"""A method may do anything: its trial is a row with its status, and no other row changes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from conftest import TINY

from faults.conftest import HOST_COLUMNS, Start, statuses

FAILED = {
    "raises": "KeyError",
    "gives_nan": "FloatingPointError",
    "gives_nothing": "neither logits(volumes) nor reconstruct(volumes)",
    "gives_garbage": "logits(volumes) gave str",
    "stretches": "reconstruct(volumes) gave",
    "exits": "SystemExit",
    "eats_memory": "RuntimeError",
}


def _good_row(out: Path) -> dict[str, object]:
    rows = pd.read_csv(out / "rows.csv", dtype=str, keep_default_na=False).drop(columns=HOST_COLUMNS)
    row: dict[str, object] = rows[rows["method"] == "autoencoding"].iloc[0].to_dict()
    return row


@pytest.mark.parametrize("backend", ["serial", "ray"])
def test_each_is_a_row_with_its_status(backend: str, start: Start, faulty: dict[str, str], tmp_path: Path) -> None:
    expected = dict.fromkeys(FAILED, "failed") | {
        "sleeps": "timed out",
        "leaves_a_mess": "done",
        "autoencoding": "done",
    }
    if backend == "ray":  # in processes of their own they may die, too
        expected |= {"hangs": "timed out", "is_killed": "killed", "dies_once": "done"}
    # The mess comes before the good one in the serial backend, which runs methods of one length in this order.
    options = [*TINY, "--fractions", "40", "--backend", backend, "--time-limit", "0.2", "--checkpoint-every", "0"]
    command = start("run", *options, "--methods", ",".join(sorted(expected)), "--out", tmp_path / "out", extra=faulty)
    assert command.wait() == 1, command.output()
    out = tmp_path / "out"
    assert statuses(out) == expected
    rows = pd.read_csv(out / "rows.csv").set_index("method")
    for method, text in FAILED.items():
        assert text in rows.loc[method, "error"]
        assert (out / "trials" / rows.loc[method, "trial"] / "traceback.txt").stat().st_size > 50
    assert "Traceback" not in command.output()
    assert "<such>" not in (out / "report.html").read_text()
    hung = (out / "trials" / rows.loc["sleeps", "trial"] / "traceback.txt").read_text()
    assert "faulty.py" in hung
    assert "in fit" in hung
    board = pd.read_csv(out / "leaderboard.csv").set_index("variant")
    assert board["complete"].to_dict() == {name: status == "done" for name, status in expected.items()}
    assert board.loc[[n for n, s in expected.items() if s != "done"], "rank"].isna().all()
    if backend == "ray":
        assert rows["attempts"].to_dict() == dict.fromkeys(expected, 1) | {"is_killed": 3, "dies_once": 2}
        log = (out / "trials" / rows.loc["dies_once", "trial"] / "log.txt").read_text()
        assert "goes on from step" in log
    # The good method's numbers are those of a run without the others.
    alone = start("run", *options, "--backend", "serial", "--methods", "autoencoding", "--out", tmp_path / "alone")
    assert alone.wait() == 0, alone.output()
    assert _good_row(out) == _good_row(tmp_path / "alone")
    # --resume runs what was interrupted, --retry-failed what failed too.
    status = start("status", out, extra=faulty)
    assert status.wait() == 0
    for word in ("1 failed", "1 timed out", "bench run --resume", "bench run --retry-failed"):
        assert word in status.output()
    if backend == "ray":
        return  # what follows is not the backend's business
    before = rows["attempts"].to_dict()
    assert start("run", "--resume", "--out", out, extra=faulty).wait() == 1
    after = pd.read_csv(out / "rows.csv").set_index("method")["attempts"].to_dict()
    again = {name for name in after if after[name] > before[name]}
    assert again == {name for name, s in expected.items() if s in ("timed out", "killed")}


def test_what_failed_runs_again_when_asked(start: Start, faulty: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = [*TINY, "--fractions", "40", "--backend", "serial", "--methods", "raises,supervised"]
    assert start("run", *options, "--out", out, extra=faulty).wait() == 1
    command = start("run", "--retry-failed", "--out", out, extra=faulty)
    assert command.wait() == 1, command.output()
    rows = pd.read_csv(out / "rows.csv").set_index("method")
    assert rows["attempts"].to_dict() == {"raises": 2, "supervised": 1}
    # Mended code is another trial, which takes the place of the one that failed.
    source = tmp_path / "package" / "faulty.py"
    source.write_text(
        source.read_text().replace('raise KeyError("no <such> key")', "return super().loss(network, batch)")
    )
    command = start("run", "--resume", "--out", out, extra=faulty)
    assert command.wait() == 0, command.output()
    rows = pd.read_csv(out / "rows.csv").set_index("method")
    assert rows["attempts"].to_dict() == {"raises": 1, "supervised": 1}
    assert rows.loc["raises", "accuracy"] == rows.loc["supervised", "accuracy"]
    assert pd.read_csv(out / "leaderboard.csv")["complete"].all()
