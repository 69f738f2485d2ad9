"""How a training's time grows with its data and its classes; `ratios.py` prints the growth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import registry
from bench.cache import Cache
from bench.feed import Feed
from bench.networks import Backbone
from bench.protocol import PROTOCOLS, Budget
from bench.training import Trainer, TrainingData


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
@pytest.mark.parametrize("amount", ["more", "less"])
@pytest.mark.parametrize(("of", "less", "more"), [("data", (2400, 8), (4800, 8)), ("classes", (2400, 4), (2400, 32))])
def test_growth(
    benchmark: Any,
    form: str,
    method: str,
    amount: str,
    of: str,
    less: tuple[int, int],
    more: tuple[int, int],
    tmp_path: Path,
) -> None:
    train = _training(method, *(more if amount == "more" else less), tmp_path)
    what = {"data": "twice the data", "classes": "eight times the classes"}[of]
    name = f"growth of {method} with {what}"
    benchmark.extra_info.update(name=name, form="plain" if amount == "more" else form, gigaflops=0, memory_mib=0)
    benchmark.pedantic(train, rounds=3, warmup_rounds=1)
