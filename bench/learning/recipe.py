"""What a method may choose about how its network is trained, beside the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from bench.learning.protocol import SELECTIONS


def adam(network: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """The optimiser of all methods that name no other (Kingma and Ba 2015)."""
    return torch.optim.Adam(network.parameters(), lr=learning_rate, betas=(0.9, 0.99), fused=True)


@dataclass(frozen=True)
class Recipe:
    """Choices of a method about a training. The number of steps is none of them: the run gives it.

    Volumes are counted: a method whose batches are larger than the run's sees more of them, is marked unequal where
    all methods get equal steps, and is not ranked.
    """

    batch_size: int | None = None  # volumes; None: the run's
    labelled_share: float = 0.5  # of a batch, where some volumes have labels and some have none, and steps are equal
    learning_rate: float | None = None  # at its highest; None: the protocol's
    optimizer: Callable[[nn.Module, float], torch.optim.Optimizer] = adam  # of a network, at a learning rate
    select: str | None = None  # which weights are kept, one of SELECTIONS; None: as the run says

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 2:
            raise ValueError(f"a batch size of {self.batch_size}; BatchNorm needs two volumes")
        if not 0 < self.labelled_share < 1:
            raise ValueError(f"a labelled share of {self.labelled_share:g}; it lies between 0 and 1")
        if self.select not in (None, *SELECTIONS):
            raise ValueError(f"select {self.select!r}; it is one of {', '.join(SELECTIONS)}")


STANDARD = Recipe()
