"""What every backend shares: a trial to run, what it may use, and how it is run."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, Self

from bench.base.stopping import TimedOut, process_is_ending, process_time_limit, time_limit
from bench.learning.checkpoint import Checkpoints
from bench.trials.store import Store
from bench.trials.trial import Result, Runtime, Trial, run

OnDone = Callable[[Trial], None]
REHEARSAL_LIMIT_IN_SECONDS = 300.0
TOO_LONG = "took longer than it may; if it does not hang, raise --time-limit"


@dataclass(frozen=True)
class Job:
    """A trial, and how long it may take."""

    trial: Trial
    limit_in_seconds: float


@dataclass(frozen=True)
class Resources:
    """What a run may use."""

    device: str  # "cpu" or "cuda"
    cpus_per_trial: int
    gpus_per_trial: float
    address: str | None = None  # of a Ray cluster; None: this machine


def execute(job: Job, runtime: Runtime, folder: Path, in_worker: bool = False) -> str:
    """Run one trial and write its folder; returns its status. Both backends end here.

    in_worker: this process is the trial's own, and ends where the trial takes too long.
    """
    store, trial, limit = Store(folder), job.trial, job.limit_in_seconds
    if store.status(trial) == "done":  # by a process that died before it could say so
        return "done"
    dump = store.dump(trial)
    if said := timed_out(dump):  # what the attempt before this one left
        result = Result("timed out", TOO_LONG, said)
    else:
        store.begin(trial)
        note = partial(store.note, trial)
        checkpoints = Checkpoints(store.checkpoints(trial), runtime.checkpoint_interval_in_seconds, note)
        try:
            with process_time_limit(limit, dump) if in_worker else time_limit(limit):
                result = run(trial, runtime, checkpoints)
        except TimedOut:
            result = Result("timed out", TOO_LONG, traceback.format_exc())
    if result.status == "failed" and process_is_ending():  # the run was stopped; the trial did not fail
        return "missing"
    store.write(trial, result, runtime.device)
    return result.status


def timed_out(dump: Path) -> str:
    """Where a process stood that took too long, once; empty where none did."""
    said = dump.read_text(errors="replace") if dump.exists() else ""
    dump.unlink(missing_ok=True)
    return said


class Backend(Protocol):
    """Where trials run; a context manager, which starts it and ends it."""

    def __enter__(self) -> Self:
        """Start."""

    def __exit__(self, *error: object) -> None:
        """End, and leave no process behind."""

    def rehearse(self, trial: Trial) -> tuple[float, dict[str, float]]:
        """`trial.rehearse` there; raises some Exception where that fails, crashes or hangs."""

    def run(self, jobs: list[Job], on_done: OnDone) -> None:
        """Run trials to their end, whatever it is; raises OSError where results cannot be written."""
