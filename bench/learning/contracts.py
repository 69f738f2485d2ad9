"""What passes between the training loop and a method: data, batches, networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from bench.base.arrays import UNLABELLED
from bench.learning.feed import Feed

EVALUATION_BATCH = 128


Weights = dict[str, Tensor]


@runtime_checkable
class Classifies(Protocol):
    """A trained network that names volumes."""

    def logits(self, volumes: Tensor) -> Tensor:
        """(b, 1, d, h, w) → (b, classes)."""


@runtime_checkable
class Rebuilds(Protocol):
    """A trained network that reconstructs volumes."""

    def reconstruct(self, volumes: Tensor) -> Tensor:
        """(b, 1, d, h, w) → the same shape."""


class Batch(NamedTuple):
    """What a loss sees: some volumes, their labels, and the stream that its random draws must come from."""

    volumes: Tensor  # (b, 1, d, h, w)
    labels: Tensor  # (b,), UNLABELLED where hidden
    generator: torch.Generator  # on the volumes' device


@dataclass(frozen=True)
class TrainingData:
    """Everything a method may see: never a test volume, never a hidden label."""

    volumes: Feed  # n volumes, normalised
    labels: Tensor  # (n,), UNLABELLED where hidden
    validation_volumes: Feed
    validation_labels: Tensor

    def labelled(self) -> TrainingData:
        """The labelled volumes alone."""
        known, valid = self.labels != UNLABELLED, self.validation_labels != UNLABELLED
        return TrainingData(
            self.volumes.only(known),
            self.labels[known],
            self.validation_volumes.only(valid),
            self.validation_labels[valid],
        )

    def without_labels(self) -> TrainingData:
        """The same volumes, every label hidden."""
        hide = torch.full_like
        return replace(
            self, labels=hide(self.labels, UNLABELLED), validation_labels=hide(self.validation_labels, UNLABELLED)
        )


def in_batches(function: Callable[[Tensor], Tensor], volumes: Feed) -> Tensor:
    """`function` over all volumes, some at a time; results joined along the first axis."""
    return torch.cat([function(part) for part in volumes.batches(EVALUATION_BATCH)])
