"""SIGKILL, SIGINT, SIGTERM at any moment: what was finished stays, what was not goes on, the numbers are the same."""

from __future__ import annotations

import os
import random
import signal
import time
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from bench.trials.store import Store
from faults.conftest import SERIAL, SMALL, Start, assert_same, finished, go_on


def _killed_and_resumed(
    start: Start, out: Path, options: list[str], whole: Path, moment_in_seconds: float, after: int = 0
) -> str:
    """Kill a run's driver at a moment after so many trials have finished, go on; returns what had been reached."""
    command = start("run", *options, "--out", out)
    command.until(lambda: len(finished(out)) >= after)
    time.sleep(moment_in_seconds)
    command.kill()
    before, begun = finished(out), len(list(out.glob("trials/*/log.txt")))
    go_on(start, out, options)
    after = finished(out)
    assert all(after[key] == content for key, content in before.items()), "a finished trial ran again"
    assert_same(out, whole)
    logs = [path.read_text() for path in out.glob("trials/*/log.txt")]
    return f"{len(before)} finished, {begun} begun, {sum('goes on' in log for log in logs)} went on from a checkpoint"


@pytest.mark.parametrize(
    "moment",
    ["training", pytest.param("Ray begins", marks=pytest.mark.long), pytest.param("timing", marks=pytest.mark.long)],
)
def test_a_killed_driver_loses_nothing_and_leaves_no_process(
    moment: str, start: Start, tmp_path: Path, whole: Path
) -> None:
    """Ray's agents would live for another minute."""
    out = tmp_path / "out"
    command = start("run", *SMALL, "--out", out)
    reached = {
        "Ray begins": lambda: any("gcs_server" in command.name_of(pid) for pid in command.family()),
        "training": lambda: finished(out) and any(out.glob("trials/*/checkpoint/*")),
        "timing": lambda: "Timing" in command.output(),
    }
    command.until(reached[moment])
    assert any(command.name_of(pid) == "ray::RuntimeEnvAgent" for pid in command.family()) or moment != "training"
    command.kill()
    killed = time.monotonic()
    while command.family() and time.monotonic() - killed < 20:
        time.sleep(0.2)
    assert [command.name_of(pid) for pid in command.family()] == []
    before = finished(out)
    assert before or moment != "training"
    go_on(start, out, SMALL, "--backend", "serial")
    assert all(finished(out)[key] == content for key, content in before.items())
    assert_same(out, whole)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_twenty_random_moments(start: Start, tmp_path: Path) -> None:
    drawn, options = random.Random(0), [*SMALL, "--epochs", "40"]
    began = time.monotonic()
    assert start("run", *options, "--out", tmp_path / "whole").wait() == 0
    length = time.monotonic() - began
    for i in range(20):
        moment = length * (i + drawn.random()) / 20  # one in each twentieth of the run
        reached = _killed_and_resumed(start, tmp_path / f"out{i}", options, tmp_path / "whole", moment)
        print(f"SIGKILL {i + 1} at {moment:.1f} of {length:.1f} s: {reached}; rows identical", flush=True)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_kills_that_find_finished_trials(start: Start, tmp_path: Path, whole: Path) -> None:
    """After each of the seven trials but the last, where there is something to lose."""
    drawn = random.Random(1)
    for n in range(1, 7):
        moment = drawn.random()
        reached = _killed_and_resumed(start, tmp_path / f"out{n}", SMALL, whole, moment, after=n)
        print(f"SIGKILL {moment:.1f} s after {n} of 7: {reached}; rows identical", flush=True)


def _attempts(out: Path) -> int:
    return sum(path.read_text().count(" begun ") for path in out.glob("trials/*/log.txt"))


def _more_than(out: Path, begun: int) -> bool:
    return _attempts(out) > begun


def test_a_run_killed_again_and_again_still_arrives(start: Start, tmp_path: Path, whole: Path) -> None:
    """In one process, where each kill falls into the training itself; a trial goes on from where it was."""
    out = tmp_path / "out"
    options = SERIAL
    for kills in range(4):
        command = start("run", *(["--resume"] if (out / "request.json").is_file() else options), "--out", out)
        begun = _attempts(out)
        command.until(partial(_more_than, out, begun))
        time.sleep(0.3 * kills)
        command.kill()
    go_on(start, out, options)
    assert_same(out, whole)
    logs = [path.read_text() for path in out.glob("trials/*/log.txt")]
    assert sum("goes on from step" in log for log in logs) >= 1
    attempts = pd.read_csv(out / "rows.csv")["attempts"]
    assert attempts.max() > 1
    assert not list(out.glob("trials/*/checkpoint"))


def test_a_killed_worker_is_tried_again_and_counted(start: Start, tmp_path: Path, whole: Path) -> None:
    out = tmp_path / "out"
    command = start("run", *SMALL, "--out", out)
    command.until(lambda: len(list(out.glob("trials/*/checkpoint/*"))) > 0)
    workers = [pid for pid in command.family() if "ray::" in command.name_of(pid) and "Impl" in command.name_of(pid)]
    assert workers
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    assert command.wait() == 0, command.output()
    assert_same(out, whole)
    rows = pd.read_csv(out / "rows.csv")
    assert set(rows["attempts"]) == {1, 2}
    assert (rows["attempts"] == 2).sum() <= len(workers)


@pytest.mark.parametrize(
    ("daemon", "moment"),
    [
        ("raylet", "training"),
        pytest.param("raylet", "timing", marks=pytest.mark.long),
        pytest.param("gcs_server", "training", marks=pytest.mark.long),
    ],
)
def test_ray_itself_is_killed(daemon: str, moment: str, start: Start, tmp_path: Path, whole: Path) -> None:
    """Left alone the driver would wait for ever, or be ended without a word; the run begins Ray anew and goes on."""
    out = tmp_path / "out"
    command = start("run", *SMALL, "--out", out)
    begun = {"timing": lambda: "Timing" in command.output(), "training": lambda: any(out.glob("trials/*/checkpoint/*"))}
    command.until(begun[moment])
    (pid,) = (pid for pid in command.family() if command.name_of(pid).partition(" ")[0].endswith(f"/{daemon}"))
    os.kill(pid, signal.SIGKILL)
    assert command.wait() == 0, command.output()
    assert_same(out, whole)
    time.sleep(2)
    assert command.family() == []


@pytest.mark.parametrize(
    ("backend", "name", "code"),
    [
        ("ray", "SIGTERM", 143),
        ("serial", "SIGINT", 130),
        pytest.param("ray", "SIGINT", 130, marks=pytest.mark.long),
        pytest.param("serial", "SIGTERM", 143, marks=pytest.mark.long),
    ],
)
def test_a_request_to_stop_is_heeded(
    backend: str, name: str, code: int, start: Start, tmp_path: Path, whole: Path
) -> None:
    out = tmp_path / "out"
    command = start("run", *SMALL, "--backend", backend, "--out", out)
    command.until(lambda: len(finished(out)) >= 1)
    command.process.send_signal(getattr(signal, name))
    asked = time.monotonic()
    assert command.wait(60) == code, command.output()
    assert time.monotonic() - asked < 30
    assert f"bench run --resume --out {out}" in command.output()
    assert f"stopped by {name}" in command.output()
    assert "Traceback" not in command.output()
    time.sleep(2)
    assert command.family() == []
    rows = pd.read_csv(out / "rows.csv")
    assert {"done", "missing"} == set(rows["status"])
    before = finished(out)
    go_on(start, out, SMALL, "--backend", "serial")
    assert all(finished(out)[key] == content for key, content in before.items())
    assert_same(out, whole)


def test_a_request_to_stop_is_heeded_while_methods_are_timed(start: Start, tmp_path: Path) -> None:
    """Ray has handlers of its own, and swallows what is raised while one waits for it."""
    out = tmp_path / "out"
    command = start("run", *SMALL, "--out", out)
    command.until(lambda: "Timing" in command.output())
    time.sleep(1)
    command.process.send_signal(signal.SIGTERM)
    assert command.wait(60) == 143, command.output()
    assert f"bench run --resume --out {out}" in command.output()
    assert "Traceback" not in command.output()


def test_a_second_run_waits_for_nobody_and_harms_nobody(start: Start, tmp_path: Path, whole: Path) -> None:
    out = tmp_path / "out"
    first, second = (start("run", *SERIAL, "--out", out) for _ in range(2))
    codes = [first.wait(), second.wait()]
    assert sorted(codes) == [0, 2]
    refused = (first, second)[codes.index(2)]
    assert "another bench run is at work here" in refused.output()
    assert_same(out, whole)
    assert set(pd.read_csv(out / "rows.csv")["attempts"]) == {1}
    assert not Store(out).busy()
