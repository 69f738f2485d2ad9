"""The fast networks against the plain ones, written out as in the paper."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from plain import plain_encode, plain_joint_loss, plain_reconstruct
from torch import Tensor, nn

from bench import registry
from bench.base.errors import BenchError
from bench.learning.contracts import Batch
from bench.learning.networks import AutoencodingNetwork, Backbone, ClassifierNetwork, initialise, sparsity


def test_the_paper_s_network_has_its_number_of_parameters() -> None:
    network = AutoencodingNetwork(Backbone(28, 7))
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 4_350_184


@pytest.mark.parametrize(("side", "levels"), [(28, 2), (16, 2), (64, 4)])
def test_levels_and_shapes(side: int, levels: int) -> None:
    network = AutoencodingNetwork(Backbone(side, 5, filters=4))
    volumes = torch.zeros(2, 1, side, side, side)
    assert len(network.encoder.convolutions) == len(network.decoder.convolutions) == levels
    assert network.encoder(volumes).shape == (2, 4, *(side >> levels,) * 3)
    assert network.reconstruct(volumes).shape == volumes.shape
    assert network.logits(volumes).shape == (2, 5)


@pytest.mark.parametrize("side", [8, 12, 28])
def test_values_and_gradients_equal_the_plain_network(side: int) -> None:
    network = AutoencodingNetwork(Backbone(side, 3, filters=6)).double()
    initialise(network, torch.Generator().manual_seed(0), keras_style=True)
    volumes = torch.randn(3, 1, side, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gradients = []
    for features, rebuilt in (
        (network.encoder(volumes), network.reconstruct(volumes)),
        (plain_encode(network, volumes), plain_reconstruct(network, volumes)),
    ):
        loss = (rebuilt - volumes).square().mean() + network.classifier(features).square().mean()
        gradients.append((loss, *torch.autograd.grad(loss, list(network.parameters()))))
    for fast, plain in zip(*gradients):
        assert torch.allclose(fast, plain, rtol=1e-9, atol=1e-12)


def _trained(loss: Callable[[AutoencodingNetwork, Batch], Tensor], steps: int) -> tuple[list[Tensor], list[float]]:
    """Gradients of the first step, and the loss of each."""
    network = AutoencodingNetwork(Backbone(16, 3, filters=8))
    initialise(network, torch.Generator().manual_seed(0), keras_style=True)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)  # the paper's; at ten times it rounding grows 100-fold
    generator = torch.Generator().manual_seed(1)
    first: list[Tensor] = []
    curve = []
    for _ in range(steps):
        volumes = torch.randn(12, 1, 16, 16, 16, generator=generator)
        labels = torch.randint(-1, 3, (12,), generator=generator)
        volumes += labels.view(-1, 1, 1, 1, 1)
        optimizer.zero_grad()
        value = loss(network, Batch(volumes, labels, generator))
        value.backward()
        first = first or [p.grad.clone() for p in network.parameters() if p.grad is not None]
        optimizer.step()
        curve.append(float(value.detach()))
    return first, curve


def test_a_step_s_gradients_and_fifty_losses_are_those_of_the_plain_network() -> None:
    fast, plain = (_trained(loss, 50) for loss in (registry.method("autoencoding").loss, plain_joint_loss))
    assert len(fast[0]) == len(plain[0]) > 10
    for ours, theirs in zip(fast[0], plain[0]):
        assert float((ours - theirs).norm()) <= 1e-4 * float(theirs.norm()) + 1e-7  # the bias before BatchNorm has none
    assert fast[1] == pytest.approx(plain[1], rel=1e-3)
    assert plain[1][-1] < 0.7 * plain[1][0]


@pytest.mark.parametrize("side", [30, 4, 72])
def test_a_box_that_does_not_divide_is_refused(side: int) -> None:
    with pytest.raises(BenchError, match=str(side)):
        Backbone(side, 2)


def test_penalty_on_the_code_is_its_l1_norm() -> None:
    assert torch.allclose(sparsity(torch.tensor([[1.0, -2.0], [0.0, 3.0]])), torch.tensor([3e-4, 3e-4]))


@pytest.mark.parametrize("keras_style", [True, False])
def test_weights_come_from_the_generator_alone(keras_style: bool) -> None:
    def weights(seed: int) -> Tensor:
        network = AutoencodingNetwork(Backbone(8, 3, filters=4))
        initialise(network, torch.Generator().manual_seed(seed), keras_style)
        return torch.cat([p.detach().flatten() for p in network.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_keras_style_is_glorot_uniform_with_keras_batchnorm() -> None:
    layer, norm = nn.Linear(300, 200), nn.BatchNorm1d(4)
    initialise(nn.Sequential(layer, norm), torch.Generator().manual_seed(0), keras_style=True)
    limit = (6 / 500) ** 0.5
    assert layer.weight.abs().max() <= limit
    assert float(layer.weight.detach().var()) == pytest.approx(limit**2 / 3, rel=0.02)
    assert (layer.bias == 0).all()
    assert (norm.momentum, norm.eps) == (0.01, 1e-3)


@pytest.mark.parametrize("n", [0, 1])
def test_volumes_too_few_for_statistics_pass_as_in_prediction(n: int) -> None:
    network = ClassifierNetwork(Backbone(8, 3, filters=2)).train()
    network.logits(torch.randn(6, 1, 8, 8, 8))  # statistics that are not those of the start
    before, volumes = {k: v.clone() for k, v in network.state_dict().items()}, torch.randn(n, 1, 8, 8, 8)
    logits = network.logits(volumes)
    logits.sum().backward()
    assert torch.equal(logits, network.eval().logits(volumes))
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)
