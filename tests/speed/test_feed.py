"""Batches from a mapped file, beside PyTorch's DataLoader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Compare, InTurns
from torch.utils.data import DataLoader, Dataset

from bench.learning.feed import Feed

Epochs = tuple[Callable[[], object], Callable[[], object]]


class Plain(Dataset[torch.Tensor]):
    def __init__(self, volumes: np.ndarray) -> None:
        self.volumes = volumes

    def __len__(self) -> int:
        return len(self.volumes)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy((self.volumes[index] - 0.5) / 2)[None]


@pytest.fixture(params=[16, 28])
def side(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def epochs(side: int, tmp_path: Path) -> Epochs:
    """Every volume once, through a DataLoader and through a feed."""
    np.save(tmp_path / "volumes.npy", np.random.default_rng(0).normal(size=(2000, side, side, side)).astype(np.float32))
    volumes = np.load(tmp_path / "volumes.npy", mmap_mode="r")
    feed, loader = Feed(volumes, mean=0.5, std=2.0), DataLoader(Plain(volumes), batch_size=16, shuffle=True)

    def epoch() -> None:
        for indices in torch.randperm(len(feed)).split(16):
            feed[indices]

    return lambda: sum(len(batch) for batch in loader), epoch


def test_an_epoch_of_batches(compare: Compare, side: int, epochs: Epochs) -> None:
    compare(f"an epoch of batches, 2,000 × {side}³", *epochs, memory=0.3, gated=False)


@pytest.mark.parametrize("form", ["fast"], indirect=True)
def test_a_feed_costs_less_than_a_loader(in_turns: InTurns, side: int, epochs: Epochs) -> None:
    """In turns, since there is less to gain than a machine drifts between the two forms."""
    loader, feed = epochs
    in_turns(f"a feed beside a DataLoader, 2,000 × {side}³", feed, loader, law=(0, 0.85))
