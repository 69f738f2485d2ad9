"""Volumes mixed in pairs: mixup and MixMatch, against plain sums."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from test_methods import _filled
from torch import Tensor

from bench.base.arrays import UNLABELLED
from bench.learning.contracts import Batch
from bench.learning.feed import Feed
from bench.learning.method import Classifier
from bench.learning.mixing import beta, mixed
from bench.learning.networks import Backbone, ClassifierNetwork
from bench.learning.views import Views
from bench.methods import mixmatch
from bench.methods.mixmatch import MixMatch
from bench.methods.supervised import Supervised
from bench.testing import N_CLASSES, tiny_data, tiny_trainer

LABELS = (0, 1, 2, UNLABELLED, UNLABELLED, UNLABELLED, UNLABELLED, UNLABELLED)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _batch(labels: tuple[int, ...] = LABELS, progress: float = 1.0, places: Tensor | None = None) -> Batch:
    volumes = torch.randn(len(labels), 1, 8, 8, 8, generator=_generator(1))
    indices = torch.arange(len(labels)) if places is None else places
    return Batch(volumes, torch.tensor(labels), _generator(2), progress, indices)


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
    ours = Supervised().fit(tiny_data(), tiny_trainer(tmp_path)).state_dict()
    before = Unmixed().fit(tiny_data(), tiny_trainer(tmp_path)).state_dict()
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
    batch = replace(_batch(), indices=None)
    expected = Supervised().loss(network, batch.labelled())
    assert float(MixMatch().loss(network, batch)) == pytest.approx(float(expected), rel=1e-6)


def test_running_statistics_are_those_of_whole_volumes() -> None:
    for method, batch in ((Supervised(mixup=1.0), _batch((0, 1, 2, 3, 1))), (MixMatch(views=1), _batch())):
        network, plain = _network().train(), _network().train()
        method.loss(network, batch)
        plain.logits(batch.volumes)
        for name, buffer in plain.named_buffers():
            if "running" in name:
                assert torch.allclose(dict(network.named_buffers())[name], buffer, atol=1e-6)


# MixMatch


def test_mixmatch_equals_an_explicit_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guesses, partners, mixtures and both losses, one volume at a time."""
    network, method, batch = _network(), MixMatch(weight=7.0, temperature=0.5), _batch(progress=0.1)
    shares = torch.rand(3 + 2 * 5, generator=_generator(6))
    monkeypatch.setattr(mixmatch, "beta", lambda *_: shares)

    def p(volume: Tensor) -> Tensor:
        return network.logits(volume[None]).softmax(1)[0]

    pool = []  # volume, target, place
    for i in range(3):
        pool.append((batch.volumes[i], torch.eye(N_CLASSES)[LABELS[i]], i))
    for _ in range(2):  # both views are the volume itself, as the batch has none
        for i in range(3, 8):
            square = p(batch.volumes[i]) ** 2
            pool.append((batch.volumes[i], square / square.sum(), i))
    cross_entropies, errors = [], []
    for i, j in enumerate(torch.randperm(13, generator=_generator(2)).tolist()):
        (own, target, place), (other, other_target, other_place) = pool[i], pool[j]
        b = max(float(shares[i]), 1 - float(shares[i])) if place != other_place else 1.0
        predicted = p((b * own + (1 - b) * other) / math.sqrt(b**2 + (1 - b) ** 2))
        wanted = b * target + (1 - b) * other_target
        if i < 3:
            cross_entropies.append(-float((wanted * predicted.log()).sum()))
        else:
            errors.append(float((wanted - predicted).square().sum()) / N_CLASSES)
    expected = sum(cross_entropies) / 3 + 7.0 * (0.1 / 0.4) * sum(errors) / 10
    assert float(method.loss(network, batch)) == pytest.approx(expected, rel=1e-4)


def test_mixmatch_without_weight_or_mixing_is_supervised() -> None:
    network, unmixed = _network(), MixMatch(alpha=1e-3, weight=0.0)
    expected = float(Supervised().loss(network, _batch().labelled()))
    assert float(unmixed.loss(network, _batch())) == pytest.approx(expected, rel=1e-5)
    assert float(replace(unmixed, weight=25.0).loss(network, _batch(progress=0.0))) == pytest.approx(expected, rel=1e-5)
    assert float(replace(unmixed, weight=25.0).loss(network, _batch())) > expected + 1e-6
    assert float(replace(unmixed, alpha=1.0).loss(network, _batch())) != pytest.approx(expected, rel=1e-5)


def test_mixmatch_learns_from_unlabelled_volumes() -> None:
    network = _network().requires_grad_(True)
    MixMatch().loss(network, _batch((UNLABELLED,) * 8)).backward()
    assert float(network.encoder.convolutions[0].weight.grad.abs().max()) > 0


def test_mixmatch_reports_its_guesses_of_the_unlabelled_volumes() -> None:
    network, batch = _network(), _batch()
    MixMatch().loss(network, batch)
    (guess,) = batch.guesses
    assert guess.indices.tolist() == [3, 4, 5, 6, 7]
    assert torch.equal(guess.labels, network.logits(batch.volumes[3:]).argmax(1))
    assert guess.used.all()


@pytest.mark.parametrize("labels", [(1,) * 8, (UNLABELLED,) * 8, (0, *[UNLABELLED] * 7), (2, UNLABELLED), (0, 0)])
def test_a_small_or_uneven_batch_gives_finite_gradients(labels: tuple[int, ...]) -> None:
    feed = Feed(torch.randn(16, 8, 8, 8, generator=_generator()))
    views = Views.of("turns", feed, (-60.0, 60.0))
    for places in (None, torch.zeros(len(labels), dtype=torch.long)):
        network = _network().train().requires_grad_(True)
        batch = replace(_batch(labels, places=places), views=views)
        MixMatch().loss(network, batch).backward()
        if UNLABELLED not in labels:
            Supervised(mixup=0.2).loss(network, batch).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
