"""The one training loop: batches, steps, validation, early stopping, the weights that are kept."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.base.arrays import UNLABELLED
from bench.base.seeds import derive, torch_generator
from bench.learning.averaging import rate
from bench.learning.checkpoint import Checkpoints, State, global_randomness, set_global_randomness
from bench.learning.contracts import Batch, Classifies, Guess, TrainingData, Weights, in_batches
from bench.learning.protocol import Budget, Protocol
from bench.learning.recipe import Recipe
from bench.learning.rehearsal import Rehearsal
from bench.learning.stream import Stream
from bench.learning.tally import Tally, ValidationPoint
from bench.learning.views import Views

VALIDATIONS_PER_EPOCH = 4  # validations an epoch where steps are equal for all
AVERAGE = 1 / 10  # of the training: the memory of the moving average of the weights

_COUNTED = ("epochs_done", "steps_done", "best_loss", "validations_since_best")

NetworkT = TypeVar("NetworkT", bound=nn.Module)


Loss = Callable[[NetworkT, Batch], Tensor]
AfterStep = Callable[[NetworkT, float], None]


@dataclass(kw_only=True)
class Conditions:
    """What all trainings of a trial have in common, and what they count together."""

    protocol: Protocol
    budget: Budget
    seed: int  # of the run; every stream of random numbers derives from it by name
    device: torch.device
    n_train: int  # volumes in the whole training part, labelled or not
    views: Views | None = None  # of the training volumes
    select: str = "best"  # which weights a training keeps, one of SELECTIONS
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    rehearsal: Rehearsal | None = None  # time two steps of each stage instead of training it
    tally: Tally = field(default_factory=Tally)
    guesses: list[Guess] = field(default_factory=list)  # since the last validation
    optimizers: list[torch.optim.Optimizer] = field(default_factory=list)  # of the trainings that were started

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of a pass over the whole training part."""
        return math.ceil(self.n_train / self.budget.batch_size)


class Run(Generic[NetworkT]):
    """One training in progress: `advance` takes it to its next validation, `best` gives what validation chose."""

    def __init__(
        self,
        trainer: Conditions,
        network: NetworkT,
        loss: Loss[NetworkT],
        name: str,
        epochs: float,
        after_step: AfterStep[NetworkT] | None,
        recipe: Recipe,
    ) -> None:
        self.trainer = trainer
        self.stage = name
        self.name = f"{trainer.tally.runs} {name}"
        trainer.tally.runs += 1
        self.network = network
        self.loss = loss
        self.after_step = after_step
        self.recipe = recipe
        self.select = recipe.select or trainer.select
        self.batch_size = recipe.batch_size or trainer.budget.batch_size
        self.epochs = epochs
        self.epochs_done = 0.0
        self.steps_done = 0
        self.optimizer = recipe.optimizer(network, recipe.learning_rate or trainer.protocol.learning_rate)
        self.highest_rates = [group["lr"] for group in self.optimizer.param_groups]
        trainer.optimizers.append(self.optimizer)
        self.order = torch_generator(trainer.seed, "order", name)  # which volumes
        self.noise = torch.Generator(trainer.device).manual_seed(derive(trainer.seed, "noise", name))
        self.best_loss = math.inf
        self.best_weights: Weights = _copy(network)
        self.average: Weights = _copy(network) if self.select == "average" else {}
        self.validations_since_best = 0

    def train_on(self, data: TrainingData) -> None:
        """Train on these volumes and labels from now on."""
        self.data = data
        self.labelled = Stream((data.labels != UNLABELLED).nonzero().flatten().cpu(), self.order)
        self.unlabelled = Stream((data.labels == UNLABELLED).nonzero().flatten().cpu(), self.order)

    def fork(self, name: str, fraction: float) -> Run[NetworkT]:
        """A copy that trains on by itself for `fraction` of the trial's budget, with random numbers of its own."""
        epochs = fraction * self.trainer.budget.epochs
        network = copy.deepcopy(self.network)
        twin = Run(self.trainer, network, self.loss, name, epochs, self.after_step, self.recipe)
        twin.optimizer.load_state_dict(copy.deepcopy(self.optimizer.state_dict()))
        twin.best_loss, twin.best_weights, twin.average = self.best_loss, self.best_weights, dict(self.average)
        twin.train_on(self.data)
        return twin

    def over(self, until: float | None = None) -> bool:
        """Whether the training, or the part of it up to `until` epochs, is at its end or out of patience."""
        end, patience = self.epochs if until is None else until, self.trainer.protocol.patience
        return self.epochs_done > end - 1e-6 or (patience is not None and self.validations_since_best >= patience)

    def advance(self, until: float | None = None) -> bool:
        """Train to the next validation, at most to `until` epochs; False, with nothing done, once the training is over.

        One comes after each epoch or, where steps are equal for all, after each quarter of one. A call that an
        earlier process had finished is not repeated: the training then stands at once where it stood in that process.
        """
        end = self.epochs if until is None else until
        if self.over(until):
            return False
        if self.trainer.rehearsal is not None:
            self._rehearse(end)
            return True
        checkpoints, stage = self.trainer.checkpoints, f"{self.name} {until}"
        stood = checkpoints.recall(stage)
        if stood is not None and stood.facts["steps_done"] > self.steps_done and stood.facts["place"] == self._place():
            self._restore(stood)
            checkpoints.note(f"{self.name}: goes on from step {self.steps_done}")
            return True
        began = time.perf_counter()
        self.trainer.guesses.clear()
        batches = self._batches(end)
        losses = []
        for indices, following in zip(batches, [*batches[1:], None]):
            if following is not None:
                self.data.volumes.expect(following)
            losses.append(self._step(indices))
        if losses:
            self._keep_best(float(torch.stack(losses).mean()))
        self.trainer.tally.seconds += time.perf_counter() - began
        checkpoints.keep(stage, self._state, self.over(until))
        return True

    def finish(self, until: float | None = None) -> Run[NetworkT]:
        """Train to the end, or to `until` epochs."""
        while self.advance(until):
            pass
        return self

    def best(self) -> NetworkT:
        """The network with the weights that the run's rule selects, ready to predict."""
        self.network.load_state_dict(self.best_weights)
        return self.network.eval()

    def _batches(self, end: float) -> list[Tensor]:
        """Indices of each batch up to the next validation."""
        size, per_epoch = self.batch_size, self.trainer.steps_per_epoch
        if not self.trainer.protocol.equal_steps:
            self.epochs_done += 1
            order = torch.randperm(len(self.data.labels), generator=self.order)
            batches = list(order.split(size))
            return batches if len(batches[-1]) > 1 or len(batches) == 1 else batches[:-1]  # BatchNorm needs two
        # Where one of the two is missing the other fills the batch.
        share = max(1, min(size - 1, round(self.recipe.labelled_share * size)))
        from_labelled = share if len(self.labelled.indices) else 0
        from_unlabelled = size - from_labelled if len(self.unlabelled.indices) else 0
        self.epochs_done = min(self.epochs_done + 1 / VALIDATIONS_PER_EPOCH, end)
        steps = round(self.epochs_done * per_epoch) - self.steps_done
        return [
            torch.cat([self.labelled.take(from_labelled), self.unlabelled.take(from_unlabelled)]) for _ in range(steps)
        ]

    def _step(self, indices: Tensor) -> Tensor:
        """One optimiser step on the volumes at `indices`; returns the loss."""
        if self.trainer.protocol.warmup_cosine:
            for group, highest in zip(self.optimizer.param_groups, self.highest_rates):
                group["lr"] = highest * self._warmup_cosine()
        volumes, labels = self.data.volumes[indices], self.data.labels[indices.to(self.data.labels.device)]
        self.network.train()
        self.optimizer.zero_grad()
        places, trainer = self.data.volumes.index[indices], self.trainer
        batch = Batch(volumes, labels, self.noise, self.progress, places, trainer.views, trainer.guesses)
        loss = self.loss(self.network, batch)
        loss.backward()
        self.optimizer.step()
        if self.after_step is not None:
            with torch.no_grad():
                self.after_step(self.network, self.progress)
        self._average()
        self.steps_done += 1
        self.trainer.tally.steps += 1
        self.trainer.tally.volumes_seen += len(indices)
        return loss.detach()

    @property
    def progress(self) -> float:
        """How much of the training is done once this step is, from 0 to 1."""
        return min(1.0, (self.steps_done + 1) / self.n_steps)

    @property
    def n_steps(self) -> int:
        """Optimiser steps of the whole training."""
        return max(1, round(self.epochs * self.trainer.steps_per_epoch))

    def _warmup_cosine(self) -> float:
        """A linear rise over the first tenth of this training, then half a cosine to 0."""
        return min(10 * self.progress, 0.5 * (1 + math.cos(math.pi * self.progress)))

    def _average(self) -> None:
        """Move the average towards the weights."""
        if self.average:
            share = rate(self.steps_done + 1, self.progress, AVERAGE)
            for name, weight in self.network.state_dict().items():
                known = self.average[name]
                self.average[name] = known.lerp(weight, share) if known.is_floating_point() else weight.clone()

    def _keep_best(self, training_loss: float) -> None:
        """Validate, and keep the weights where they are the best so far."""
        loss = self.validate()
        tally = self.trainer.tally
        tally.history.append(ValidationPoint(tally.steps, training_loss, loss, self.stage))
        if not (math.isfinite(training_loss) and math.isfinite(loss)):
            raise FloatingPointError(f"the loss became {training_loss:g} (validation {loss:g}) in training")
        self.validations_since_best += 1
        if loss < self.best_loss:
            self.validations_since_best = 0
        if loss < self.best_loss or self.select != "best":
            self.best_loss = loss
            self.best_weights = dict(self.average) or _copy(self.network)

    @torch.inference_mode()
    def validate(self) -> float:
        """The loss by which checkpoints are chosen: the method's own, or the cross-entropy of the labelled volumes."""
        network: nn.Module | Classifies = self.network.eval()
        data, trainer = self.data, self.trainer
        known = (data.validation_labels != UNLABELLED).nonzero().flatten()
        if trainer.protocol.selects_by_own_loss or not len(known) or not isinstance(network, Classifies):
            noise = torch.Generator(trainer.device).manual_seed(derive(trainer.seed, "validation"))
            parts = [
                float(self.loss(self.network, Batch(volumes, labels, noise))) * len(labels)
                for volumes, labels in zip(
                    data.validation_volumes.batches(self.batch_size),
                    data.validation_labels.split(self.batch_size),
                )
            ]
            return sum(parts) / len(data.validation_labels)
        logits = in_batches(network.logits, data.validation_volumes.only(known))
        return float(F.cross_entropy(logits, data.validation_labels[known]))

    def _place(self) -> list[str | int]:
        """What indices and generators refer to: on another device, or in another copy of the volumes, they mislead."""
        data = self.data
        return [self.trainer.device.type, data.volumes.n_rows, data.validation_volumes.n_rows]

    def _state(self) -> State:
        """All that `_restore` needs, in copies."""
        data, randomness = self.data, global_randomness()
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best_weights.items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for i, parameter in enumerate(self.network.parameters()):
            known = self.optimizer.state[parameter]
            tensors |= {f"optimizer.{i}.{k}": v for k, v in known.items() if isinstance(v, Tensor)}
        tensors |= {"order": self.order.get_state(), "noise": self.noise.get_state()}
        tensors |= {"labelled": self.labelled.rest, "unlabelled": self.unlabelled.rest}
        tensors |= {"volumes": data.volumes.index, "labels": data.labels}
        tensors |= {"validation_volumes": data.validation_volumes.index, "validation_labels": data.validation_labels}
        tensors |= {f"global.{k}": v for k, v in randomness.tensors.items()}
        facts = {name: getattr(self, name) for name in _COUNTED}
        facts |= {"tally": asdict(self.trainer.tally), "global": randomness.facts, "place": self._place()}
        return State({k: v.detach().clone() for k, v in tensors.items()}, facts)

    def _restore(self, state: State) -> None:
        tensors, facts = state

        def part(name: str) -> Weights:
            return {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}

        self.network.load_state_dict(part("network"))
        self.best_weights = {k: v.to(self.trainer.device, copy=True) for k, v in part("best").items()}
        self.average = {k: v.to(self.trainer.device, copy=True) for k, v in part("average").items()}
        for i, parameter in enumerate(self.network.parameters()):
            # Moments laid out in memory like their parameter, as the optimiser makes them.
            self.optimizer.state[parameter] = {
                k: torch.empty_like(parameter, dtype=v.dtype).copy_(v) if v.ndim else v.to(parameter.device, copy=True)
                for k, v in part(f"optimizer.{i}").items()
            }
        data, device = self.data, self.data.labels.device
        self.train_on(
            TrainingData(
                data.volumes.at(tensors["volumes"]),
                tensors["labels"].to(device),
                data.validation_volumes.at(tensors["validation_volumes"]),
                tensors["validation_labels"].to(device),
            )
        )
        self.labelled.rest, self.unlabelled.rest = tensors["labelled"], tensors["unlabelled"]
        self.order.set_state(tensors["order"])
        self.noise.set_state(tensors["noise"])
        for name in _COUNTED:
            setattr(self, name, facts[name])
        history = [ValidationPoint(*row) for row in facts["tally"]["history"]]
        self.trainer.tally = Tally(**facts["tally"] | {"history": history, "runs": self.trainer.tally.runs})
        set_global_randomness(State(part("global"), facts["global"]))

    def _rehearse(self, end: float) -> None:
        """Time two steps and a validation, and count them for the whole of this training."""
        protocol = self.trainer.protocol
        left = end - self.epochs_done
        batches = self._batches(self.epochs_done + 1 / VALIDATIONS_PER_EPOCH) or [torch.arange(2)]
        steps = left * (self.trainer.steps_per_epoch if protocol.equal_steps else len(batches))
        self._step(batches[0])
        began = time.perf_counter()
        self._step(batches[0])
        step = time.perf_counter() - began
        self.validate()
        validation = time.perf_counter() - began - step
        validations = left * (VALIDATIONS_PER_EPOCH if protocol.equal_steps else 1)
        self.trainer.tally.seconds += steps * step + validations * validation
        self.epochs_done = end


def _copy(network: nn.Module) -> Weights:
    return {k: v.detach().clone() for k, v in network.state_dict().items()}
