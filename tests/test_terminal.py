"""Odd terminals, locales and names: printed somehow, or refused in one line before any work."""

from __future__ import annotations

import os
import subprocess
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import BENCH, TINY

from bench import Console, PredictRequest, RunRequest, predict, run
from bench.base import console as talk
from bench.base.errors import BenchError
from bench.commands.folder import claim
from bench.files import sheets, tables, volume
from bench.simulation.fetch import fetch

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}


def _shell(line: str, folder: Path, extra: dict[str, str] | None = None) -> tuple[int, str, str]:
    """A line of bash: (exit code, standard output, standard error)."""
    done = subprocess.run(
        ["bash", "-c", line.replace("bench", str(BENCH))],
        capture_output=True,
        cwd=folder,
        env=os.environ | (extra or {}),
        check=False,
    )
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


@pytest.mark.parametrize(
    ("line", "codes", "said"),
    [
        ("bench list methods | true; exit ${PIPESTATUS[0]}", (0, 1, 141), ""),  # 0: it was quicker than its reader
        ("bench nonsense 2>&1 | true; exit ${PIPESTATUS[0]}", (2, 141), ""),
        ("bench list methods >&-", (0,), ""),
        ("bench list methods <&- >&- 2>&-", (0,), ""),
        ("bench nonsense 2>&-", (2,), ""),
        ("bench list methods > /dev/full", (2,), "bench: the disk is full"),
    ],
)
def test_a_reader_that_is_gone_is_no_crash(line: str, codes: tuple[int, ...], said: str, tmp_path: Path) -> None:
    code, _, err = _shell(line, tmp_path)
    assert code in codes
    assert err.startswith(said)
    assert err.count("\n") == (said != "")


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "data extract --table p.csv --tomograms t.mrc",
        "data pick t.mrc --diameter-in-angstroms 40",
        "data match t.mrc --template t.mrc",
        "data simulate --structures .",
        "data simulate-tomogram --structures .",
        "predict . --table p.csv",
    ],
)
def test_a_name_that_no_line_can_hold_is_refused_before_any_work(command: str, tmp_path: Path) -> None:
    volume.write(tmp_path / "t.mrc", np.random.default_rng(0).normal(size=(16, 16, 16)).astype("f4"), 10.0)
    for name, said in ((r"$'a\nb.star'", "holds a line break"), (r"$'a\xff.star'", "holds letters that are not UTF-8")):
        code, out, err = _shell(f"bench {command} --out {name}", tmp_path)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert said in err
    assert [path.name for path in tmp_path.iterdir()] == ["t.mrc"]


@pytest.mark.parametrize("name", ["a\nb", "a\0b", os.fsdecode(b"a\xff"), "a\u2028b"])
def test_a_script_s_out_is_held_to_the_same(name: str, tmp_path: Path) -> None:
    out = tmp_path / f"{name}.star"
    calls: list[Callable[[], object]] = [
        lambda: run([RunRequest(out=str(out))], Console()),
        lambda: predict(PredictRequest(tmp_path, "p.star", out), Console()),
        lambda: claim(out, {}),  # of extract and simulate
        lambda: tables.check_writable(out),  # of pick and match
        lambda: fetch(["1FNT"], out, print),
    ]
    for call in calls:
        with pytest.raises(BenchError, match=r"holds (a line break or another|letters that are not)") as caught:
            call()
        assert str(caught.value).isprintable()
    assert not list(tmp_path.iterdir())


def test_a_file_whose_name_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    box = np.random.default_rng(0).normal(size=(8, 8, 8)).astype("f4")
    volume.write(tmp_path / os.fsdecode(b"\xff.mrc"), box, 10.0)
    (tmp_path / "p.csv").write_text("tomogram,x,y,z\nt,4,4,4\n", encoding="utf-8")
    code, _, err = _shell("bench data extract --table p.csv --tomograms . --box 4 --out set", tmp_path)
    assert (code, err.count("\n"), (tmp_path / "set").exists()) == (2, 1, False)
    assert "not UTF-8" in err


def test_a_run_where_nothing_but_ascii_is_known(tmp_path: Path) -> None:
    options = " ".join([*TINY, "--methods", "supervised", "--fractions", "20", "--backend", "serial"])
    code, out, err = _shell(f"bench run {options} --out runs", tmp_path, ASCII)
    assert (code, err) == (0, "")
    assert r"phantoms 8\xb3" in out
    assert "8³" in (tmp_path / "runs/rows.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["日本", r"a $\foo{$ b", "x_{", "🧬"])
def test_any_name_is_drawn_without_a_word(name: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sheets.slices(
            [(name, [np.eye(8, dtype=np.float32).reshape(1, 8, 8).repeat(8, 0)])], [name], name, tmp_path / "a.png"
        )
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_a_long_step_speaks_until_it_ends(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(talk, "LOG_INTERVAL_IN_SECONDS", 0.1)
    threads = threading.active_count()
    with Console().working("Imaging …"):
        time.sleep(0.5)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 3
    assert all(line.startswith("Imaging …") for line in lines)
    assert threading.active_count() == threads
