"""Laws of the conditions: what they change, and that they change nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Bench

from bench.base.arrays import UNLABELLED
from bench.base.errors import BenchError
from bench.data.conditions import Conditions
from bench.data.split import Split, make_split
from bench.data.subtomograms import Subtomograms
from bench.learning.degrading import degraded
from bench.learning.feed import Feed
from bench.learning.spectrum import Spectrum
from bench.trials.prepare import prepare
from bench.trials.trial import Runtime, Trial

LABELS = np.repeat(np.arange(6), 100)
SHARES = [0.0, 0.25, 0.5, 0.75, 1.0]


def split(percent: float | None = 20.0, seed: int = 3, labels: np.ndarray = LABELS, **conditions: Any) -> Split:
    return make_split(labels, percent, seed, 0.4, 0.2, conditions=Conditions(**conditions))


def test_foreign_classes_are_never_labelled_or_tested_and_their_share_alone_varies() -> None:
    splits = [split(foreign_classes=2, foreign_share=share) for share in SHARES]
    for one, share in zip(splits, SHARES):
        for part in (one.test, one.validation, one.labelled):
            assert LABELS[part].max() == 3
        hidden = one.train[~np.isin(one.train, one.labelled)]
        assert (LABELS[hidden] > 3).mean() == pytest.approx(share, abs=0.01)
        assert len(hidden) == len(splits[0].train) - len(splits[0].labelled)
        assert not np.isin(one.given, [4, 5]).any()
    for less, more in pairwise(splits):
        for part in ("labelled", "test", "validation"):
            assert np.array_equal(getattr(less, part), getattr(more, part))
        foreign = [one.train[LABELS[one.train] > 3] for one in (less, more)]
        assert np.isin(foreign[0], foreign[1]).all()


def test_volumes_that_nobody_knows_stay_beside_foreign_ones() -> None:
    labels = LABELS.copy()
    labels[:30] = UNLABELLED
    assert np.isin(np.arange(30), split(labels=labels, foreign_classes=2, foreign_share=1.0).train).all()


@pytest.mark.parametrize("ratio", [2.0, 10.0])
def test_classes_are_thinned_evenly_in_their_logarithms_and_the_test_stays(ratio: float) -> None:
    thin, whole = split(50.0, imbalance=ratio), split(50.0)
    assert np.array_equal(thin.test, whole.test)
    assert np.isin(thin.train, whole.train).all()
    counts = np.sort(np.bincount(LABELS[np.concatenate([thin.train, thin.validation])]))[::-1]
    assert counts == pytest.approx(60 * ratio ** -(np.arange(6) / 5), abs=1.5)
    rare = [np.bincount(LABELS[split(50.0, seed, imbalance=ratio).train]).argmin() for seed in range(8)]
    assert len(set(rare)) > 1  # not always the same class


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_so_many_labels_are_wrong_each_another_class_and_only_of_those_shown(share: float) -> None:
    one, more = split(wrong_labels=share), split(wrong_labels=2 * share)
    shown = np.concatenate([one.labelled, one.validation_labelled])
    wrong = np.flatnonzero(one.given != LABELS)
    assert len(wrong) == one.n_wrong == round(share * len(shown))
    assert np.isin(wrong, shown).all()
    assert np.isin(wrong, np.flatnonzero(more.given != LABELS)).all()
    assert {*one.given} == {*range(6)}
    assert one.hash() != split().hash() == split(wrong_labels=0.0).hash()


def test_wrong_labels_go_to_every_other_class() -> None:
    one = split(100.0, wrong_labels=0.9)
    mixed = np.zeros((6, 6), int)
    np.add.at(mixed, (LABELS, one.given), one.given != LABELS)
    assert (mixed[~np.eye(6, dtype=bool)] > 0).all()


@pytest.mark.parametrize("noise", [0.5, 3.0])
def test_noise_leaves_the_correlation_that_its_power_says(noise: float) -> None:
    volumes = _boxes(64, 16)
    spectrum = Spectrum.of(Feed(volumes), (-90.0, 90.0))
    worse = degraded(Feed(volumes), spectrum, noise, None, 0)[torch.arange(64)][:, 0]
    assert worse.mean((1, 2, 3)).numpy() == pytest.approx(volumes.mean((1, 2, 3)).numpy(), abs=1e-4)
    assert worse.std((1, 2, 3)).numpy() == pytest.approx(volumes.std((1, 2, 3)).numpy(), rel=1e-4)
    found = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(volumes.numpy(), worse.numpy())]
    assert np.mean(found) == pytest.approx((1 + noise) ** -0.5, abs=0.02)


def test_fewer_tilts_empty_the_directions_that_they_do_not_see() -> None:
    volumes = _boxes(32, 16)
    worse = degraded(Feed(volumes), Spectrum.of(Feed(volumes), (-90.0, 90.0)), 0.0, 40.0, 0)[torch.arange(32)][:, 0]
    power = (np.abs(np.fft.fftn(worse.numpy(), axes=(1, 2, 3))) ** 2).mean(0)
    kz, _, kx = np.meshgrid(*[np.fft.fftfreq(16, 1 / 16)] * 3, indexing="ij")
    angle = np.rad2deg(np.arctan2(np.abs(kz), np.abs(kx)))
    inside = (angle <= 39) & (np.abs(kx) > 0)
    assert power[angle > 41].max() < 1e-6 * power[inside].mean()
    assert power[inside].min() > 0


def test_tilts_that_leave_none_are_refused() -> None:
    volumes = _boxes(4, 8)
    with pytest.raises(BenchError, match="none is left"):
        degraded(Feed(volumes), Spectrum.of(Feed(volumes), (-60.0, -20.0)), 0.0, 10.0, 0)


def _boxes(n: int, box: int) -> torch.Tensor:
    return 3 + 2 * torch.randn(n, box, box, box, generator=torch.Generator().manual_seed(0))


def test_a_method_is_given_the_wrong_labels_and_scored_by_the_right_ones(
    make_trial: Callable[..., Trial], tiny: Subtomograms, tiny_folder: Path, runtime: Runtime
) -> None:
    trial = make_trial(conditions=(("wrong_labels", 0.5),), labelled_percent=50.0)
    prepared = prepare(trial, tiny_folder, runtime)
    shown = prepared.data.labels[prepared.data.labels != UNLABELLED].numpy()
    truth = tiny.labels[prepared.split.labelled]
    assert 0.3 < (shown != truth).mean() < 0.7
    assert np.array_equal(prepared.subtomograms.labels, tiny.labels)
    assert trial.key() != replace(trial, conditions=()).key()
    assert Trial.from_dict({**trial.__dict__, "budget": trial.budget.__dict__}) == trial


def test_foreign_classes_leave_the_network_fewer(
    make_trial: Callable[..., Trial], tiny_folder: Path, runtime: Runtime
) -> None:
    trial = make_trial(conditions=(("foreign_classes", 5), ("foreign_share", 1.0)))
    prepared = prepare(trial, tiny_folder, runtime)
    assert len(prepared.subtomograms.class_names) == prepared.trainer.backbone.n_classes == 3
    assert prepared.data.labels.max() == 2


def test_only_the_test_volumes_are_degraded(
    make_trial: Callable[..., Trial], tiny_folder: Path, runtime: Runtime
) -> None:
    plain, worse = (
        prepare(make_trial(conditions=conditions), tiny_folder, runtime) for conditions in ((), (("test_noise", 1.0),))
    )
    every = torch.arange(20)
    assert torch.equal(plain.data.volumes[every], worse.data.volumes[every])
    assert torch.equal(plain.data.validation_volumes[every[:9]], worse.data.validation_volumes[every[:9]])
    a, b = plain.test[every].flatten(1), worse.test[every].flatten(1)
    assert torch.nn.functional.cosine_similarity(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)).mean() < 0.85


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (["phantoms.foreign_classes=7"], "two or more must have labels"),
        (["phantoms.foreign_share=0.5"], "set foreign_classes too"),
        (["phantoms.wrong_labels=1.5"], "must be from 0 to 1"),
        (["phantoms.imbalance=0.5"], "must be from 1 to 10,000"),
        (["phantoms.test_tilt_in_degrees=0"], "must be from 1 to 90"),
        (["phantoms.imbalance=1000"], "leave class"),
    ],
)
def test_impossible_conditions_are_one_line(bench: Bench, tmp_path: Path, settings: list[str], problem: str) -> None:
    words = ["run", "--methods", "supervised", "--set", "phantoms.box=8", "--set", "phantoms.per_class=30"]
    code, _, error = bench(*words, *(part for one in settings for part in ("--set", one)), "--out", tmp_path / "runs")
    assert code == 2
    assert problem in error
    assert error.count("\n") == 1
