"""The contract that every method keeps, and a reference value for the loss of each of ours."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bench import registry
from bench.base.arrays import UNLABELLED
from bench.data.subtomograms import Subtomograms
from bench.learning.contracts import Batch, TrainingData
from bench.learning.finetuning import FineTuned
from bench.learning.method import Classifier, Method
from bench.learning.networks import (
    AutoencoderNetwork,
    AutoencodingNetwork,
    Backbone,
    ClassifierNetwork,
)
from bench.learning.protocol import PROTOCOLS
from bench.learning.trainer import Trainer
from bench.methods.m2 import M1, M2, FeatureM2, VoxelM2
from bench.testing import N_CLASSES, check_method, tiny_data, tiny_trainer
from bench.trials import prepare
from bench.trials.trial import Runtime, Trial

METHODS = list(registry.entries(registry.METHODS))


def _batch(n: int = 6, side: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(1)
    labels = torch.tensor([0, 1, 2, UNLABELLED, UNLABELLED, UNLABELLED])[:n]
    return Batch(torch.randn(n, 1, side, side, side, generator=generator), labels, torch.Generator().manual_seed(2))


@pytest.fixture(params=METHODS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_keeps_the_contract(name: str, protocol: str) -> None:
    check_method(registry.method(name), (protocol,))


@pytest.mark.parametrize("epochs", [1, 3, 6])
def test_equal_steps_for_every_method_under_fair(
    name: str, epochs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted by the optimiser itself, the shared autoencoder's second half aside."""
    taken: list[int] = []
    step = torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: taken.append(1) or step(self))
    trainer, budget = tiny_trainer(tmp_path, "fair", epochs), epochs * math.ceil(48 / 16)
    registry.method(name).fit(tiny_data(), trainer)
    assert trainer.tally.steps == budget
    assert len(taken) - (budget - budget // 2 if name == "pretrained" else 0) == budget


def test_is_described_and_derives_from_a_base_alone(name: str) -> None:
    assert registry.entries(registry.METHODS)[name].summary.endswith(".")
    (base,) = type(registry.method(name)).__bases__
    assert base in (Method, Classifier, FineTuned)


def _filled(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(5)
    for parameter in network.parameters():
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    return network.eval().requires_grad_(False)


def test_supervised_loss_is_cross_entropy() -> None:
    network = _filled(ClassifierNetwork(Backbone(8, N_CLASSES, 4)))
    batch = _batch(3)
    p = network.logits(batch.volumes).exp()
    expected = -(p[range(3), batch.labels] / p.sum(1)).log().mean()
    for method in ("supervised", "self_training", "pretrained"):
        assert float(registry.method(method).loss(network, batch)) == pytest.approx(float(expected), rel=1e-5)


def test_autoencoding_loss_is_equation_3_volume_by_volume() -> None:
    network = _filled(AutoencodingNetwork(Backbone(8, N_CLASSES, 4)))
    batch, alpha, beta = _batch(), 0.7, 2.0
    total = 0.0
    for volume, label in zip(batch.volumes, batch.labels):
        x = volume[None]
        total += alpha * float((network.reconstruct(x) - x).square().mean())
        total += 1e-4 * float(network.encoder.code(network.encoder(x)).abs().sum())
        if label != UNLABELLED:
            total += beta * float(-network.logits(x).log_softmax(1)[0, label])
    loss = registry.method("autoencoding", {"alpha": alpha, "beta": beta}).loss(network, batch)
    assert float(loss) == pytest.approx(total / 6, rel=1e-5)


def test_autoencoder_loss_is_equation_1() -> None:
    network = _filled(AutoencoderNetwork(Backbone(8, N_CLASSES, 4)))
    batch = _batch()
    error = (network.reconstruct(batch.volumes) - batch.volumes).square().mean()
    penalty = 1e-4 * network.encoder.code(network.encoder(batch.volumes)).abs().sum() / 6
    assert float(registry.method("autoencoder").loss(network, batch)) == pytest.approx(float(error + penalty), rel=1e-5)


class _Scripted(nn.Module):
    """An M2 network of tables whose posterior has no spread, so that the bounds can be summed by hand."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.q_y = torch.randn(6, N_CLASSES, generator=generator)
        self.mean = torch.randn(6, N_CLASSES, 2, generator=generator)
        self.log_p_x = torch.randn(6, N_CLASSES, generator=generator)

    def features(self, volumes: torch.Tensor) -> torch.Tensor:
        return torch.arange(len(volumes))

    def class_logits(self, features: torch.Tensor) -> torch.Tensor:
        return self.q_y[features]

    def posterior(self, features: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.mean[features, y], torch.full((len(y), 2), -60.0)

    def log_likelihood(
        self, volumes: torch.Tensor, volume: torch.Tensor, y: torch.Tensor, z: torch.Tensor
    ) -> torch.Tensor:
        assert torch.allclose(z, self.mean[volume, y], atol=1e-6)
        return self.log_p_x[volume, y]


def test_m2_bounds_equal_an_explicit_sum_over_the_classes() -> None:
    network, batch, alpha = _Scripted(), _batch(), 0.3
    q = network.q_y.softmax(1)

    def bound(i: int, y: int) -> float:  # −L(x, y), Eq. 6
        mean = network.mean[i, y]
        prior, posterior = torch.distributions.Normal(0.0, 1.0), torch.distributions.Normal(mean, math.exp(-30.0))
        kl = torch.distributions.kl_divergence(posterior, prior).sum()
        return float(network.log_p_x[i, y] + math.log(1 / N_CLASSES) - kl)

    total, cross_entropies = 0.0, []
    for i, label in enumerate(batch.labels.tolist()):
        if label == UNLABELLED:  # −U(x), Eq. 7: expectation of the bound plus the entropy
            total += sum(float(q[i, y]) * bound(i, y) for y in range(N_CLASSES))
            total += float(-(q[i] * q[i].log()).sum())
        else:
            total += bound(i, label)
            cross_entropies.append(-math.log(float(q[i, label])))
    expected = -total / 6 + alpha * sum(cross_entropies) / len(cross_entropies)
    assert float(M2(alpha).loss(network, batch)) == pytest.approx(expected, rel=1e-5)  # type: ignore[arg-type]


def test_m2_likelihoods_are_gaussians() -> None:
    voxel = _filled(VoxelM2(Backbone(8, N_CLASSES, 4)))
    batch = _batch(3)
    y, z = torch.tensor([0, 1, 1]), torch.randn(3, 50, generator=batch.generator)
    volume = torch.tensor([0, 1, 2])
    normal = torch.distributions.Normal(voxel.rebuild(y, z), 1.0)
    expected = normal.log_prob(batch.volumes).flatten(1).sum(1)
    assert torch.allclose(voxel.log_likelihood(batch.volumes, volume, y, z), expected, rtol=1e-5)
    feature = _filled(FeatureM2(N_CLASSES, 20))
    x = torch.randn(3, 50, generator=batch.generator)
    mean, log_variance = feature.p_x(torch.cat([z, F.one_hot(y, N_CLASSES)], 1)).chunk(2, 1)
    expected = torch.distributions.Normal(mean, (0.5 * log_variance).exp()).log_prob(x).sum(1)
    assert torch.allclose(feature.log_likelihood(x, volume, y, z), expected, rtol=1e-5)


def test_m1_loss_is_the_negative_bound() -> None:
    m1, batch = _filled(M1(8)), _batch()
    mean, log_variance = m1.q_z(batch.volumes).chunk(2, 1)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    z = mean + posterior.stddev * torch.randn(mean.shape, generator=torch.Generator().manual_seed(2))
    log_p_x = torch.distributions.Normal(m1.p_x(z), 1.0).log_prob(batch.volumes.flatten(1)).sum(1)
    kl = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(1)
    assert float(m1.loss(batch)) == pytest.approx(float((kl - log_p_x).mean() / 512), rel=1e-5)


def test_pretrained_starts_from_the_autoencoder_that_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under `paper` it is the same network; the second method finds it in the cache and does not train it again."""
    data, first = tiny_data(), tiny_trainer(tmp_path, "paper")
    reported = registry.method("autoencoder").fit(data.without_labels(), first)
    starts: list[dict[str, torch.Tensor]] = []
    start = Trainer.start

    def watch(self: Trainer, network: nn.Module, *arguments: object, **options: object) -> object:
        starts.append({k: v.clone() for k, v in network.state_dict().items()})
        return start(self, network, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "start", watch)
    registry.method("pretrained").fit(data, tiny_trainer(tmp_path, "paper"))
    assert len(starts) == 1
    for key, weight in reported.encoder.convolutions.state_dict().items():
        assert torch.equal(starts[0][f"encoder.convolutions.{key}"], weight)


@pytest.mark.parametrize("epochs", [1, 3])
def test_self_training_learns_from_pseudo_labels_under_fair(
    epochs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.learning.training import Run

    trained_on: list[int] = []
    step = Run._step

    def watch(self: Run, indices: torch.Tensor) -> torch.Tensor:
        trained_on.append(len(self.data.labels))
        return step(self, indices)

    monkeypatch.setattr(Run, "_step", watch)
    method = registry.method("self_training", {"thresholds": (0.0, 1.0)})
    method.fit(tiny_data(), tiny_trainer(tmp_path, "fair", epochs))
    assert trained_on == [24] * epochs + [48] * epochs + [24] * epochs


def test_only_confident_answers_become_pseudo_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.learning.training import Run

    sizes: list[int] = []
    train_on = Run.train_on

    def watch(self: Run, data: TrainingData) -> None:
        sizes.append(len(data.labels))
        assert (data.labels != UNLABELLED).all()
        train_on(self, data)

    monkeypatch.setattr(Run, "train_on", watch)
    registry.method("self_training", {"thresholds": (0.0,)}).fit(tiny_data(), tiny_trainer(tmp_path, "paper", epochs=2))
    assert sizes[-1] == 48  # every score is above 0
    sizes.clear()
    registry.method("self_training", {"thresholds": (1.0,)}).fit(tiny_data(), tiny_trainer(tmp_path, "paper", epochs=2))
    assert set(sizes) == {24}  # none is above 1


def test_no_method_learns_from_test_labels(
    name: str,
    make_trial: Callable[..., Trial],
    runtime: Runtime,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Corrupt on disk every label that the method may not see: the weights must not change by a bit."""
    ours, original = make_trial(name), Subtomograms.open(tiny_folder)
    split = prepare.split_of(ours, original)
    monkeypatch.setattr(prepare, "split_of", lambda *_: split)  # it is stratified, so it would move with the labels
    corrupted = original.labels.copy()
    hidden = np.setdiff1d(np.arange(len(corrupted)), np.union1d(split.labelled, split.validation_labelled))
    corrupted[hidden] = (corrupted[hidden] + 1) % 8
    (tmp_path / "corrupted").mkdir()
    replace(original, labels=corrupted).save(tmp_path / "corrupted")
    weights = []
    for folder in (tiny_folder, tmp_path / "corrupted"):
        here = replace(runtime, cache_folder=tmp_path / f"cache-{len(weights)}")
        prepared = prepare.prepare(ours, folder, here)
        weights.append(registry.method(name).fit(prepared.data, prepared.trainer).state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_the_rim_control_cannot_see_the_particle() -> None:
    from bench.methods.rim import RimNetwork

    network = RimNetwork(Backbone(16, N_CLASSES, filters=4)).eval()
    assert 0.4 < network.rim.float().mean() < 0.6  # 1 − π / 6 and the steps of a small ball
    generator = torch.Generator().manual_seed(0)
    volumes = torch.randn(3, 1, 16, 16, 16, generator=generator)
    radius = (torch.stack(torch.meshgrid(*[torch.arange(16) - 7.5] * 3, indexing="ij")) ** 2).sum(0).sqrt()
    with torch.inference_mode():
        before = network.logits(volumes)
        inside = torch.where(radius <= 8, torch.randn(volumes.shape, generator=generator) * 9 + 5, volumes)
        assert torch.equal(network.logits(inside), before)
        assert torch.allclose(network.logits(2 * volumes - 3), before, atol=1e-4)  # as a bright particle would do to it
        outside = torch.where(radius > 8, torch.randn(volumes.shape, generator=generator), volumes)
        assert not torch.allclose(network.logits(outside), before, atol=1e-3)
