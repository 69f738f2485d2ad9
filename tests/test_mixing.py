"""Volumes mixed in pairs: mixup, against plain sums."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from test_methods import N_CLASSES, _data, _filled, _trainer

from bench.learning.contracts import Batch
from bench.learning.method import Classifier
from bench.learning.mixing import beta, mixed
from bench.learning.networks import Backbone, ClassifierNetwork
from bench.methods.supervised import Supervised

LABELS = (0, 1, 2, 3, 1, 0, 2, 3)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _batch(labels: tuple[int, ...] = LABELS) -> Batch:
    volumes = torch.randn(len(labels), 1, 8, 8, 8, generator=_generator(1))
    return Batch(volumes, torch.tensor(labels), _generator(2), 1.0, torch.arange(len(labels)))


def _network() -> ClassifierNetwork:
    return _filled(ClassifierNetwork(Backbone(8, N_CLASSES, 4)))  # type: ignore[return-value]


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 1.0, 5.0])
def test_shares_have_the_beta_distribution(alpha: float) -> None:
    """By SciPy's, at points that single precision can tell from 0 and 1."""
    drawn, points = beta(alpha, 20_000, _generator()).numpy(), np.linspace(0.01, 0.99, 50)
    found = (drawn[:, None] <= points).mean(0)
    assert np.abs(found - scipy.stats.beta(alpha, alpha).cdf(points)).max() < 1.63 / math.sqrt(20_000)


@pytest.mark.parametrize("alpha", [1e-6, 1e-3, 100.0])
def test_shares_are_shares_at_the_ends(alpha: float) -> None:
    drawn = beta(alpha, 20_000, _generator())
    assert ((drawn >= 0) & (drawn <= 1)).all()
    assert drawn.std() == pytest.approx(0.5 / math.sqrt(2 * alpha + 1), rel=0.02)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("n_places", [16, 4, 1])
def test_a_mixture_keeps_the_variance_of_the_noise(share: float, n_places: int) -> None:
    """Also where a volume meets a view of itself, whose noise is the same."""
    places = torch.arange(16) % n_places
    noise = torch.randn(n_places, 1, 16, 16, 16, generator=_generator(3))[places]
    volumes, _ = mixed(noise, torch.zeros(16, 2), places, torch.full((16,), share), _generator())
    assert torch.allclose(volumes.var((1, 2, 3, 4)), torch.tensor(1.0), atol=0.15)
    assert volumes.var() == pytest.approx(1.0, abs=0.04)


def test_a_mixture_is_of_two_volumes_and_of_their_targets() -> None:
    batch, shares = _batch(), torch.linspace(0, 1, 8)
    targets = torch.rand(8, N_CLASSES, generator=_generator(4))
    volumes, mixture = mixed(batch.volumes, targets, torch.arange(8), shares, _generator(5))
    for i, partner in enumerate(torch.randperm(8, generator=_generator(5)).tolist()):
        b = 1.0 if partner == i else float(shares[i])
        whole = b * batch.volumes[i] + (1 - b) * batch.volumes[partner]
        assert torch.allclose(volumes[i], whole / math.sqrt(b**2 + (1 - b) ** 2), atol=1e-6)
        assert torch.allclose(mixture[i], b * targets[i] + (1 - b) * targets[partner], atol=1e-6)


# Mixup


class Unmixed(Classifier):
    """The supervised method before it could mix."""


def test_without_mixup_supervised_is_what_it_was_bit_by_bit(tmp_path: Path) -> None:
    ours = Supervised().fit(_data(), _trainer(tmp_path)).state_dict()
    before = Unmixed().fit(_data(), _trainer(tmp_path)).state_dict()
    assert all(torch.equal(ours[key], before[key]) for key in before)


def test_mixup_is_the_cross_entropy_of_mixed_volumes() -> None:
    network, labels = _network(), (0, 1, 2, 3, 1)
    draws = _generator(2)
    shares, partners = beta(0.2, 5, draws).tolist(), torch.randperm(5, generator=draws).tolist()
    volumes, total = _batch(labels).volumes, 0.0
    for i, (b, j) in enumerate(zip(shares, partners)):
        b = 1.0 if i == j else b
        mixture = (b * volumes[i] + (1 - b) * volumes[j]) / math.sqrt(b**2 + (1 - b) ** 2)
        log_p = network.logits(mixture[None]).log_softmax(1)[0]
        total -= b * float(log_p[labels[i]]) + (1 - b) * float(log_p[labels[j]])
    assert float(Supervised(mixup=0.2).loss(network, _batch(labels))) == pytest.approx(total / 5, rel=1e-5)


def test_validation_is_by_whole_volumes() -> None:
    network = _network()
    whole = replace(_batch((0, 1, 2, 3, 1)), indices=None)
    assert torch.equal(Supervised(mixup=0.2).loss(network, whole), Supervised().loss(network, whole))


def test_running_statistics_are_those_of_whole_volumes() -> None:
    network, plain, batch = _network().train(), _network().train(), _batch((0, 1, 2, 3, 1))
    Supervised(mixup=1.0).loss(network, batch)
    plain.logits(batch.volumes)
    for name, buffer in plain.named_buffers():
        if "running" in name:
            assert torch.allclose(dict(network.named_buffers())[name], buffer, atol=1e-6)
