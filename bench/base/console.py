"""How far a run is and how long it will take: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from rich.console import Console as Terminal
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from bench.base.progress import Progress

MOVES_NO_NUMBER = True

LOG_INTERVAL_IN_SECONDS = 20.0


def duration(seconds: float) -> str:
    """`75` → "1 min 15 s"; never more than two units."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


class Console:
    """Says what happens: to the terminal, and with times to a log file where one is named."""

    def __init__(self) -> None:
        self.terminal = Terminal(highlight=False, soft_wrap=True)
        self.log: Path | None = None

    def say(self, text: str) -> None:
        """One or more lines, to both."""
        self.terminal.print(text, markup=False)
        self.note(text)

    def note(self, text: str) -> None:
        """One or more lines, to the log alone."""
        if self.log is not None:
            with self.log.open("a", encoding="utf-8", errors="backslashreplace") as handle:
                handle.write(f"{time.strftime('%H:%M:%S')} {text}\n")

    def progress(self, what: str, total: float) -> Meter:
        """A meter for work of `total` units; use it as a context manager."""
        return Meter(self, what, total)

    @contextmanager
    def counted(self, what: str) -> Iterator[Progress]:
        """A meter for work that is counted: what to call with (done, of)."""
        with self.progress(what, 1.0) as meter:
            yield lambda done, of: meter.to(done / of)

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        """For one long step that cannot be counted: a spinner on a terminal, else a line now and then."""
        self.note(what)
        if self.terminal.is_terminal:
            with self.terminal.status(what):
                yield
            return
        self.terminal.print(what, markup=False)
        began, over = time.monotonic(), threading.Event()

        def remind() -> None:
            while not over.wait(LOG_INTERVAL_IN_SECONDS / 2):
                self.say(f"{what} {duration(time.monotonic() - began)}")

        reminder = threading.Thread(target=remind, daemon=True)
        reminder.start()
        try:
            yield
        finally:
            over.set()
            reminder.join()


class Meter:
    """One piece of work: a bar where there is a terminal, else a line now and then."""

    def __init__(self, console: Console, what: str, total: float) -> None:
        self.console = console
        self.what = what
        self.total = max(total, 1e-9)
        self.done = 0.0
        self.began = self.last_line = time.monotonic()
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %"),
        )
        self.bar = Bar(*columns, TextColumn("{task.fields[left]}"), TimeElapsedColumn(), console=console.terminal)
        self.task = self.bar.add_task(what, total=self.total, left="")

    def __enter__(self) -> Meter:
        if self.console.terminal.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self.console.terminal.is_terminal:
            self.bar.stop()

    def to(self, done: float, detail: str = "") -> None:
        """`done` of `total` units are behind us; `detail` is worth a line of its own."""
        self.done = done
        now = time.monotonic()
        left = (now - self.began) * (self.total - done) / done if done else 0.0
        remaining = f"{duration(left)} left" if done < self.total else "done"
        self.bar.update(self.task, completed=done, left=remaining)
        if detail or done >= self.total or now - self.last_line > LOG_INTERVAL_IN_SECONDS:
            self.last_line = now
            text = f"{self.what}: {100 * done / self.total:.0f} %, {remaining}" + (f" · {detail}" if detail else "")
            self.console.note(text)
            if not self.console.terminal.is_terminal:
                self.console.terminal.print(text, markup=False)
