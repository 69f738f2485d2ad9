"""Optimiser steps and evaluation of the paper's network, each beside the plain form in the same run."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
from conftest import Compare
from plain import plain_encode, plain_joint_loss, plain_reconstruct
from torch import Tensor, nn
from torch.nn import functional as F

from bench import registry
from bench.base.arrays import UNLABELLED
from bench.learning.contracts import Batch
from bench.learning.networks import AutoencodingNetwork, Backbone

CLASSES = 8


def make_batch(n: int, side: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    labels = torch.where(torch.arange(n) < n // 2, torch.arange(n) % CLASSES, UNLABELLED)
    return Batch(torch.randn(n, 1, side, side, side, generator=generator), labels, generator)


def make_step(parameters: Iterable[nn.Parameter], loss: Callable[[], Tensor], fused: bool) -> Callable[[], None]:
    optimizer = torch.optim.Adam(parameters, fused=fused)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def _gigaflops(side: int, levels: int, filters: int) -> float:
    """Of a volume's forward and backward pass; an up-convolution is 64 multiply-adds a low-resolution voxel."""
    one_channel, up, deep = 2 * 27 * filters, 2 * 64 * filters**2, 2 * 27 * filters**2
    total = side**3 * one_channel * (2 + 3)  # the first layer needs no gradient to its input
    for level in range(1, levels + 1):
        total += (side >> level) ** 3 * (3 * up + (3 * deep if level < levels else 0))
    return total / 1e9


# The paper's sizes, but for the batch at 64³: its 64 volumes take the plain form minutes and 12 GB.
@pytest.mark.parametrize(("side", "n"), [(28, 64), (64, 8)])
def test_joint_step(compare: Compare, side: int, n: int) -> None:
    network, batch = AutoencodingNetwork(Backbone(side, CLASSES)), make_batch(n, side)
    ours = registry.method("autoencoding").loss
    compare(
        f"joint step, {side}³, batch {n}",
        make_step(network.parameters(), lambda: plain_joint_loss(network, batch), fused=False),
        make_step(network.parameters(), lambda: ours(network, batch), fused=True),
        n * _gigaflops(side, len(network.encoder.convolutions), 32),
        memory=0.6,
    )


def test_classifier_step(compare: Compare) -> None:
    network, volumes = AutoencodingNetwork(Backbone(28, CLASSES)), make_batch(64, 28).volumes
    parameters = [*network.encoder.convolutions.parameters(), *network.classifier.parameters()]
    labels = torch.arange(64) % CLASSES

    def loss(features: Tensor) -> Tensor:
        return F.cross_entropy(network.classifier(features), labels)

    compare(
        "classifier step, 28³, batch 64",
        make_step(parameters, lambda: loss(plain_encode(network, volumes)), fused=False),
        make_step(parameters, lambda: loss(network.encoder(volumes)), fused=True),
        memory=0.6,
    )


@pytest.mark.parametrize("what", ["classifying", "reconstructing"])
def test_evaluation(compare: Compare, what: str) -> None:
    network, volumes = AutoencodingNetwork(Backbone(28, CLASSES)).eval(), make_batch(128, 28).volumes
    plain, fast = {
        "classifying": (lambda: network.classifier(plain_encode(network, volumes)), lambda: network.logits(volumes)),
        "reconstructing": (lambda: plain_reconstruct(network, volumes), lambda: network.reconstruct(volumes)),
    }[what]
    compare(f"{what}, 28³, 128 volumes", torch.no_grad()(plain), torch.inference_mode()(fast), memory=0.3)


def test_matrix_product(compare: Compare) -> None:
    """The machine's SGEMM rate, the roof over the steps; the same in both forms."""
    a, b = torch.randn(2, 2048, 2048)
    compare("SGEMM, 2048", lambda: a @ b, lambda: a @ b, 2 * 2048**3 / 1e9, gated=False)
