"""What every backend shares: a trial to run, what it may use, and how it is run."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self

from bench.base.stopping import TimedOut, process_is_ending, process_time_limit, time_limit
from bench.learning.checkpoint import Checkpoints
from bench.trials.run import Estimate, run, score_again, scoring_code
from bench.trials.store import Store
from bench.trials.trial import Result, Runtime, Status, Trial

OnDone = Callable[[Trial], None]
REHEARSAL_LIMIT_IN_SECONDS = 300.0
TOO_LONG = "took longer than it may; if it does not hang, raise --time-limit"


@dataclass(frozen=True)
class Job:
    """A trial, where its volumes lie, and how long it may take."""

    trial: Trial
    data_folder: Path
    limit_in_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` reads: plain values, which Ray hands on."""
        return asdict(self)

    @staticmethod
    def from_dict(job: dict[str, Any]) -> Job:
        """The inverse of `to_dict`."""
        return Job(Trial.from_dict(job["trial"]), Path(job["data_folder"]), job["limit_in_seconds"])


@dataclass(frozen=True)
class Resources:
    """What a run may use."""

    device: str  # "cpu" or "cuda"
    cpus_per_trial: int
    gpus_per_trial: float
    address: str | None = None  # of a Ray cluster; None: this machine


def run_job(job: Job, runtime: Runtime, folder: Path, in_worker: bool = False) -> Status:
    """Run one trial and write its folder; returns how it ended. Both backends end here.

    One that is trained already is left as it is, or scored again where that code has changed.
    in_worker: this process is the trial's own, and ends where the trial takes too long.
    """
    store, trial, limit = Store(folder), job.trial, job.limit_in_seconds
    if scored_by_today(store, job, runtime):
        return Status.DONE
    dump = store.dump(trial)
    if said := timed_out(dump):  # what the attempt before this one left
        result = Result(Status.TIMED_OUT, TOO_LONG, said)
    else:
        store.begin(trial)
        note = partial(store.note, trial)
        checkpoints = Checkpoints(store.checkpoints(trial), runtime.checkpoint_interval_in_seconds, note)
        try:
            with process_time_limit(limit, dump) if in_worker else time_limit(limit):
                result = run(trial, job.data_folder, runtime, checkpoints)
        except TimedOut:
            result = Result(Status.TIMED_OUT, TOO_LONG, traceback.format_exc())
    if result.status is Status.FAILED and process_is_ending():  # the run was stopped; the trial did not fail
        return Status.MISSING
    store.write(trial, result, runtime.device)
    return result.status


def scored_by_today(store: Store, job: Job, runtime: Runtime) -> bool:
    """Whether the trial is trained and scored by today's code; one that is trained alone is scored first."""
    record = store.read(job.trial.key())
    if record is None or record.status is not Status.DONE:
        return False
    if record.result.scored_by == scoring_code():
        return True
    weights = store.weights_or_none(job.trial.key())
    if weights is None:
        store.note(job.trial, "its weights are not there, or not what it wrote; trained again")
        return False
    result = score_again(job.trial, job.data_folder, runtime, record.result, weights)
    if result.status is not Status.DONE:
        store.note(job.trial, f"cannot be scored from its weights ({result.error}); trained again")
        return False
    store.write(job.trial, result, record.device or runtime.device)
    return True


def timed_out(dump: Path) -> str:
    """Where a process stood that took too long, once; empty where none did."""
    said = dump.read_text(encoding="utf-8", errors="replace") if dump.exists() else ""
    dump.unlink(missing_ok=True)
    return said


class Backend(Protocol):
    """Where trials run; a context manager, which starts it and ends it."""

    def __enter__(self) -> Self:
        """Start."""

    def __exit__(self, *error: object) -> None:
        """End, and leave no process behind."""

    def rehearse(self, trial: Trial, data_folder: Path) -> Estimate | None:
        """`run.rehearse` there; raises some Exception where that fails, crashes or hangs."""

    def run(self, jobs: list[Job], on_done: OnDone) -> None:
        """Run trials to their end, whatever it is; raises OSError where results cannot be written."""
