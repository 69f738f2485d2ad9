"""Full disks, read-only folders, clocks that go back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
from conftest import TINY

from faults.conftest import SERIAL, SMALL, Start, assert_same, finished, go_on

MIB = 2**20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MiB of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}; tests/test_checkpoint.py fakes one")
    yield disk
    subprocess.run(["umount", "-l", disk], check=False)


def _fill(disk: Path, leave: int) -> Path:
    """Fill the disk up to the last `leave` bytes."""
    ballast = disk / "ballast"
    with ballast.open("ab") as file, suppress(OSError):  # the run writes meanwhile
        while shutil.disk_usage(disk).free > leave:
            file.write(bytes(2**16))
            file.flush()
    return ballast


@pytest.mark.parametrize(
    ("leave", "when"),
    [
        (MIB // 4, "before the data set"),
        (MIB // 4, "in the trials"),
        pytest.param(MIB // 4, "through Ray", marks=pytest.mark.long),
    ],
)
def test_a_full_disk_is_said_and_survived(leave: int, when: str, start: Start, small_disk: Path, whole: Path) -> None:
    """While the data set is written; while checkpoints, networks and rows are."""
    out = small_disk / "out"
    options = SMALL if when == "through Ray" else SERIAL
    if when == "before the data set":
        ballast = _fill(small_disk, leave)
        command = start("run", *options, "--out", out)
    else:
        command = start("run", *options, "--out", out)
        command.until(lambda: len(finished(out)) >= 2)
        ballast = _fill(small_disk, leave)
        while command.process.poll() is None:  # a trial that ends removes its checkpoints
            _fill(small_disk, leave)
            time.sleep(0.02)
    assert command.wait() == 2, command.output()
    last = command.output().strip().splitlines()[-1]
    assert "the disk is full" in last
    assert "Traceback" not in command.output()
    before = finished(out)
    ballast.unlink()
    go_on(start, out, options)
    assert all(finished(out)[key] == content for key, content in before.items())
    assert_same(out, whole)


def test_a_checkpoint_that_finds_no_room_ends_nothing(start: Start, small_disk: Path, whole: Path) -> None:
    """Room for the results, none for the checkpoints beside them."""
    out = small_disk / "out"
    command = start("run", *SERIAL, "--out", out)
    command.until(lambda: (out / "plan.json").exists())
    command.kill()
    # A folder in the place of each checkpoint's folder is a disk that takes no checkpoint.
    for key in json.loads((out / "plan.json").read_text()):
        home = out / "trials" / key
        home.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(home / "checkpoint", ignore_errors=True)
        (home / "checkpoint").touch()
    go_on(start, out, SERIAL)
    assert_same(out, whole)
    assert any("no checkpoint" in path.read_text() for path in out.glob("trials/*/log.txt"))


def test_a_read_only_folder_is_one_line(start: Start, small_disk: Path, whole: Path) -> None:
    out = small_disk / "out"
    shutil.copytree(whole, out)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for arguments in (["run", "--resume", "--out", out], ["report", out], ["run", *TINY, "--out", small_disk / "new"]):
        command = start(*arguments)
        assert command.wait() == 2, command.output()
        assert "the disk is read-only" in command.output()
        assert len(command.output().strip().splitlines()) == 1
    status = start("status", out)  # reads only
    assert status.wait() == 0
    assert "All done." in status.output()


# A site module that sets the clock back by a day at every look at it.
CLOCK = """
import time
_time, _now = time.time, [time.time()]
def back():
    _now[0] -= 86400
    return _now[0]
time.time = back
time.time_ns = lambda: int(back() * 1e9)
_gmtime, _localtime, _strftime = time.gmtime, time.localtime, time.strftime
time.gmtime = lambda seconds=None: _gmtime(back() % 2e9 if seconds is None else seconds)
time.strftime = lambda form, when=None: _strftime(form, _gmtime(back() % 2e9) if when is None else when)
"""


def test_a_clock_that_goes_back_changes_no_number(start: Start, tmp_path: Path, whole: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(CLOCK)
    command = start("run", *SERIAL, "--out", tmp_path / "out", extra={"PYTHONPATH": str(tmp_path / "site")})
    assert command.wait() == 0, command.output()
    assert_same(tmp_path / "out", whole)
    rows = pd.read_csv(tmp_path / "out" / "rows.csv")
    assert (rows[["training_seconds", "seconds"]] > 0).all(axis=None)
    log = (tmp_path / "out" / "log.txt").read_text()
    assert len({line[:8] for line in log.splitlines()}) > 1


def test_the_clock_of_that_test_goes_back(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(CLOCK)
    asked = "import time; print(time.time() - time.time())"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(86400)
    assert time.time() < 4e9
