"""`bench submit`: results by others, made to be believed: each score follows from answers on data made here."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import registry
from bench.base.cache import Cache
from bench.base.console import Console
from bench.base.errors import BenchError
from bench.base.files import check_new, write_atomically
from bench.base.json_files import Schema, misfit, record
from bench.base.toml_files import read_toml
from bench.data.conditions import Conditions
from bench.data.dataset import Dataset
from bench.data.subtomograms import Subtomograms
from bench.trials.checking import contradiction
from bench.trials.prepare import split_of
from bench.trials.rows import described
from bench.trials.store import Store
from bench.trials.trial import Record, Status

NAME = "submission.toml"
LARGEST_IN_BYTES = 2**16
_SAID: Schema = {"type": "string", "minLength": 1, "maxLength": 1000}
SUBMISSION: Schema = record(
    who=_SAID,
    contact=_SAID,
    method_source=_SAID,
    revision=_SAID,
    hardware=_SAID,
    command=_SAID,
    not_tuned_on_the_test_set={"const": True},
)
FORM = """\
# Fill in, then: bench submit check FOLDER
who = ""            # name, group
contact = ""        # an address for questions
method_source = ""  # where the code of the methods is: an address, or "as in subtomobench"
revision = ""       # of that code: a commit or a version
hardware = ""       # processor or GPU
command = ""        # the command that made these results
not_tuned_on_the_test_set = false  # true: no choice was made by looking at scores on the test set
"""


def form(folder: Path) -> Path:
    """Put an empty form into a results folder; raises BenchError where there is one."""
    path = Store(folder).folder / NAME
    check_new(path)
    write_atomically(path, FORM)
    return path


def read(folder: Path) -> dict[str, Any]:
    """Who gives the results in a folder; raises BenchError for a form that is not there or not filled in."""
    path = folder / NAME
    if not path.is_file():
        raise BenchError(f"{folder}: has no {NAME}; write one with bench submit form {folder}")
    said = read_toml(path, LARGEST_IN_BYTES)
    if problem := misfit(said, SUBMISSION):
        raise BenchError(f"{path}: {problem}; fill in the form")
    return said


def check(folder: Path, data: Path | None, console: Console) -> str:
    """Hold every score of a submission against the answers of its trials; returns what was seen, for a person.

    The data sets are made here, or read from below `data`; nothing of the folder but records and answers is believed.
    Raises BenchError for the first trial that is damaged, is of other data, or does not follow.
    """
    said, store = read(folder), Store(folder)
    records = store.records()
    done = [one for one in records if one.status is Status.DONE]
    if not done:
        raise BenchError(f"{folder}: no trial is done; there is nothing to check")
    with tempfile.TemporaryDirectory() as made, console.progress("Checking", float(len(done))) as meter:
        checked = 0
        for some in _by_data(done):
            place = _made(some[0], store, data, Path(made))
            for one in some:
                if problem := _problem(one, store, place):
                    raise BenchError(f"{store.home(one.key)}: {one.trial.label()}: {problem}; run it again")
                checked += 1
                meter.to(float(checked))
    left = len(records) - len(done)
    rebuilt = sum(one.result.scores.mse is not None for one in done)
    lines = [f"{len(done)} trials by {said['who']}: every score but the reconstruction error follows from the answers."]
    if rebuilt:
        lines.append(f"The reconstruction errors of {rebuilt} are as they say; nothing here can tell.")
    if left:
        lines.append(f"{left} trials were planned and are not done: their cells will show as incomplete.")
    return "\n".join(lines)


def _by_data(records: Iterable[Record]) -> Sequence[list[Record]]:
    groups: dict[str, list[Record]] = {}
    for one in records:
        of = (one.trial.dataset, one.trial.data_parameters, one.trial.fingerprint)
        groups.setdefault(json.dumps(of), []).append(one)
    return [*groups.values()]


def _made(one: Record, store: Store, data: Path | None, into: Path) -> Path:
    """The folder of a record's data set, made here; raises BenchError where its volumes are others."""
    trial, seen = one.trial, []
    dataset = registry.dataset(trial.dataset, dict(trial.data_parameters))
    for source in _sources(dataset, trial.dataset, store, data):
        made = Cache(into).entry("data", source.key(), source.write)
        fingerprint = Subtomograms.saved_fingerprint(made)
        if fingerprint == trial.fingerprint:
            return made
        seen.append(fingerprint[:8])
    options = described(trial.data_parameters)
    raise BenchError(
        f"{store.home(one.key)}: {trial.dataset} ({options}) has the fingerprint {trial.fingerprint[:8]}, made here "
        f"{' or '.join(seen)}: other input, another version, or another processor; it cannot be checked here"
    )


def _sources(dataset: Dataset, name: str, store: Store, data: Path | None) -> list[Dataset]:
    """The data set with each folder that it may have been made from."""
    if not dataset.needs_folder:
        return [dataset]
    if data is None:
        raise BenchError(f"the data set {name} needs a folder; name the folder that holds it with --data")
    names = {Path(str(r["data"])).name for r in store.requests() if r["dataset"] == name and r["data"] is not None}
    folders = [data / one for one in sorted(names) if (data / one).is_dir()] or [data]
    return [replace(dataset, folder=folder) for folder in folders]


def _problem(one: Record, store: Store, data: Path) -> str:
    """What is not right about a finished trial, with its data in a folder; empty where nothing is."""
    trial = one.trial
    subtomograms = Subtomograms.open(data)
    split = split_of(trial, subtomograms)
    known = Conditions.of(dict(trial.conditions)).of_classes(subtomograms)
    counts = one.result.counts
    if one.key != trial.key():
        return "its name is not that of its settings"
    if counts is None or (counts.split, counts.n_test) != (split.hash(), len(split.test)):
        return "its split is not the one of its seed"
    if one.result.class_names != known.class_names:
        return "its classes are not those of the data set"
    return contradiction(one.result, store.answers(one.key), known.labels[split.test])
