"""`bench run`: requests → plans → data → trials → tables and pictures."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench import page
from bench.base.cache import Cache
from bench.base.console import Console, duration
from bench.base.errors import BenchError
from bench.base.machine import usable_cpus
from bench.base.stopping import Stopped
from bench.data.subtomograms import Subtomograms
from bench.trials import plan as planning
from bench.trials.backends import Backend, Ray, Serial
from bench.trials.execute import Pending, execute, slots_of
from bench.trials.plan import Request, RunPlan, resolve
from bench.trials.rows import row_label
from bench.trials.store import Store
from bench.trials.trial import Status, Trial


def run(requests: Sequence[Request], console: Console) -> bool:
    """Run requests of one results folder to their tables; returns whether every trial of them is done.

    Raises BenchError for the first request that cannot be met, and Stopped where a signal asks for that, once the
    tables of what is done are written.
    """
    began, out = time.monotonic(), requests[0].out
    plans = [(resolve(request), request.kept) for request in requests]
    store = Store.create(Path(out))
    trials: list[Trial] = []
    with store.lock():
        console.log = store.folder / "log.txt"
        try:
            for plan, kept in plans:
                trials += _run(plan, kept(plan.profile), store, console)
        except Stopped as stopped:
            planned = store.planned()
            if planned:
                console.say(f"Writing what there is: {stopped}")
                console.say(how_to_go_on(_report(store, [*planned.values()]), out))
            else:
                console.say(f"Go on: bench run --resume --out {shlex.quote(out)}")
            raise
        rows = _report(store, trials)
    console.say("\n" + page.summary(rows))
    console.say(f"Took {duration(time.monotonic() - began)}. Open {store.folder / 'report.html'}")
    left = rows[rows["status"] != Status.DONE]
    for _, row in left.iterrows():
        console.say(f"{row['status']}: {row_label(row)}: {row['error']} ({store.home(row['trial'])})")
    if len(left):
        console.say(how_to_go_on(rows, out))
    return left.empty


def how_to_go_on(rows: pd.DataFrame, out: str) -> str:
    """The command that runs what these rows lack; empty where they lack nothing."""
    failed = int((rows["status"] == Status.FAILED).sum())
    interrupted = int((rows["status"] != Status.DONE).sum()) - failed
    lines = []
    if interrupted:
        lines.append(f"To go: {interrupted}. Go on: bench run --resume --out {shlex.quote(out)}")
    if failed:
        lines.append(f"Failed: {failed}. Once mended: bench run --retry-failed --out {shlex.quote(out)}")
    return "\n".join(lines)


def trials_of(plan: RunPlan, store: Store, console: Console) -> tuple[Path, list[Trial]]:
    """The folder of a plan's data, made if need be, and its trials; raises BenchError where these cannot be."""
    folder = _data_folder(plan, store, console)
    for remark in plan.dataset.remarks(folder):
        console.say(remark)
    return folder, planning.trials(plan, Subtomograms.open(folder), Subtomograms.saved_fingerprint(folder))


def backend_of(plan: RunPlan, store: Store) -> tuple[Backend, int]:
    """What runs a plan's trials, not yet entered, and how many at a time."""
    if plan.backend == "ray":
        slots = slots_of(usable_cpus(), plan.resources.cpus_per_trial, plan.resources.gpus_per_trial)
        return Ray(plan.runtime, store, plan.resources), slots
    return Serial(plan.runtime, store), 1


def _run(plan: RunPlan, options: dict[str, object], store: Store, console: Console) -> list[Trial]:
    """Data, trials, training of one plan; returns its trials."""
    console.note(f"bench run {options}")
    store.remember(options)
    try:
        folder, trials = trials_of(plan, store, console)
    except BenchError:  # it comes to no trial: nothing to go on with
        store.remember(options, forget=True)
        raise
    store.plan(trials)
    pending = Pending.of(trials, store, plan.retry_failed)
    before = pending.summary(plan.retry_failed)
    console.say(f"{len(trials)} trials: {plan.summary()}" + (f"; {before}" if before else ""))
    if pending.trials:
        _execute(plan, pending, folder, store, console)
    return trials


def _execute(plan: RunPlan, pending: Pending, data_folder: Path, store: Store, console: Console) -> None:
    backend, slots = backend_of(plan, store)
    at_a_time = f"{slots} trial{'s' if slots > 1 else ''} at a time"
    with backend:
        console.say(f"On {plan.resources.device}, {at_a_time}, backend {plan.backend}.")
        execute(pending.trials, data_folder, backend, store, console, slots, plan.limit_in_seconds)


def _data_folder(plan: RunPlan, store: Store, console: Console) -> Path:
    """The folder of the made or read data set; made once, whoever asks."""

    def make(folder: Path) -> None:
        with console.progress(f"Making the data set {plan.dataset_name}", 1.0) as meter:
            plan.dataset.write(folder, lambda done, of: meter.to(done / of))

    return Cache(store.cache_folder, console.say).entry("data", plan.dataset.key(), make, resumable=True)


def _report(store: Store, trials: Sequence[Trial]) -> pd.DataFrame:
    """Write everything that is made from trials; returns the rows of these."""
    rows = store.rows()
    page.write(rows, store.folder, store)
    return rows[rows["trial"].isin([trial.key() for trial in trials])]
