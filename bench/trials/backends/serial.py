"""One trial after the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.base.stopping import TimedOut, time_limit
from bench.trials.backends.jobs import REHEARSAL_LIMIT_IN_SECONDS, Job, OnDone, run_job
from bench.trials.run import Estimate, rehearse
from bench.trials.store import Store
from bench.trials.trial import Runtime, Trial


@dataclass
class Serial:
    """One trial after the other, in this process; a method that crashes or exhausts the memory ends it."""

    runtime: Runtime
    store: Store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def rehearse(self, trial: Trial, data_folder: Path) -> Estimate | None:
        """Within a time limit that Python code cannot escape, but foreign code can."""
        try:
            with time_limit(REHEARSAL_LIMIT_IN_SECONDS):
                return rehearse(trial, data_folder, self.runtime)
        except (TimedOut, SystemExit) as error:
            raise RuntimeError(repr(error)) from error

    def run(self, jobs: list[Job], on_done: OnDone) -> None:
        """In the order given."""
        for job in jobs:
            run_job(job, self.runtime, self.store.folder)
            on_done(job.trial)
