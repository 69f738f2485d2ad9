"""`bench study`: a study's file → what it would take, its trials, its report."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

from bench.base.console import Console
from bench.base.errors import BenchError
from bench.base.files import check_new, write_atomically, written_aside
from bench.base.json_files import TEXT, Schema, read_json
from bench.base.version import VERSION
from bench.commands import run as running
from bench.commands import submit as submitting
from bench.commands.report import report
from bench.trials import merging
from bench.trials.execute import Pending, about, costs_of
from bench.trials.plan import Request, RunPlan, resolve
from bench.trials.rows import described
from bench.trials.store import Store
from bench.trials.study import MANY, Study, count
from bench.trials.trial import Status, Trial

_TITLED: Schema = {"type": "object", "properties": {"title": TEXT, "trials": {"type": "object"}}, "required": ["title"]}
LOCK = "study.lock.json"
SPREAD = 2.5  # points; standard deviation over seeds of a difference, as in results/studies/which-method


def planned(study: Study, requests: Sequence[Request]) -> tuple[list[RunPlan], str]:
    """The plan of each request, and what they come to, for a person; raises BenchError as `resolve` does."""
    plans = [resolve(request) for request in requests]
    lines = [study.title]
    for plan in plans:
        options = described(plan.dataset.parameters() | plan.dataset.conditions().changed())
        lines.append(f"  {count(plan):6,} trials: {plan.dataset_name} ({options}): {plan.summary()}")
    lines.append(f"{sum(count(plan) for plan in plans):,} trials in all.")
    return plans, "\n".join([*lines, *_decidable(plans)])


def status(requests: Sequence[Request]) -> tuple[str, bool]:
    """How far each block of a study is, for a person; and whether all of it is done."""
    store = Store(Path(requests[0].out))
    records, lines, complete = store.records(), [], True
    for plan in [resolve(request) for request in requests]:
        ended = Counter(r.status for r in records if r.status != Status.MISSING and plan.holds(r.trial))
        total, options = count(plan), described(plan.dataset.parameters() | plan.dataset.conditions().changed())
        others = "".join(f", {n} {what}" for what, n in sorted(ended.items()) if what != Status.DONE)
        lines.append(f"  {ended[Status.DONE]:6,} of {total:,} done{others}: {plan.dataset_name} ({options})")
        complete &= ended[Status.DONE] == total
    if store.busy():
        lines.append("A run is at work there.")
    return "\n".join(lines), complete


def time_to_go(requests: Sequence[Request], console: Console) -> str:
    """How long the trials that a results folder lacks will take, in words, from a few steps of each method.

    The data sets are made for it, and kept for the run.
    """
    total = 0.0
    left: list[Trial] = []
    store = Store.create(Path(requests[0].out))
    with store.lock():
        for plan in [resolve(request) for request in requests]:
            folder, trials = running.trials_of(plan, store, console)
            pending = Pending.of(trials, store).trials
            left += pending
            backend, slots = running.backend_of(plan, store)
            with backend:
                costs = costs_of(pending, folder, backend, console) if pending else {}
            total += sum(cost.alone for cost in costs.values()) / slots
    return about(left, total)


def _decidable(plans: Sequence[RunPlan]) -> list[str]:
    """What so many seeds, blocks and data sets can tell."""
    data = {(plan.dataset_name, plan.dataset): plan for plan in plans}
    fractions = max(len(plan.percents) for plan in plans)
    seeds = min(plan.seeds for plan in plans)
    blocks = sum(len(plan.percents) for plan in data.values())
    sets = len({plan.dataset_name for plan in plans})
    said = []
    if seeds < 2:
        said.append("One seed tells nothing about who is better; two are the least, five are good.")
    else:
        one = _half_width(seeds, 1)
        text = f"An interval of the difference between two methods will be about ±{one:.1f} points in one condition"
        if len(data) > 1:
            text += f", ±{_half_width(seeds, len(data)):.1f} over all {len(data)}"
        said.append(f"{text}, if it varies over seeds by {SPREAD} points as in our runs.")
    said.append(
        f"{blocks} blocks (data × condition × label fraction, {fractions} fractions): "
        + ("enough" if blocks >= 6 else "too few, 6 are needed")
        + " for a test over blocks."
    )
    said.append(
        f"{sets} data set{'s' if sets > 1 else ''}: "
        + ("says little about other data." if sets < 6 else "enough to speak about other data.")
    )
    return said


def _half_width(seeds: int, conditions: int) -> float:
    return float(stats.t.ppf(0.975, conditions * (seeds - 1))) * SPREAD / math.sqrt(conditions * seeds)


def run(study: Study, requests: Sequence[Request], console: Console, many: bool) -> bool:
    """Run a study into its results folder; returns whether every trial is done.

    Raises BenchError for more than MANY trials unless `many`, and where the folder holds another study.
    """
    plans, text = planned(study, requests)
    total = sum(count(plan) for plan in plans)
    if total > MANY and not many:
        raise BenchError(f"{study.path}: comes to {total:,} trials; if that is meant, add --yes")
    out = Path(requests[0].out)
    lock = out / LOCK
    if lock.is_file():
        before = read_json(lock, _TITLED, "delete it; trials are kept")["title"]
        if before != study.title:
            raise BenchError(f"{out}: holds the study {before[:80]!r}; choose another --out")
    console.say(text)
    store = Store.create(out)
    try:
        return running.run(requests, console)
    finally:  # also of a run that was stopped: the folder is this study's
        write_atomically(lock, json.dumps(_lock(study, store), indent=1) + "\n")


def merge(runs: Sequence[Path], out: Path) -> tuple[pd.DataFrame, str]:
    """Put the trials of results folders into `out`, a new one, with its report; returns rows, and a word on them.

    Raises BenchError as `merging.merge` does, and where the folders are of several studies.
    """
    if len(runs) < 2:
        raise BenchError("one folder is nothing to merge; name two or more")
    check_new(out)
    stores = [Store(run) for run in runs]
    locks = [read_json(run / LOCK, _TITLED, "delete it; trials are kept") for run in runs if (run / LOCK).is_file()]
    if len(titles := sorted({lock["title"] for lock in locks})) > 1:
        raise BenchError(f"the folders are of {len(titles)} studies ({', '.join(titles)}); merge those of one")
    contributed = [(run / submitting.NAME).is_file() for run in runs]
    for run, by_others in zip(runs, contributed):
        if by_others:
            submitting.read(run)
    with written_aside(out) as aside:
        store = Store.create(aside)
        found = merging.merge(stores, contributed, store)
        if locks:
            trials = {key: value for lock in reversed(locks) for key, value in lock["trials"].items()}
            write_atomically(store.folder / LOCK, json.dumps(locks[0] | {"trials": trials}, indent=1) + "\n")
    rows, _ = report([out], None)
    said = f"{found.trials} trials, {found.done} done"
    if found.furthest_in_points is not None:
        said += f"; {found.twice} were run twice, at most {found.furthest_in_points:.1f} points of accuracy apart"
    return rows, f"{said}."


def _lock(study: Study, store: Store) -> dict[str, Any]:
    """What a study came to: each trial by its key, with the fingerprint of its data and all its settings."""
    trials = {key: trial.identity(but=("code",)) for key, trial in store.planned().items()}
    return {"title": study.title, "version": VERSION, "study": study.said, "trials": trials}
