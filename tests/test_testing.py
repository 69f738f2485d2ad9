"""The checks that other packages run find what breaks the contract, and say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import (
    UNLABELLED,
    Backbone,
    Batch,
    Classifier,
    ClassifierNetwork,
    Dataset,
    Method,
    Recipe,
    Subtomograms,
    TrainingData,
    registry,
)
from bench.base.progress import Progress, silent
from bench.learning.trainer import Trainer
from bench.testing import check_dataset, check_method


@dataclass(frozen=True)
class Plain(Classifier):
    """As it should be."""

    title = "Plain"


@dataclass(frozen=True)
class Untitled(Classifier):
    """Has no title."""


@dataclass(frozen=True)
class Flat(Plain):
    """A loss that does not depend on the weights."""

    def loss(self, network: Any, batch: Batch) -> Tensor:
        return 0 * super().loss(network, batch)


@dataclass(frozen=True)
class Dicing(Plain):
    """Draws from the global stream."""

    def loss(self, network: Any, batch: Batch) -> Tensor:
        return super().loss(network, batch) * (1 + torch.rand(()))


@dataclass(frozen=True)
class Forgetful(Plain):
    """Keeps what it needs outside its network."""

    def fit(self, data: TrainingData, trainer: Trainer) -> nn.Module:
        seen: list[int] = []

        def loss(network: Any, batch: Batch) -> Tensor:
            seen.append(1)
            return self.loss(network, batch) * len(seen)

        return trainer.start(trainer.initialise(self.build(trainer.backbone)), loss, data.labelled()).finish().best()


@dataclass(frozen=True)
class Greedy(Plain):
    """Trains twice as long."""

    def fit(self, data: TrainingData, trainer: Trainer) -> nn.Module:
        super().fit(data, trainer)
        return super().fit(data, trainer)


@dataclass(frozen=True)
class Meddling(Plain):
    """Changes the labels that it was given."""

    def fit(self, data: TrainingData, trainer: Trainer) -> nn.Module:
        data.labels[-1] = 0
        return super().fit(data, trainer)


@dataclass(frozen=True)
class Wide(Plain):
    """Trains on larger batches."""

    @property
    def recipe(self) -> Recipe:
        return Recipe(batch_size=64)


class Pair(nn.Module):
    """Two classifiers; their mean answers."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.one, self.other = ClassifierNetwork(backbone), ClassifierNetwork(backbone)

    def logits(self, volumes: Tensor) -> Tensor:
        return (self.one.logits(volumes) + self.other.logits(volumes)) / 2


@dataclass(frozen=True)
class CoTraining(Method):
    """Each of two networks learns what the other answers (Chen et al. 2021), with an optimiser of its own kind."""

    title = "Cross pseudo supervision"

    @property
    def recipe(self) -> Recipe:
        def two_rates(network: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
            groups = [{"params": network.one.parameters(), "lr": learning_rate / 10}]
            groups += [{"params": network.other.parameters()}]
            return torch.optim.SGD(groups, lr=learning_rate, momentum=0.9)

        return Recipe(labelled_share=0.25, optimizer=two_rates, select="last")

    def build(self, backbone: Backbone) -> Pair:
        return Pair(backbone)

    def loss(self, network: Pair, batch: Batch) -> Tensor:
        one, other = network.one.logits(batch.volumes), network.other.logits(batch.volumes)
        known = batch.labels != UNLABELLED
        labels = (torch.where(known, batch.labels, logits.argmax(1)) for logits in (other, one))
        return sum(F.cross_entropy(*pair) for pair in zip((one, other), labels))  # type: ignore[return-value]


@pytest.mark.parametrize("kind", [Plain, CoTraining])
def test_a_method_that_keeps_the_contract_passes(kind: type[Method]) -> None:
    check_method(kind())


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Untitled, "has no title"),
        (Flat, "its loss has no gradient"),
        (Dicing, "draw from batch.generator"),
        (Forgetful, "after a restart"),
        (Greedy, "optimiser steps"),
        (Wide, "volumes"),
        (Meddling, "changed the volumes or labels"),
    ],
)
def test_each_breach_is_said(kind: type[Classifier], said: str) -> None:
    with pytest.raises(AssertionError, match=f"{kind.__name__}.*{said}"):
        check_method(kind(), ("fair",))


@dataclass(frozen=True)
class Blobs(Dataset):
    """Noise, drawn anew each time."""

    seed: int | None = None

    def load(self, progress: Progress = silent) -> Subtomograms:
        volumes = np.random.default_rng(self.seed).normal(size=(8, 8, 8, 8)).astype(np.float32)
        return Subtomograms(volumes, np.arange(8) % 2, ("a", "b"), 10.0, "blobs")


def test_a_data_set_is_checked_too() -> None:
    check_dataset(registry.dataset("phantoms", {"box": 8, "per_class": 4}))
    check_dataset(Blobs(seed=1))
    with pytest.raises(AssertionError, match="gives other bytes each time"):
        check_dataset(Blobs())
