"""How a training's time grows with its data and its classes; `ratios.py` holds it to a law."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import InTurns

from bench import registry
from bench.base.cache import Cache
from bench.learning.contracts import TrainingData
from bench.learning.feed import Feed
from bench.learning.networks import Backbone
from bench.learning.protocol import PROTOCOLS, Budget
from bench.learning.trainer import Trainer


def _training(method: str, n: int, n_classes: int, folder: Path) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(0)
    volumes, labels = Feed(torch.randn(n, 16, 16, 16, generator=generator)), torch.arange(n) % n_classes
    hidden = torch.where(torch.arange(n) % 5 == 0, labels, -1)
    few = torch.arange(32)
    data = TrainingData(volumes, hidden, volumes.only(few), labels[few])

    def train() -> None:
        backbone = Backbone(16, n_classes, 16)
        trainer = Trainer(
            protocol=PROTOCOLS["fair"],
            budget=Budget(1, 16, 16),
            backbone=backbone,
            seed=0,
            device=torch.device("cpu"),
            n_train=n,
            cache=Cache(folder),
            data_key="speed",
        )
        registry.method(method).fit(data, trainer)

    return train


@pytest.mark.parametrize("form", ["fast"], indirect=True)
@pytest.mark.parametrize("method", ["autoencoding", "supervised"])
@pytest.mark.parametrize(
    ("what", "less", "more", "law"),
    [
        ("twice the data", (800, 8), (1600, 8), (1.5, 2.7)),
        ("eight times the classes", (800, 4), (800, 32), (0.5, 1.5)),
    ],
)
def test_growth(
    in_turns: InTurns,
    method: str,
    what: str,
    less: tuple[int, int],
    more: tuple[int, int],
    law: tuple[float, float],
    tmp_path: Path,
) -> None:
    smaller, larger = (_training(method, *size, tmp_path) for size in (less, more))
    in_turns(f"{method}, {what}", larger, smaller, law)
