"""A trained trial names other particles as it named its own test set, and its answers go home in the user's table."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import starfile
import torch
from conftest import Bench
from safetensors.torch import save
from scipy import special

from bench.base.errors import BenchError
from bench.base.files import bytes_digest, digest
from bench.data.subtomograms import Subtomograms
from bench.files import volume
from bench.files.tables import NOTHING
from bench.trials import predictor as predictors
from bench.trials.backends import jobs
from bench.trials.metrics import calibration_error, temperature
from bench.trials.prepare import split_of
from bench.trials.run import run
from bench.trials.store import Store
from bench.trials.trial import Runtime, Trial

MakeTrial = Callable[..., Trial]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "runs")


def _trained(store: Store, trial: Trial, runtime: Runtime, tiny_folder: Path) -> str:
    result = run(trial, tiny_folder, runtime)
    assert result.status == "done", result.traceback
    store.write(trial, result, "cpu")
    store.plan([trial])
    return trial.key()


@pytest.mark.parametrize("protocol", ["fair", "paper"])
@pytest.mark.parametrize("method", ["autoencoding", "m2", "self_training", "rim"])
def test_it_classifies_the_test_set_as_the_trial_did(
    method: str,
    protocol: str,
    make_trial: MakeTrial,
    runtime: Runtime,
    tiny_folder: Path,
    store: Store,
    tiny: Subtomograms,
) -> None:
    trial = make_trial(method, protocol=protocol)
    key = _trained(store, trial, runtime, tiny_folder)
    predictor, test = predictors.load(store, key), split_of(trial, tiny).test
    classified = predictor.classify(predictor.feed(np.array(tiny.volumes[test])))
    confusion = np.zeros((8, 8), dtype=int)
    np.add.at(confusion, (tiny.labels[test], [p.number - 1 for p in classified]), 1)
    record = store.read(key)
    assert record is not None
    assert confusion.tolist() == [list(row) for row in record.result.confusion]
    assert [p.name for p in classified] == [tiny.class_names[p.number - 1] for p in classified]
    assert all(1 / 8 <= p.probability <= 1 and 1 / 8 - 1e-9 <= p.confidence <= 1 for p in classified)
    assert record.result.fitted.validation_labels == record.result.counts.n_validation_labelled


def test_the_trial_is_chosen_by_validation_not_by_its_test(
    make_trial: MakeTrial,
    runtime: Runtime,
    tiny_folder: Path,
    store: Store,
) -> None:
    trials = [make_trial(seed=seed) for seed in range(2)] + [make_trial("rim"), make_trial(labelled_percent=10.0)]
    for trial, (nll, accuracy) in zip(trials, [(0.5, 0.1), (0.9, 0.9), (0.1, 0.99), (0.2, 0.99)]):
        result = run(trial, tiny_folder, runtime)
        result.fitted = replace(result.fitted, validation_nll=nll)
        result.scores.accuracy = accuracy
        store.write(trial, result, "cpu")
    store.plan(trials)
    assert predictors.choose(store, None, None, None, None) == trials[0].key()  # not the control, not fewer labels
    assert predictors.choose(store, None, None, 1, None) == trials[1].key()
    assert predictors.choose(store, "rim", None, None, None) == trials[2].key()
    assert predictors.choose(store, None, 10.0, None, "fair") == trials[3].key()
    with pytest.raises(BenchError, match="no finished classifier"):
        predictors.choose(store, "m2", None, None, None)


def test_weights_that_are_damaged_or_anothers_are_refused_in_one_line(
    make_trial: MakeTrial,
    runtime: Runtime,
    tiny_folder: Path,
    store: Store,
) -> None:
    one, other = (
        _trained(store, make_trial(), runtime, tiny_folder),
        _trained(store, make_trial("autoencoding"), runtime, tiny_folder),
    )
    path, others = (store.home(key) / "weights.safetensors" for key in (one, other))
    whole = path.read_bytes()
    for bad in (whole[:-50], whole[:-1] + b"!", b"", b"\x80\x04N.", b"\xff" * 100, others.read_bytes()):
        path.write_bytes(bad)
        with pytest.raises(BenchError, match="not what the trial wrote") as caught:
            predictors.load(store, one)
        assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(BenchError, match="not there"):
        predictors.load(store, one)
    with pytest.raises(BenchError, match="no finished trial"):
        predictors.load(store, "nothing")


def test_networks_that_give_no_finite_number_are_refused_in_one_line(
    make_trial: MakeTrial, runtime: Runtime, tiny_folder: Path, store: Store, tiny: Subtomograms
) -> None:
    """A folder of somebody's own, whose checksums are right."""
    trial = make_trial()
    result = run(trial, tiny_folder, runtime)
    weights, boxes = dict(result.weights or {}), np.array(tiny.volumes[:3])
    store.plan([trial])
    for value, said in ((np.nan, "NaN or infinite"), (-np.inf, "NaN or infinite"), (1e38, "for any of 3 boxes")):
        spoilt = {name: torch.full_like(w, value) if w.is_floating_point() else w for name, w in weights.items()}
        store.write(trial, replace(result, weights=spoilt), "cpu")
        with pytest.raises(BenchError, match=said) as caught:  # noqa: PT012
            predictor = predictors.load(store, trial.key())
            predictor.classify(predictor.feed(boxes))
        assert "\n" not in str(caught.value)
    _replace_weights(store.home(trial.key()), save({"of another network": torch.ones(2)}))
    with pytest.raises(BenchError, match="does not hold the weights"):
        predictors.load(store, trial.key())
    for content in (b"", b"\x80\x04N.", b"\xff" * 100):
        _replace_weights(store.home(trial.key()), content)
        with pytest.raises(BenchError, match="not what the trial wrote") as caught:
            predictors.load(store, trial.key())
        assert "\n" not in str(caught.value)


def test_a_trial_is_not_scored_from_what_are_no_weights(
    make_trial: MakeTrial, runtime: Runtime, tiny_folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = make_trial()
    key = _trained(store, trial, runtime, tiny_folder)
    job = jobs.Job(trial, tiny_folder, 300)
    monkeypatch.setattr(jobs, "scoring_code", lambda: "changed")
    _replace_weights(store.home(key), b"\xff" * 100)
    assert not jobs.scored_by_today(store, job, runtime)
    assert "not what it wrote; trained again" in (store.home(key) / "log.txt").read_text()


def _replace_weights(home: Path, content: bytes) -> None:
    """Other bytes, and a record that says they are right."""
    (home / "weights.safetensors").write_bytes(content)
    record = json.loads((home / "result.json").read_text(encoding="utf-8"))
    record["files"]["weights.safetensors"] = bytes_digest(content)
    del record["checksum"]
    (home / "result.json").write_text(json.dumps(record | {"checksum": digest(record)}), encoding="utf-8")


def test_a_box_that_the_network_cannot_tell_has_no_class_and_spoils_no_other(
    make_trial: MakeTrial, runtime: Runtime, tiny_folder: Path, store: Store, tiny: Subtomograms
) -> None:
    predictor = predictors.load(store, _trained(store, make_trial(), runtime, tiny_folder))
    boxes = np.array(tiny.volumes[:4])
    alone = predictor.classify(predictor.feed(boxes))
    boxes[2] = np.finfo(np.float32).max
    said = predictor.classify(predictor.feed(boxes))
    assert said == [*alone[:2], NOTHING, alone[3]]


def test_the_temperature_is_found_again_and_few_volumes_leave_it_near_1(rng: np.random.Generator) -> None:
    logits = rng.normal(size=(20_000, 4)) * 2
    labels = np.array([rng.choice(4, p=p) for p in special.softmax(logits, axis=1)])
    for factor in (0.5, 1.0, 3.0):  # a network that is too modest, right, too sure
        assert temperature(factor * logits, labels) == pytest.approx(factor, rel=0.05)
    too_sure = special.softmax(3 * logits, axis=1)
    mended = special.softmax(3 * logits / temperature(3 * logits, labels), axis=1)
    assert calibration_error(mended, labels) < 0.02 < 0.1 < calibration_error(too_sure, labels)
    assert 0.5 < temperature(logits[:3], logits[:3].argmax(1)) < 1  # three right answers do not make it certain
    assert temperature(logits[:0], labels[:0]) == 1


def test_star_in_star_out(bench: Bench, tmp_path: Path, rng: np.random.Generator) -> None:
    """Two kinds of blob in a tomogram: extract, run, predict; every byte and row of the table is back."""
    places = np.stack(np.meshgrid(*[np.arange(8, 40, 9)] * 3, indexing="ij"), -1).reshape(-1, 3)
    kinds = np.where(rng.random(len(places)) < 0.5, "wide", "narrow")
    tomogram = rng.normal(0, 0.2, (48, 48, 48)).astype(np.float32)
    grid = np.indices(tomogram.shape)
    for place, kind in zip(places, kinds):
        squared = sum((g - p) ** 2 for g, p in zip(grid, place))
        tomogram -= np.exp(-squared / (2 * (2.2 if kind == "wide" else 1.0) ** 2)).astype(np.float32)
    volume.write(tmp_path / "tomo.mrc", tomogram, 10.0)
    lines = [f" tomo {x} {y} {z}  {k} # odd" for (z, y, x), k in zip(places, kinds)]
    lines = [line.removesuffix(" # odd") for line in lines]
    head = "data_\n\nloop_\n_rlnTomoName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n_rlnCoordinateZ #4\n"
    (tmp_path / "p.star").write_text(head + "_rlnParticleName #5\n" + "\n".join(lines) + "\n tomo 0 0 0 wide\n")
    common = ["--table", tmp_path / "p.star", "--tomograms", tmp_path / "tomo.mrc"]
    assert bench("data", "extract", *common, "--box", 8, "--out", tmp_path / "set")[0] == 0
    run_it = ["--methods", "supervised", "--fractions", 60, "--seeds", 1, "--epochs", 20, "--backend", "serial"]
    code, _, err = bench(
        "run", "--dataset", "particles", "--data", tmp_path / "set", *run_it, "--out", tmp_path / "runs"
    )
    assert (code, err) == (0, "")
    code, out, err = bench("predict", tmp_path / "runs", *common, "--out", tmp_path / "said.star")
    assert (code, err) == (0, "")
    assert "none 1" in out
    before, after = starfile.read(tmp_path / "p.star"), starfile.read(tmp_path / "said.star")
    pd.testing.assert_frame_equal(after[before.columns], before)
    said = after["subtomobenchClass"]
    assert said.iloc[-1] == "none"
    assert (said[:-1] == before["rlnParticleName"][:-1]).mean() > 0.85
    assert after["subtomobenchConfidence"].between(0, 1).all()
    assert bench("predict", tmp_path / "runs", *common, "--out", tmp_path / "said.star")[0] == 2  # nothing overwritten
    # the same from a folder of boxes, without a table
    (tmp_path / "boxes").mkdir()
    for i, (z, y, x) in enumerate(places[:6]):
        box = tomogram[z - 4 : z + 5, y - 4 : y + 5, x - 4 : x + 5]
        volume.write(tmp_path / f"boxes/{i}.mrc", box, 10.0)
    code, _, err = bench("predict", tmp_path / "runs", "--table", tmp_path / "boxes", "--out", tmp_path / "boxes.csv")
    assert (code, err) == (0, "")
    boxes = pd.read_csv(tmp_path / "boxes.csv")
    assert boxes["box"].tolist() == [f"boxes/{i}.mrc" for i in range(6)]
    assert boxes["predicted_class"].tolist() == said[:6].tolist()


def _named_again(bench: Bench, runs: Path, boxes: Path, voxels: np.ndarray, size: float | None, *more: str) -> str:
    """Predict on boxes that are written one by one; returns what was printed, beside `boxes` lies the answer."""
    boxes.mkdir()
    for i, box in enumerate(voxels):
        volume.write(boxes / f"{i:05d}.mrc", box, size)
    code, out, err = bench("predict", runs, "--table", boxes, "--out", boxes.with_suffix(".csv"), *more)
    assert (code, err) == (0, "")
    return out


RUN = ["--methods", "supervised", "--fractions", 60, "--seeds", 1, "--epochs", 10, "--backend", "serial"]


@pytest.mark.parametrize("grey_scale", ["each box", "as read"])
def test_the_command_says_of_the_test_set_what_the_trial_did(
    grey_scale: str, bench: Bench, tmp_path: Path, tiny: Subtomograms
) -> None:
    """A folder's boxes differ in mean and contrast, from class to class too: that takes part, here and there."""
    raw, runs = np.array(tiny.volumes), tmp_path / "runs"
    if grey_scale == "each box":
        data, contrast = ["--set", "phantoms.box=8", "--set", "phantoms.per_class=30"], ["--contrast", "bright"]
    else:
        brightness = tiny.labels + np.random.default_rng(1).normal(0, 0.5, len(raw))
        raw = (100 + 7 * (brightness / 4 + (1 + brightness / 8) * raw.T)).T.astype(np.float32)
        for i, label in enumerate(tiny.labels):
            (tmp_path / f"data/{label}").mkdir(parents=True, exist_ok=True)
            volume.write(tmp_path / f"data/{label}/{i:03d}.mrc", raw[i], tiny.voxel_size_in_angstroms)
        data, contrast = ["--dataset", "folder", "--data", tmp_path / "data"], []
    assert bench("run", *data, *RUN, "--out", runs)[0] == 0
    (record,) = Store(runs).records()
    (made,) = runs.glob("cache/data-*/meta.json")
    used = Subtomograms.open(made.parent)
    assert (used.grey_scale, np.array_equal(used.volumes, raw)) == (grey_scale, True)
    test = split_of(record.trial, used).test
    size = used.voxel_size_in_angstroms
    out = _named_again(bench, runs, tmp_path / "boxes", raw[test], size, *contrast)
    assert "Careful" not in out
    said = pd.read_csv(tmp_path / "boxes.csv", dtype=str)["predicted_class"].tolist()
    confusion = np.zeros((8, 8), dtype=int)
    np.add.at(confusion, (used.labels[test], [used.class_names.index(name) for name in said]), 1)
    assert confusion.tolist() == [list(row) for row in record.result.confusion]
    assert len(set(said)) > 3
    assert ("--contrast takes no part" in out) == (grey_scale == "as read")
    # on another scale: brought to it, or told
    out = _named_again(bench, runs, tmp_path / "far", 3 * raw[test] - 20, size, *contrast)
    same = pd.read_csv(tmp_path / "far.csv", dtype=str)["predicted_class"].tolist() == said
    assert (same, "Careful: grey values of" in out) == ((True, False) if grey_scale == "each box" else (False, True))
