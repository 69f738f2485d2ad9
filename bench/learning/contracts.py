"""What passes between the training loop and a method: data, batches, networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from bench.base.arrays import UNLABELLED
from bench.learning.feed import Feed
from bench.learning.views import Views

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


class Guess(NamedTuple):
    """Pseudo-labels of some volumes; each (b,)."""

    indices: Tensor  # places of the volumes in the training part
    labels: Tensor
    used: Tensor  # bool


@dataclass(frozen=True)
class Batch:
    """What a loss sees: some volumes, their labels, and the stream that its random draws must come from.

    Each view is drawn when it is asked for: what a loss does not use costs nothing.
    """

    as_they_are: Tensor  # (b, 1, d, h, w), or features (b, k)
    labels: Tensor  # (b,), UNLABELLED where hidden
    generator: torch.Generator  # on the volumes' device
    progress: float = 0.0  # of the training, from 0 to 1
    indices: Tensor | None = None  # (b,), places of the volumes in the training part
    views: Views | None = None  # None in validation
    guesses: list[Guess] = field(default_factory=list)  # what `guess` was told

    @cached_property
    def volumes(self) -> Tensor:
        """The volumes as every method trains on them, in the views of the run; the same at every look."""
        return self.as_they_are if self.views is None else self.views.training(self.as_they_are, self.generator)

    def weak(self) -> Tensor:
        """Another view that takes no signal away: turned by 180°, and moved if the run's views are."""
        return self.as_they_are if self.views is None else self.views.weak(self.as_they_are, self.generator)

    def strong(self) -> Tensor:
        """Another view as every method trains on, degraded."""
        return self.as_they_are if self.views is None else self.views.strong(self.as_they_are, self.generator)

    def labelled(self) -> Batch:
        """The labelled volumes alone."""
        return self._only(self.labels != UNLABELLED)

    def unlabelled(self) -> Batch:
        """The volumes without a label alone."""
        return self._only(self.labels == UNLABELLED)

    def guess(self, labels: Tensor, used: Tensor) -> None:
        """Say which labels (b,) the method takes these volumes to have, and which of them it used (b,), bool.

        They are compared with the truth once the training has ended, and shown beside the scores.
        """
        if self.indices is not None:
            self.guesses.append(Guess(self.indices, labels.detach(), used.detach()))

    def _only(self, which: Tensor) -> Batch:
        indices = None if self.indices is None else self.indices[which.to(self.indices.device)]
        return replace(self, as_they_are=self.as_they_are[which], labels=self.labels[which], indices=indices)


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
