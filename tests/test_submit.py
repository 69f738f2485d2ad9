"""Results of others: what follows from their answers is believed, what is unlike is never mixed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Bench
from faults.material import SUBMISSION

from bench.base.errors import BenchError
from bench.base.files import bytes_digest, digest
from bench.commands import study as command
from bench.data.subtomograms import Subtomograms
from bench.trials.checking import contradiction
from bench.trials.metrics import calibration_error, classification
from bench.trials.run import run
from bench.trials.spreadsheet import read_rows
from bench.trials.store import Store
from bench.trials.trial import CONTRIBUTED, OURS, RERUN, Fitted, HalfArray, Result, Runtime, Scores, Status, Trial

OPTIONS: dict[str, Any] = {
    "dataset": "phantoms",
    "data": None,
    "methods": "supervised",
    "fractions": "20",
    "seeds": 1,
    "profile": "quick",
    "protocol": None,
    "views": None,
    "select": None,
    "test_views": 1,
    "epochs": 1,
    "settings": [],
    "device": "cpu",
    "backend": "serial",
    "cpus_per_trial": 1,
    "gpus_per_trial": None,
    "deterministic": False,
    "time_limit": None,
    "checkpoint_every": 30.0,
}


def _told(rng: np.random.Generator) -> tuple[Result, HalfArray, np.ndarray]:
    """Scores of random logits as a trial has them, its answers, and the labels."""
    n_classes = int(rng.integers(2, 9))
    labels = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, rng.integers(20, 300))])
    logits = rng.normal(size=(len(labels), n_classes)) * 10 ** rng.uniform(-3, 2.5)
    logits[np.arange(len(labels)), labels] += rng.uniform(0, 5)
    t = float(np.exp(rng.normal() / 2))
    log_p = torch.from_numpy(logits.astype(np.float32)).double().log_softmax(1)
    found = classification(labels, log_p.exp().numpy())
    scores = Scores(
        found.accuracy,
        found.balanced_accuracy,
        found.macro_f1,
        found.nll,
        found.ece,
        calibration_error((log_p / t).softmax(1).numpy(), labels),
    )
    result = Result(
        Status.DONE,
        scores=scores,
        recall=found.recall,
        confusion=found.confusion,
        class_names=tuple(map(str, range(n_classes))),
        fitted=Fitted(8, None, "tomogram", 0.0, 1.0, temperature=t),
    )
    return result, log_p.clamp(torch.finfo(torch.float16).min).half().numpy(), labels


@pytest.mark.parametrize("seed", range(60))
def test_scores_follow_from_answers_rounded_to_float16(seed: int) -> None:
    result, answers, labels = _told(np.random.default_rng(seed))
    assert contradiction(result, answers, labels) == ""


@pytest.mark.parametrize("name", [f.name for f in fields(Scores) if f.name != "mse"])
@pytest.mark.parametrize("seed", range(10))
def test_a_score_that_is_ten_points_better_does_not_follow(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, n_classes = 400, 4
    labels = np.arange(n) % n_classes
    log_p = torch.from_numpy(rng.normal(size=(n, n_classes)) * 2).log_softmax(1)
    found = classification(labels, log_p.exp().numpy())
    ece = calibration_error(log_p.exp().numpy(), labels)
    scores = Scores(found.accuracy, found.balanced_accuracy, found.macro_f1, found.nll, found.ece, ece)
    names = tuple("abcd")
    result = Result(Status.DONE, scores=scores, recall=found.recall, confusion=found.confusion, class_names=names)
    answers = log_p.half().numpy()
    assert contradiction(result, answers, labels) == ""
    better = 0.1 if name in ("accuracy", "balanced_accuracy", "macro_f1") else -0.1
    told = replace(result, scores=replace(scores, **{name: getattr(scores, name) + better}))
    assert contradiction(told, answers, labels).startswith(name)
    assert "None is said" in contradiction(replace(result, scores=replace(scores, **{name: None})), answers, labels)


def test_one_volume_more_is_seen() -> None:
    """Where no two classes are as likely to float16, accuracy follows to the volume."""
    labels = np.arange(100) % 2
    p = np.where(np.arange(100)[:, None] % 2 == np.arange(2), 0.7, 0.3)
    p[:30] = p[:30, ::-1]
    found = classification(labels, p)
    ece = calibration_error(p, labels)
    scores = Scores(found.accuracy, found.balanced_accuracy, found.macro_f1, found.nll, found.ece, ece)
    result = Result(Status.DONE, scores=scores, recall=found.recall, confusion=found.confusion, class_names=("a", "b"))
    answers = np.log(p).astype(np.float16)
    assert scores.accuracy == 0.7
    assert contradiction(result, answers, labels) == ""
    assert "accuracy 0.71 is said" in contradiction(
        replace(result, scores=replace(scores, accuracy=0.71)), answers, labels
    )
    assert "recall of class 0" in contradiction(replace(result, recall=(0.9, 0.7)), answers, labels)
    assert "confusion" in contradiction(replace(result, confusion=((50, 0), (0, 50))), answers, labels)
    assert "no probabilities" in contradiction(result, answers * np.float16(2), labels)
    assert "float16" in contradiction(result, answers[1:], labels)
    assert "float16" in contradiction(result, answers.astype(np.float32), labels)  # type: ignore[arg-type]
    assert "keeps no answers" in contradiction(result, None, labels)


@pytest.fixture
def make_store(
    tmp_path: Path, make_trial: Callable[..., Trial], runtime: Runtime, tiny_folder: Path
) -> Callable[..., Store]:
    """A results folder with one trained trial for each method and seed."""
    fingerprint = Subtomograms.saved_fingerprint(tiny_folder)

    def make(name: str, *of: tuple[str, int], code: str = "", threads: int = 1, **changes: Any) -> Store:
        store = Store.create(tmp_path / name)
        trials = [make_trial(m, seed=s, code=code, **{"fingerprint": fingerprint, **changes}) for m, s in of]
        store.remember(OPTIONS)
        store.plan(trials)
        for trial in trials:
            store.begin(trial)
            store.write(trial, run(trial, tiny_folder, replace(runtime, threads=threads)), "cpu")
        return store

    return make


def _doctor(store: Store, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the first trial's record, with a checksum that fits."""
    key = next(iter(store.planned()))
    path = store.home(key) / "result.json"
    record = json.loads(path.read_text())
    del record["checksum"]
    change(record)
    path.write_text(json.dumps(record | {"checksum": digest(record)}))


def test_a_submission_is_checked_on_data_made_here(
    make_store: Callable[..., Store], bench: Bench, tmp_path: Path
) -> None:
    store = make_store("b", ("supervised", 0), ("autoencoder", 0))
    code, _, err = bench("submit", "check", store.folder)
    assert (code, err.count("\n")) == (2, 1)
    assert "submit form" in err
    assert bench("submit", "form", store.folder)[0] == 0
    code, _, err = bench("submit", "check", store.folder)
    assert code == 2
    assert "fill in the form" in err
    assert bench("submit", "form", store.folder)[0] == 2  # what somebody filled in is not lost
    (store.folder / "submission.toml").write_text(SUBMISSION)
    code, out, _ = bench("submit", "check", store.folder)
    assert code == 0
    assert "2 trials by A group" in out
    # A cache with other data in it is not looked at.
    assert not (store.folder / "cache").exists()

    key = next(iter(store.planned()))
    answers = store.answers(key)
    assert answers is not None
    assert answers.dtype == np.float16
    good = (store.home(key) / "result.json").read_text()

    def refused(why: str) -> None:
        code, _, err = bench("submit", "check", store.folder)
        assert (code, len(err.strip().splitlines())) == (2, 1), err
        assert why in err
        (store.home(key) / "result.json").write_text(good)

    _doctor(store, lambda record: record["result"]["scores"].update(accuracy=0.999))
    refused("accuracy 0.999 is said")
    _doctor(store, lambda record: record["result"]["counts"].update(split="0" * 16))
    refused("its split is not the one of its seed")
    _doctor(store, lambda record: record["files"].update({"answers.npy": "0" * 64}))
    refused("keeps no answers")
    _doctor(store, lambda record: record["trial"].update(seed=1))
    refused("its name is not that of its settings")
    _doctor(store, lambda record: record["trial"].update(fingerprint="0" * 64))
    refused("it cannot be checked here")
    # Answers of which the labels are known, with their own checksum: the scores do not follow.
    path = store.home(key) / "answers.npy"
    np.save(path, np.roll(answers, 1, axis=1))
    _doctor(store, lambda record: record["files"].update({"answers.npy": bytes_digest(path.read_bytes())}))
    refused("follows from its answers")


def _rows(folder: Path) -> dict[tuple[str, int], tuple[float, str]]:
    rows = read_rows(folder)
    return {(r["method"], r["seed"]): (r["accuracy"], r["origin"]) for _, r in rows.iterrows()}


def test_two_machines_rows_come_together(make_store: Callable[..., Store], bench: Bench, tmp_path: Path) -> None:
    one = make_store("one", ("supervised", 0), ("supervised", 1))
    two = make_store("two", ("supervised", 1), ("supervised", 2), threads=2)
    out = tmp_path / "both"
    code, said, err = bench("study", "merge", one.folder, two.folder, "--out", out)
    assert code == 0, err
    assert "3 trials, 3 done; 1 were run twice" in said
    assert (out / "report.html").is_file()
    ours, theirs, both = _rows(one.folder), _rows(two.folder), _rows(out)
    assert both == theirs | ours  # the first that is named counts
    assert {origin for _, origin in both.values()} == {OURS}
    assert bench("gate", out, one.folder)[0] == 0
    code, _, err = bench("study", "merge", one.folder, two.folder, "--out", out)
    assert code == 2
    assert "exists" in err

    (two.folder / "submission.toml").write_text(SUBMISSION)
    assert bench("study", "merge", one.folder, two.folder, "--out", tmp_path / "third")[0] == 0
    origins = {key: origin for key, (_, origin) in _rows(tmp_path / "third").items()}
    assert origins == {("supervised", 0): OURS, ("supervised", 1): RERUN, ("supervised", 2): CONTRIBUTED}
    again = tmp_path / "fourth"  # an origin is not lost on the way
    assert bench("study", "merge", tmp_path / "third", one.folder, "--out", again)[0] == 0
    assert {key: origin for key, (_, origin) in _rows(again).items()} == origins


def test_trials_whose_keys_an_older_version_made_keep_them(
    make_store: Callable[..., Store], bench: Bench, tmp_path: Path
) -> None:
    one, two = make_store("one", ("supervised", 0)), make_store("two", ("supervised", 1))
    (trial,) = one.planned().values()
    one.home(trial.key()).rename(one.home("0" * 16))
    one.adopt({"0" * 16: trial})
    _doctor(one, lambda record: record.update(key="0" * 16))
    code, said, _ = bench("study", "merge", one.folder, two.folder, "--out", tmp_path / "both")
    assert code == 0
    assert "2 trials, 2 done" in said
    assert _rows(tmp_path / "both") == _rows(one.folder) | _rows(two.folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fingerprint": "0" * 64}, "are not the same volumes"),
        ({"code": "other"}, "unlike code or defaults"),
        ({"dataset": "phantoms"}, "further apart than another machine explains"),
    ],
)
def test_what_is_unlike_is_not_merged(
    changes: dict[str, Any], said: str, make_store: Callable[..., Store], bench: Bench, tmp_path: Path
) -> None:
    one = make_store("one", ("supervised", 0))
    two = make_store("two", ("supervised", 0), **changes)
    if "dataset" in changes:
        _doctor(two, lambda record: record["result"]["scores"].update(accuracy=0.999))
    code, _, err = bench("study", "merge", one.folder, two.folder, "--out", tmp_path / "both")
    assert (code, len(err.strip().splitlines())) == (2, 1), err
    assert said in err
    assert not list(tmp_path.glob("*both*"))


def test_folders_of_two_studies_are_not_merged(make_store: Callable[..., Store], tmp_path: Path) -> None:
    runs = [make_store(name, ("supervised", seed)).folder for seed, name in enumerate(("one", "two"))]
    for run_folder, title in zip(runs, ("A", "B")):
        (run_folder / command.LOCK).write_text(json.dumps({"title": title, "trials": {}}))
    with pytest.raises(BenchError, match=r"of 2 studies \(A, B\)"):
        command.merge(runs, tmp_path / "both")
    with pytest.raises(BenchError, match="nothing to merge"):
        command.merge(runs[:1], tmp_path / "both")
    assert not (tmp_path / "both").exists()
