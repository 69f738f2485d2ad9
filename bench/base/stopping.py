"""Requests to stop and time limits, as exceptions raised where nothing that is being written is lost."""

from __future__ import annotations

import faulthandler
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

MOVES_NO_NUMBER = True

_REQUESTS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(BaseException):
    """The process was asked to stop by a signal; no Exception, so that no method's code can catch it by chance."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number  # as shells count: 130 for SIGINT, 143 for SIGTERM


class TimedOut(BaseException):
    """What was done took longer than allowed."""


def stop(number: int) -> None:
    """The usual answer to a request: raise Stopped."""
    raise Stopped(number)


def process_is_ending() -> bool:
    """Whether the interpreter is being taken down around this thread, which then sees errors of nobody's making."""
    return not threading.main_thread().is_alive()


@contextmanager
def requests_to(handle: Callable[[int], None]) -> Iterator[None]:
    """Give the first request to stop to `handle`; a second one ends the process at once.

    Signals reach the main thread only: in another one this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _REQUESTS}
    heard = [number for number in _REQUESTS if before[number] is not signal.SIG_IGN]  # as under nohup

    def first(number: int, _frame: FrameType | None) -> None:
        for each in heard:
            signal.signal(each, signal.SIG_DFL)
        handle(number)

    for number in heard:
        signal.signal(number, first)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Whatever a library does to the handlers of requests, they are afterwards what they were."""
    before = {number: signal.getsignal(number) for number in _REQUESTS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimedOut after `seconds`, at the next line of Python; no limit in a thread other than the main one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def expire(_number: int, _frame: FrameType | None) -> None:
        raise TimedOut

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def process_time_limit(seconds: float, dump: Path) -> Iterator[None]:
    """End the process after `seconds`, whatever it does; the file `dump` then says where each thread stood."""
    with dump.open("w", encoding="utf-8") as file:
        faulthandler.dump_traceback_later(seconds, exit=True, file=file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            dump.unlink(missing_ok=True)
