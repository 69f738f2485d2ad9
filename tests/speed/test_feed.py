"""Batches from a mapped file, beside PyTorch's DataLoader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Compare
from torch.utils.data import DataLoader, Dataset

from bench.learning.feed import Feed


class Plain(Dataset[torch.Tensor]):
    def __init__(self, volumes: np.ndarray) -> None:
        self.volumes = volumes

    def __len__(self) -> int:
        return len(self.volumes)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy((self.volumes[index] - 0.5) / 2)[None]


@pytest.mark.parametrize("side", [16, 28])
def test_an_epoch_of_batches(compare: Compare, side: int, tmp_path: Path) -> None:
    np.save(tmp_path / "volumes.npy", np.random.default_rng(0).normal(size=(2000, side, side, side)).astype(np.float32))
    volumes = np.load(tmp_path / "volumes.npy", mmap_mode="r")
    feed, loader = Feed(volumes, mean=0.5, std=2.0), DataLoader(Plain(volumes), batch_size=16, shuffle=True)

    def epoch() -> None:
        for indices in torch.randperm(len(feed)).split(16):
            feed[indices]

    compare(f"an epoch of batches, 2,000 × {side}³", lambda: sum(len(batch) for batch in loader), epoch)
