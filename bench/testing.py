"""The contracts of a method and of a data set as checks, for the tests of the packages that bring one.

def test_smoothed() -> None:
    check_method(Smoothed())
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bench.base.arrays import UNLABELLED
from bench.base.cache import Cache
from bench.data.dataset import Dataset
from bench.data.subtomograms import Subtomograms
from bench.learning.checkpoint import Checkpoints
from bench.learning.contracts import Batch, Classifies, Rebuilds, TrainingData, Weights
from bench.learning.feed import Feed
from bench.learning.method import Classifier, Method
from bench.learning.networks import Backbone, set_keras_batch_norm
from bench.learning.protocol import PROTOCOLS, Budget
from bench.learning.trainer import Trainer
from bench.learning.views import Views

N, N_CLASSES, BOX, FILTERS, BATCH, EPOCHS = 48, 4, 8, 4, 16, 2
CUTS = 12  # some methods write hundreds of checkpoints


def check_method(method: Method, protocols: tuple[str, ...] = tuple(PROTOCOLS)) -> None:
    """Hold a method to its contract on 48 boxes of 8³ in 4 classes; raises AssertionError, which says what failed.

    Under each protocol: it trains to a network that names or reconstructs, which its weights make again; twice the
    same bits, also where it was cut off after every checkpoint; its data stay as they were; no more optimiser steps
    than the protocol gives; a loss with a gradient, with one label a class and with none hidden.
    """
    who = type(method).__name__
    _hold(bool(getattr(method, "title", "")), who, 'has no title; add `title = "..."`, its name in tables')
    _hold(bool((type(method).__doc__ or "").strip()), who, "has no docstring; its first line is what people read of it")
    for mixed in _batches():
        _check_loss(method, who, mixed)
    for protocol in protocols:
        with tempfile.TemporaryDirectory() as folder:
            _check_training(method, f"{who}, protocol {protocol}", protocol, Path(folder))


def check_dataset(dataset: Dataset) -> None:
    """Hold a data set to its contract; raises AssertionError, which says what failed. Loads it three times.

    Finite labelled cubes of float32; the same bytes each time, and after the disk; a key that stays; boxes of mean 0
    and variance 1 where it says so.
    """
    who = type(dataset).__name__
    made = dataset.load()
    _hold(bool(np.isfinite(made.volumes).all()), who, "has voxels that are not finite")
    _hold(made.box == made.volumes.shape[1], who, "has boxes that are no cubes")
    made.check_trainable()
    _hold(dataset.load().fingerprint() == made.fingerprint(), who, "gives other bytes each time; seed what it draws")
    _hold(dataset.key() == dataset.key(), who, "has another key each time; parameters() and sources() must not change")
    _hold(all(path.is_file() for path in dataset.sources()), who, "lists sources() that are no files")
    if made.grey_scale == "each box":
        even = np.abs(made.volumes.mean(axis=(1, 2, 3))).max() < 1e-3
        even &= np.abs(made.volumes.std(axis=(1, 2, 3)) - 1).max() < 1e-2
        _hold(bool(even), who, 'says grey_scale "each box", but its boxes have not mean 0 and variance 1')
    with tempfile.TemporaryDirectory() as folder:
        dataset.write(Path(folder))
        again = Subtomograms.open_unchanged(Path(folder))
        _hold(again.fingerprint() == made.fingerprint(), who, "writes another set than it loads")


def tiny_data(n: int = N, box: int = BOX) -> TrainingData:
    """Noise whose mean tells the class, half of it labelled, one class after the other."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % N_CLASSES
    volumes = torch.randn(n, box, box, box, generator=generator) + labels.view(-1, 1, 1, 1)
    shown = torch.where(torch.arange(n) < n // 2, labels, UNLABELLED)
    feed = Feed(volumes)
    return TrainingData(feed, shown, feed.only(torch.arange(8)), labels[:8].clone())


def tiny_trainer(folder: Path, protocol: str = "fair", epochs: int = 1, views: str | None = None) -> Trainer:
    """What trains on `tiny_data`, its shared stages and checkpoints in `folder`; views: None for the protocol's."""
    rules = PROTOCOLS[protocol]
    name = rules.views if views is None else views
    return Trainer(
        protocol=rules,
        budget=Budget(epochs, BATCH, FILTERS),
        backbone=Backbone(BOX, N_CLASSES, FILTERS),
        seed=0,
        device=torch.device("cpu"),
        n_train=N,
        cache=Cache(folder),
        data_key="test",
        views=None if name == "none" else Views.of(name, tiny_data().volumes, (-60.0, 60.0)),
    )


@dataclass
class _Cut(Checkpoints):
    """Ends the training after its first checkpoint, as a process that dies does."""

    class DeathError(BaseException):
        """The process ends here."""

    def _write(self, folder: Path) -> None:
        super()._write(folder)
        raise self.DeathError


def _check_training(method: Method, who: str, protocol: str, folder: Path) -> None:
    data = tiny_data()
    given = data if method.needs_labels else data.without_labels()
    first = tiny_trainer(folder / "first", protocol, EPOCHS)
    network = method.fit(given, first)
    _hold(isinstance(network, nn.Module), who, f"fit returned a {type(network).__name__} instead of a network")
    _hold(isinstance(network, Classifies | Rebuilds), who, "its network has neither logits() nor reconstruct()")
    weights = {k: v.clone() for k, v in network.state_dict().items()}
    _hold(all(bool(w.isfinite().all()) for w in weights.values()), who, "its weights are not finite")
    _check_restored(method, who, network, first, weights)
    fresh = tiny_data()
    everything = torch.arange(N)
    same = torch.equal(data.volumes[everything], fresh.volumes[everything]) and torch.equal(data.labels, fresh.labels)
    _hold(same, who, "changed the volumes or labels that it was given; work on copies")
    if first.protocol.equal_steps:
        allowed = first.budget.epochs * first.steps_per_epoch
        _hold(first.tally.steps <= allowed, who, f"took {first.tally.steps} optimiser steps, {allowed} are allowed")
        seen, allowed = first.tally.volumes_seen, allowed * first.budget.batch_size
        _hold(seen <= allowed, who, f"saw {seen} volumes, {allowed} are allowed")
    second = tiny_trainer(folder / "second", protocol, EPOCHS)
    again = method.fit(given, second).state_dict()
    _hold(_equal(weights, again), who, "gives other weights each time; draw from batch.generator alone")
    resumed, last = _resumed(method, given, protocol, folder / "cut")
    _hold(_equal(weights, resumed), who, "gives other weights after a restart; keep what it needs in the network")
    curves = [(one.tally.steps, one.tally.volumes_seen, one.tally.history) for one in (first, last)]
    _hold(curves[0] == curves[1], who, "gives another learning curve after a restart")


def _check_restored(method: Method, who: str, network: nn.Module, trained_by: Trainer, weights: Weights) -> None:
    try:
        again = method.restore(trained_by.backbone, weights).eval()
    except Exception as error:
        raise AssertionError(f"{who}: restore() does not take the weights of what fit() returned ({error})") from error
    if trained_by.protocol.keras_style:
        set_keras_batch_norm(again)
    volumes = tiny_data().volumes[torch.arange(N)]
    shapes = {"logits": (N, N_CLASSES), "reconstruct": tuple(volumes.shape)}
    with torch.inference_mode():
        for name, shape in shapes.items():
            if hasattr(network, name):
                one, two = (getattr(made.eval(), name)(volumes) for made in (network, again))
                _hold(one.shape == shape, who, f"{name}(volumes) gave {tuple(one.shape)} instead of {shape}")
                _hold(torch.equal(one, two), who, f"restore() makes another network: {name}(volumes) differs")


def _resumed(method: Method, data: TrainingData, protocol: str, folder: Path) -> tuple[Weights, Trainer]:
    """The weights of a training that was cut off after each of its first checkpoints, and its last trainer."""
    for cuts in range(CUTS + 1):
        one = tiny_trainer(folder, protocol, EPOCHS)
        one.checkpoints = (_Cut if cuts < CUTS else Checkpoints)(folder / "checkpoints", 0)
        torch.rand(cuts)  # the next process stands elsewhere in its global stream
        with suppress(_Cut.DeathError):
            return dict(method.fit(data, one).state_dict()), one
    raise AssertionError("not reached: the last training is not cut")


def _check_loss(method: Method, who: str, batch: Batch) -> None:
    network = method.build(Backbone(BOX, N_CLASSES, FILTERS)).train()
    batch = batch.labelled() if isinstance(method, Classifier) else batch
    loss = method.loss(network, batch)
    _hold(loss.ndim == 0 and bool(loss.isfinite()), who, f"its loss is {loss} instead of a finite scalar")
    loss.backward()
    moved = [p for p in network.parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)]
    _hold(bool(moved), who, "its loss has no gradient")
    _hold(all(bool(p.grad.isfinite().all()) for p in moved), who, "its gradient is not finite")  # type: ignore[union-attr]


def _batches() -> Iterator[Batch]:
    """Half labelled; one label a class; every label known."""
    data = tiny_data()
    views = Views.of("turns", data.volumes, (-60.0, 60.0))
    for rows in (torch.arange(16, 32), torch.cat([torch.arange(4), torch.arange(30, 42)]), torch.arange(16)):
        generator = torch.Generator().manual_seed(1)
        yield Batch(data.volumes[rows], data.labels[rows], generator, progress=0.5, indices=rows, views=views)


def _equal(one: Weights, two: Weights) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def _hold(condition: bool, who: str, otherwise: str) -> None:
    if not condition:
        raise AssertionError(f"{who}: {otherwise}")
