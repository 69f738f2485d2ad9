"""Signals and time limits: heard once, in time, and by nobody else afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bench.base.stopping import Stopped, TimedOut, process_time_limit, requests_to, stop, time_limit


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_request_is_raised_with_the_code_that_shells_give_it(number: int, code: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as caught, requests_to(stop):  # noqa: PT012
        os.kill(os.getpid(), number)
        time.sleep(1)
    assert caught.value.exit_code == code
    assert signal.getsignal(number) is before


def test_no_exception_handler_of_a_method_catches_it() -> None:
    assert not issubclass(Stopped, Exception)
    assert not issubclass(TimedOut, Exception)


def test_a_second_request_ends_the_process() -> None:
    program = (
        "import os, signal\nfrom bench.base.stopping import requests_to\n"
        "with requests_to(lambda number: print('heard', flush=True)):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n    os.kill(os.getpid(), signal.SIGINT)\n    print('deaf')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "heard\n"
    assert done.returncode == -signal.SIGINT


def test_what_is_ignored_stays_ignored() -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with requests_to(stop):
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_limit_ends_what_takes_too_long_and_nothing_else() -> None:
    with pytest.raises(TimedOut), time_limit(0.05):
        time.sleep(10)
    with time_limit(0.05):
        pass
    time.sleep(0.1)  # the alarm of a limit that was kept rings no more


def test_in_a_thread_the_process_ends_and_says_where_it_stood(tmp_path: Path) -> None:
    program = (
        "import sys, threading, time\nfrom pathlib import Path\nfrom bench.base.stopping import process_time_limit\n"
        "def stuck():\n    with process_time_limit(0.2, Path(sys.argv[1])):\n        time.sleep(100)\n"
        "threading.Thread(target=stuck).start()\n"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "dump"], check=False)
    assert done.returncode == 1
    assert time.monotonic() - began < 50
    assert "in stuck" in (tmp_path / "dump").read_text()


def test_a_process_that_keeps_its_limit_lives_on(tmp_path: Path) -> None:
    def quick() -> None:
        with process_time_limit(0.1, tmp_path / "dump"):
            pass

    thread = threading.Thread(target=quick)
    thread.start()
    thread.join()
    time.sleep(0.2)
    assert not (tmp_path / "dump").exists()
