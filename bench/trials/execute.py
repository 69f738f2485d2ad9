"""Trials → their records in the store, through a backend; what has ended before is left as it is."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.base.console import Console, duration
from bench.learning.protocol import PROTOCOLS
from bench.trials.backends import Backend, Job
from bench.trials.run import Estimate, scoring_code
from bench.trials.store import Store
from bench.trials.trial import Status, Trial

OVERHEAD_IN_SECONDS = 0.5  # of a trial beside its training: reading, scoring, writing
# A trial hangs, so says the usual limit, when it has taken this many times what it should, and half an hour.
SLOWER_THAN_ESTIMATED, LEAST_LIMIT_IN_SECONDS = 20, 1800.0
UNKNOWN_LIMIT_IN_SECONDS = 24 * 3600.0  # of a trial that cannot be estimated


@dataclass(frozen=True)
class Pending:
    """What is to be run of some trials, and why the others are not."""

    trials: tuple[Trial, ...]
    finished: int  # trained and scored before
    to_score: int  # trained before, scored by other code: among `trials`
    failed: int  # before

    @staticmethod
    def of(trials: Sequence[Trial], store: Store, retry_failed: bool = False) -> Pending:
        """What the store lacks of these trials; what failed runs again only if asked for, or where its code changed."""
        records = {trial.key(): store.read(trial.key()) for trial in trials}
        status = {key: Status.MISSING if r is None else r.status for key, r in records.items()}
        scored_by = scoring_code()
        stale = {
            key
            for key, r in records.items()
            if r is not None and r.status is Status.DONE and r.result.scored_by != scored_by
        }
        ended = {Status.DONE} if retry_failed else {Status.DONE, Status.FAILED}
        pending = [trial for trial in trials if status[trial.key()] not in ended or trial.key() in stale]
        done = sum(s is Status.DONE for s in status.values())
        failed = sum(s is Status.FAILED for s in status.values())
        return Pending(tuple(pending), done - len(stale), len(stale), failed)

    def summary(self, retry_failed: bool) -> str:
        """For a person; empty where everything is to be run for the first time."""
        parts = [f"{self.finished} finished before, {len(self.trials)} to run"] if self.finished else []
        if self.to_score:
            parts.append(f"{self.to_score} of them trained before, to be scored again by changed code")
        if self.failed:
            parts.append(f"{self.failed} failed before" + ("" if retry_failed else ", left so (--retry-failed)"))
        return "; ".join(parts)


def execute(
    trials: Sequence[Trial],
    data_folder: Path,
    backend: Backend,
    store: Store,
    console: Console,
    slots: int = 1,
    limit_in_seconds: float | None = None,
) -> None:
    """Run trials to their end, whatever it is; each leaves a record in the store.

    data_folder: of their volumes; slots: how many run at a time; limit_in_seconds: of one, by default from its
    estimate. The backend is entered already. Raises Stopped where a signal asks for that.
    """
    for trial in trials:
        if store.status(trial) is Status.DONE:  # a kill may have come before this
            shutil.rmtree(store.checkpoints(trial), ignore_errors=True)
    to_train = [trial for trial in trials if store.status(trial) is not Status.DONE]
    costs = costs_of(to_train, data_folder, backend, console) if to_train else {}
    costs |= {trial.key(): SCORING for trial in trials if trial.key() not in costs}
    total = sum(costs[trial.key()].alone for trial in trials)
    console.say(f"{about(to_train, total / slots)} of training." if to_train else "Nothing to train.")
    # The shared autoencoders first, then the long ones, for an even end.
    ordered = sorted(trials, key=lambda trial: (trial.labelled_percent is not None, -costs[trial.key()].alone))
    jobs = []
    for trial in ordered:
        limit = costs[trial.key()].usual_limit() if limit_in_seconds is None else limit_in_seconds
        jobs.append(Job(trial, data_folder, limit))
        store.dump(trial).unlink(missing_ok=True)
    done = 0.0
    with console.progress("Training" if to_train else "Scoring", total) as meter:

        def on_done(trial: Trial) -> None:
            nonlocal done
            done += costs[trial.key()].alone
            meter.to(done, f"{trial.label()}: {_outcome(store, trial)}")

        backend.run(jobs, on_done)


def about(trials: Sequence[Trial], seconds: float) -> str:
    """An estimate in words: where a protocol may stop early, it is the most that these trials take."""
    early = any(PROTOCOLS[trial.protocol].patience is not None for trial in trials)
    return f"{'At most' if early else 'About'} {duration(seconds)}"


def _outcome(store: Store, trial: Trial) -> str:
    record = store.read(trial.key())
    if record is None or record.result.scores.accuracy is None:
        return str(Status.MISSING if record is None else record.status)
    return f"{100 * record.result.scores.accuracy:.1f} %"


class Cost(NamedTuple):
    """Estimated seconds of a trial."""

    alone: float  # of what it trains itself, if trials run in the order of `costs_of`
    with_shared: float | None  # if it trains or waits for all that it shares; None where nobody knows

    def usual_limit(self) -> float:
        """Seconds beyond which the trial is taken to hang."""
        if self.with_shared is None:
            return UNKNOWN_LIMIT_IN_SECONDS
        return max(LEAST_LIMIT_IN_SECONDS, SLOWER_THAN_ESTIMATED * self.with_shared)


SCORING = Cost(OVERHEAD_IN_SECONDS, OVERHEAD_IN_SECONDS)  # of a trial that was trained before


def costs_of(trials: Sequence[Trial], data_folder: Path, backend: Backend, console: Console) -> dict[str, Cost]:
    """The cost of each trial, by its key: one rehearsal for each protocol, views and method.

    data_folder: of their volumes; the backend is entered already.
    """
    paid: set[tuple[str, str, str, int]] = set()
    with console.working("Timing a few steps of each method …"):
        measured = _measured(trials, data_folder, backend, console)
    costs = {}
    for trial in _most_labels_first(trials):
        estimate = measured[_kind(trial)]
        if estimate is None:
            costs[trial.key()] = Cost(OVERHEAD_IN_SECONDS, None)
            continue
        seconds = estimate.own
        for part, shared_seconds in estimate.shared.items():
            once = (trial.protocol, trial.views, part, trial.seed)
            if once not in paid:
                paid.add(once)
                seconds += shared_seconds
        with_shared = estimate.own + sum(estimate.shared.values()) + OVERHEAD_IN_SECONDS
        costs[trial.key()] = Cost(seconds + OVERHEAD_IN_SECONDS, with_shared)
    return costs


def _measured(
    trials: Sequence[Trial], data_folder: Path, backend: Backend, console: Console
) -> dict[tuple[str, str, str], Estimate | None]:
    found: dict[tuple[str, str, str], Estimate | None] = {}
    for trial in _most_labels_first(trials):
        if _kind(trial) not in found:
            found[_kind(trial)] = _rehearsed(trial, data_folder, backend, console)
    return found


def _kind(trial: Trial) -> tuple[str, str, str]:
    """What trials of about the same cost share."""
    return trial.protocol, trial.views, trial.variant


def _most_labels_first(trials: Sequence[Trial]) -> list[Trial]:
    return sorted(trials, key=lambda t: -math.inf if t.labelled_percent is None else -t.labelled_percent)


def _rehearsed(trial: Trial, data_folder: Path, backend: Backend, console: Console) -> Estimate | None:
    try:
        estimate = backend.rehearse(trial, data_folder)
    except Exception as error:  # it will fail again in its trial, and be a row with its status there
        console.note(f"rehearsal of {trial.label()} failed: {str(error).strip().rpartition(chr(10))[2]}")
        return Estimate(0.0, {})
    if estimate is None:
        console.say(f"{trial.variant} has a training loop of its own: its time is not known before.")
    return estimate


def slots_of(cpus: int, cpus_per_trial: int, gpus_per_trial: float) -> int:
    """How many trials run at a time on a machine with so many cores."""
    by_cpu = cpus // cpus_per_trial
    by_gpu = math.floor(1 / gpus_per_trial) if gpus_per_trial else by_cpu
    return max(1, min(by_cpu, by_gpu))
