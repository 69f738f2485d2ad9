"""Any rotation of a batch, the wedge cut anew and filled up: beside SciPy, beside plain PyTorch, beside a step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import Compare, InTurns
from plain import plain_rotations
from scipy import ndimage
from test_step import CLASSES, make_batch, make_step
from torch import Tensor
from torch.nn import functional as F

from bench.learning.feed import Feed
from bench.learning.networks import Backbone, ClassifierNetwork
from bench.learning.turning import random_rotations
from bench.learning.views import Views

SIDE, BATCH = 28, 64


@pytest.fixture(scope="module")
def volumes() -> Tensor:
    """(64, 1, 28, 28, 28)."""
    return make_batch(BATCH, SIDE).volumes


@pytest.fixture(scope="module")
def views(volumes: Tensor) -> Views:
    return Views.of("rotations", Feed(volumes[:, 0]), (-60.0, 60.0))


def test_rotations_beside_scipy(compare: Compare, volumes: Tensor, views: Views) -> None:
    """SciPy's cubic rotation alone, without a wedge."""
    boxes, generator = volumes[:, 0].numpy(), torch.Generator().manual_seed(0)

    def plain() -> None:
        for box, turn in zip(boxes, random_rotations(BATCH, generator).numpy()):
            ndimage.affine_transform(box, turn.T, SIDE // 2 - turn.T @ np.full(3, SIDE // 2), mode="grid-wrap")

    compare(f"rotations, {SIDE}³, batch {BATCH}, beside SciPy", plain, lambda: views.training(volumes, generator))


def test_refilled_rotations_beside_plain_pytorch(compare: Compare, volumes: Tensor) -> None:
    """The same steps as one would write them down: two times finer by a padded FFT, noise by an FFT of its own."""
    views, generator = (
        Views.of("rotations-refilled", Feed(volumes[:, 0]), (-60.0, 60.0)),
        torch.Generator().manual_seed(0),
    )
    compare(
        f"refilled rotations, {SIDE}³, batch {BATCH}, beside plain PyTorch",
        lambda: plain_rotations(volumes, views.spectrum.power, 60.0, generator),
        lambda: views.training(volumes, generator),
    )


@pytest.mark.parametrize("form", ["fast"], indirect=True)
def test_rotations_beside_a_step(in_turns: InTurns, volumes: Tensor, views: Views) -> None:
    """Of the classifier, which is the cheapest of all methods."""
    network, generator = ClassifierNetwork(Backbone(SIDE, CLASSES)), torch.Generator().manual_seed(0)
    labels = torch.arange(BATCH) % CLASSES
    step = make_step(network.parameters(), lambda: F.cross_entropy(network.logits(volumes), labels), fused=True)
    law = (0, 0.4)
    in_turns(
        f"rotations beside a classifier step, {SIDE}³, batch {BATCH}",
        lambda: views.training(volumes, generator),
        step,
        law,
    )
