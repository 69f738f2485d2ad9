"""Ends what a run leaves of Ray on this machine, also where the run itself was killed; Linux only.

Two of Ray's processes wait for a minute after the run that started them has died. So a small process waits beside each
run, until the pipe between them closes, and then ends every process that holds a file of that run's Ray session.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

MOVES_NO_NUMBER = True


class Sweeper:
    """The process beside a run; start it before Ray."""

    def __init__(self) -> None:
        # Isolated and without site-packages: it starts at once. A session of its own: nobody's Ctrl-C reaches it.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    def sweep(self) -> None:
        """Let it do its work now; returns when that is done."""
        self._process.communicate()


def _of_session(driver: int) -> list[int]:
    """The processes that hold a file of the Ray session which process `driver` began, without that process."""
    session = re.compile(rf"/session_[\d_-]+_{driver}/")
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            held = any(session.search(str(file.readlink())) for file in (process / "fd").iterdir())
        except OSError:  # another user's, or ended meanwhile
            continue
        if held and int(process.name) not in (driver, os.getpid()):
            found.append(int(process.name))
    return found


def _main(driver: int) -> None:
    sys.stdin.buffer.read()  # until the run closes the pipe, or the kernel does it for one that died
    for _ in range(50):  # one that waits for a dead disk cannot be ended
        found = _of_session(driver)
        if not found:
            return
        for process in found:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.2)


if __name__ == "__main__":
    _main(int(sys.argv[1]))
