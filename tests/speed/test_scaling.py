"""How a training's time grows with its data and its classes; `ratios.py` prints the growth."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import registry
from bench.base.cache import Cache
from bench.learning.contracts import TrainingData
from bench.learning.feed import Feed
from bench.learning.networks import Backbone
from bench.learning.protocol import PROTOCOLS, Budget
from bench.learning.training import Trainer


def _training(method: str, n: int, n_classes: int, folder: Path) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(0)
    volumes, labels = Feed(torch.randn(n, 16, 16, 16, generator=generator)), torch.arange(n) % n_classes
    hidden = torch.where(torch.arange(n) % 5 == 0, labels, -1)
    few = torch.arange(32)
    data = TrainingData(volumes, hidden, volumes.only(few), labels[few])

    def train() -> None:
        backbone = Backbone(16, n_classes, 16)
        trainer = Trainer(
            PROTOCOLS["fair"], Budget(1, 16, 16), backbone, 0, torch.device("cpu"), n, Cache(folder), "speed"
        )
        registry.method(method).fit(data, trainer)

    return train


@pytest.mark.parametrize("form", ["fast"], indirect=True)
@pytest.mark.parametrize("method", ["autoencoding", "supervised"])
@pytest.mark.parametrize(
    ("what", "less", "more"),
    [("twice the data", (2400, 8), (4800, 8)), ("eight times the classes", (2400, 4), (2400, 32))],
)
def test_growth(
    benchmark: Any, form: str, method: str, what: str, less: tuple[int, int], more: tuple[int, int], tmp_path: Path
) -> None:
    """Both sizes in turn, three times, since a machine drifts."""
    sizes = [_training(method, *size, tmp_path) for size in (less, more)]
    best = [math.inf, math.inf]

    def both() -> None:
        for i, train in enumerate(sizes):
            began = time.perf_counter()
            train()
            best[i] = min(best[i], time.perf_counter() - began)

    benchmark.pedantic(both, rounds=3)
    benchmark.extra_info.update(name=f"{method}, {what}", growth=best[1] / best[0])
