"""Laws of the split: stratified, disjoint, nested, the same for all methods."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from bench.base.arrays import UNLABELLED
from bench.base.errors import BenchError
from bench.data.split import make_split

PERCENTS = [5.0, 10.0, 20.0, 50.0, 100.0]
SHARES = [None, 0.2]  # the protocols' validation shares


@pytest.fixture(params=[0, 7])
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def labels(rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(np.repeat(np.arange(4), [150, 200, 250, 400]))


@pytest.mark.parametrize("share", SHARES)
def test_parts_are_disjoint_and_cover_everything(labels: np.ndarray, seed: int, share: float | None) -> None:
    split = make_split(labels, 10.0, seed, 0.4, share)
    parts = np.concatenate([split.train, split.validation, split.test])
    assert np.array_equal(np.sort(parts), np.arange(len(labels)))
    assert np.isin(split.labelled, split.train).all()
    assert np.isin(split.validation_labelled, split.validation).all()


@pytest.mark.parametrize("share", SHARES)
def test_fractions_nest_and_share_everything_else(labels: np.ndarray, seed: int, share: float | None) -> None:
    splits = [make_split(labels, labelled_percent, seed, 0.4, share) for labelled_percent in PERCENTS]
    for small, large in pairwise(splits):
        assert np.isin(small.labelled, large.labelled).all()
        assert np.isin(small.validation_labelled, large.validation_labelled).all()
        for part in ("train", "validation", "test"):
            assert np.array_equal(getattr(small, part), getattr(large, part))


@pytest.mark.parametrize("labelled_percent", PERCENTS)
def test_fair_counts_validation_labels_in_the_budget(labels: np.ndarray, labelled_percent: float) -> None:
    split = make_split(labels, labelled_percent, 0, 0.4, 0.2)
    for c in range(4):
        outside = np.isin(np.arange(len(labels)), split.test, invert=True)
        budget = round(labelled_percent / 100 * (outside & (labels == c)).sum())
        used = (labels[split.labelled] == c).sum() + (labels[split.validation_labelled] == c).sum()
        assert used == budget
        assert (labels[split.validation_labelled] == c).any()


def test_paper_labels_all_of_the_validation_set_outside_the_budget(labels: np.ndarray) -> None:
    split = make_split(labels, 5.0, 0, 0.4, None)
    assert np.array_equal(split.validation_labelled, split.validation)
    assert len(split.validation) == pytest.approx(0.1 * 600, abs=4)
    assert len(split.labelled) == pytest.approx(0.05 * 600, abs=4)


def test_every_part_is_stratified(labels: np.ndarray, seed: int) -> None:
    split = make_split(labels, 20.0, seed, 0.4, 0.2)
    shares = np.bincount(labels) / len(labels)
    for part in (split.train, split.validation, split.test, split.labelled):
        assert np.bincount(labels[part]) / len(part) == pytest.approx(shares, abs=0.02)


def test_seeds_give_other_splits_and_the_hash_tells(labels: np.ndarray) -> None:
    one, same, other = (make_split(labels, 10.0, seed, 0.4, 0.2).hash() for seed in (0, 0, 1))
    assert one == same != other


def test_tomograms_stay_whole(labels: np.ndarray, rng: np.random.Generator) -> None:
    tomograms = rng.integers(0, 12, len(labels)).astype(str)
    split = make_split(labels, 10.0, 0, 0.4, 0.2, tomograms)
    assert split.by == "tomogram"
    assert not set(tomograms[split.test]) & (set(tomograms[split.train]) | set(tomograms[split.validation]))
    assert len(split.test) / len(labels) == pytest.approx(0.4, abs=0.1)


def test_a_class_of_one_tomogram_is_divided_by_particle_and_the_row_says_so() -> None:
    labels = np.repeat([0, 1], 50)
    split = make_split(labels, 20.0, 0, 0.3, 0.2, np.where(labels == 0, "a", "b"))
    assert split.by == "particle, a class has one tomogram only"
    assert all((labels[part] == c).any() for part in (split.train, split.test) for c in (0, 1))


def test_a_fraction_that_leaves_a_class_without_a_label_is_refused() -> None:
    labels = np.repeat([0, 1], [1000, 20])
    with pytest.raises(BenchError, match="class 1"):
        make_split(labels, 5.0, 0, 0.5, 0.2)


@pytest.mark.parametrize("tomograms", [None, 6])
def test_a_volume_that_nobody_labelled_is_trained_on_only(labels: np.ndarray, tomograms: int | None) -> None:
    ids = None if tomograms is None else np.array([f"t{i % tomograms}" for i in range(len(labels))])
    some = np.where(np.random.default_rng(1).random(len(labels)) < 0.7, UNLABELLED, labels)
    split = make_split(some, 50.0, 0, 0.3, 0.2, ids)
    known = np.flatnonzero(some != UNLABELLED)
    assert np.isin(np.concatenate([split.test, split.validation, split.labelled]), known).all()
    everything = np.concatenate([split.train, split.validation, split.test])
    assert len(np.unique(everything)) == len(everything)
    assert np.isin(known, everything).all()
    hidden = np.setdiff1d(split.train, known)
    if ids is None:
        assert len(hidden) == (some == UNLABELLED).sum()
    else:
        assert len(hidden) > 0
        assert not set(ids[split.train]) & set(ids[split.test])
