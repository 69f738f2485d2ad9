"""Optimiser steps and evaluation of the paper's network at 28³, each beside the plain form in the same run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from plain import plain_encode, plain_joint_loss
from torch import Tensor
from torch.nn import functional as F

from bench import registry
from bench.networks import AutoencodingNetwork, Backbone
from bench.split import UNLABELLED
from bench.training import Batch

VOLUMES = 16
ROUNDS = {"rounds": 3, "warmup_rounds": 1}


@pytest.fixture
def network() -> AutoencodingNetwork:
    return AutoencodingNetwork(Backbone(28, 7))


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    labels = torch.where(torch.arange(VOLUMES) < VOLUMES // 2, torch.arange(VOLUMES) % 7, UNLABELLED)
    return Batch(torch.randn(VOLUMES, 1, 28, 28, 28, generator=generator), labels, generator)


def _step(network: AutoencodingNetwork, loss: Callable[[], Tensor], fused: bool) -> Callable[[], None]:
    optimizer = torch.optim.Adam(network.parameters(), fused=fused)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


@pytest.mark.parametrize("form", ["fast", "plain"])
def test_joint_step(benchmark, network: AutoencodingNetwork, batch: Batch, form: str) -> None:
    ours = registry.method("autoencoding").loss
    loss = ours if form == "fast" else plain_joint_loss
    benchmark.pedantic(_step(network, lambda: loss(network, batch), form == "fast"), **ROUNDS)


@pytest.mark.parametrize("form", ["fast", "plain"])
def test_classifier_step(benchmark, network: AutoencodingNetwork, batch: Batch, form: str) -> None:
    encode = network.encoder if form == "fast" else lambda volumes: plain_encode(network, volumes)
    labels = torch.arange(VOLUMES) % 7
    loss = lambda: F.cross_entropy(network.classifier(encode(batch.volumes)), labels)  # noqa: E731
    benchmark.pedantic(_step(network, loss, form == "fast"), **ROUNDS)


@pytest.mark.parametrize("form", ["fast", "plain"])
def test_evaluation(benchmark, network: AutoencodingNetwork, batch: Batch, form: str) -> None:
    network.eval()
    encode = network.encoder if form == "fast" else lambda volumes: plain_encode(network, volumes)

    @torch.inference_mode()
    def evaluate() -> Tensor:
        return network.classifier(encode(batch.volumes)).softmax(1)

    benchmark.pedantic(evaluate, **ROUNDS)
