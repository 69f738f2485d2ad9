"""What trains the networks of one trial: their first weights, their trainings, and what trials share."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save

from bench.base.cache import Cache
from bench.base.code import code_digest
from bench.base.files import digest, write_atomically
from bench.base.json_files import read_json
from bench.base.seeds import derive, seed_globally, torch_generator
from bench.learning.checkpoint import global_randomness, set_global_randomness
from bench.learning.contracts import TrainingData, Weights
from bench.learning.networks import Backbone, initialise
from bench.learning.recipe import STANDARD, Recipe
from bench.learning.tally import TALLY, Tally, ValidationPoint
from bench.learning.training import AfterStep, Conditions, Loss, NetworkT, Run


@dataclass(kw_only=True)
class Trainer(Conditions):
    """Trains networks for one trial under its protocol, and counts what that took."""

    backbone: Backbone
    cache: Cache
    data_key: str  # what the training and validation volumes are, for the cache

    @property
    def first_half(self) -> float:
        """The share of the budget, about a half, that is a whole number of steps."""
        steps = self.budget.epochs * self.steps_per_epoch
        return (steps // 2) / steps

    def initialise(self, network: NetworkT, name: str = "network") -> NetworkT:
        """Draw the network's weights from this trial's seed and move it to the device."""
        initialise(network, torch_generator(self.seed, "weights", name), self.protocol.keras_style)
        return network.to(self.device)

    def start(
        self,
        network: NetworkT,
        loss: Loss[NetworkT],
        data: TrainingData,
        name: str = "training",
        fraction: float = 1.0,
        epochs: int | None = None,
        after_step: AfterStep[NetworkT] | None = None,
        recipe: Recipe = STANDARD,
    ) -> Run[NetworkT]:
        """A training of `network` on `data`, not yet begun, for `fraction` of the trial's budget.

        epochs: instead of the budget's. after_step: called with the network and the progress of the training, from 0
        to 1, once its weights have moved. Several networks that learn together are one module: they restart together.
        """
        epochs = self.budget.epochs if epochs is None else epochs
        run = Run(self, network, loss, name, fraction * epochs, after_step, recipe)
        run.train_on(data)
        return run

    def pretrained(
        self,
        name: str,
        method: Any,
        network: NetworkT,
        loss: Loss[NetworkT],
        data: TrainingData,
        fraction: float = 1.0,
        recipe: Recipe = STANDARD,
    ) -> NetworkT:
        """`network` as `loss` trains it on all volumes without labels, once a seed, for `fraction` of the budget.

        method: whose hyperparameters `loss` has.
        """
        self.initialise(network, name)

        def train(own: Trainer, unlabelled: TrainingData) -> Weights:
            run = own.start(network, loss, unlabelled, name, fraction, recipe=recipe)
            return dict(run.finish().best_weights)

        network.load_state_dict(self.shared(name, method, data, train))
        return network.eval()

    def shared(
        self,
        name: str,
        method: Any,
        data: TrainingData,
        make: Callable[[Trainer, TrainingData], Weights],
        fraction: float = 1.0,
    ) -> Weights:
        """What `make` trains, once a seed: later trials (other fractions, other methods) read it from the cache.

        `make` gets a trainer of its own and `data` without labels; an interrupted one goes on from its checkpoints, in
        whichever trial needs it next. `fraction` of its cost counts as this trial's, and as much of its learning curve.
        The hyperparameters of `method` and its code are part of the entry's name. Raises ValueError for a part of the
        volumes: which of them are labelled differs from fraction to fraction.
        """
        if len(data.labels) != self.n_train:
            raise ValueError(f"{name}: what trials share must train on all volumes, not on some; give it all data")
        unlabelled, settings = data.without_labels(), asdict(method)
        if self.rehearsal is not None:
            before = self.tally.seconds
            weights = make(self, unlabelled)
            part = f"{name} {settings}"
            self.rehearsal.shared_seconds[part], self.tally.seconds = self.tally.seconds - before, before
            return weights

        def fill(folder: Path) -> None:
            checkpoints = replace(self.checkpoints, folder=folder / "checkpoint")
            own = replace(self, checkpoints=checkpoints, tally=Tally())
            randomness = global_randomness()
            seed_globally(derive(self.seed, "shared", name))  # the same whichever trial comes first
            write_atomically(folder / "weights.safetensors", save(make(own, unlabelled)))
            set_global_randomness(randomness)
            write_atomically(folder / "tally.json", json.dumps(asdict(own.tally)))
            own.checkpoints.clear()

        views = None if self.views is None else asdict(self.views.given)
        terms = (asdict(self.protocol), asdict(self.budget), asdict(self.backbone), views, self.select)
        parts = (*terms, self.seed, self.data_key, settings)
        key = digest(name, *parts, code_digest(type(method).__module__))
        folder = self.cache.entry(name, key, fill, resumable=True)
        took = Tally(**read_json(folder / "tally.json", TALLY, f"delete {folder} and run the trial again"))
        curve = [ValidationPoint(*row) for row in took.history[: math.ceil(fraction * len(took.history))]]
        self.tally.history += [point._replace(step=point.step + self.tally.steps) for point in curve]
        self.tally.seconds += fraction * took.seconds
        self.tally.steps += round(fraction * took.steps)
        self.tally.volumes_seen += round(fraction * took.volumes_seen)
        return {k: v.to(self.device) for k, v in load_file(folder / "weights.safetensors").items()}
