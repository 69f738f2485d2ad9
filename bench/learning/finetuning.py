"""FineTuned: a classifier whose encoder learns from all volumes first."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import nn

from bench.learning.contracts import TrainingData
from bench.learning.method import Classifier
from bench.learning.networks import Encoder3D
from bench.learning.trainer import Trainer


@dataclass(frozen=True)
class FineTuned(Classifier):
    """A classifier that takes over the convolutions of an encoder trained on all volumes, without their labels.

    One such encoder a seed serves all label fractions. Where steps are equal for all methods, each stage has half of
    them. A base for methods that differ in how the encoder is trained.
    """

    @abstractmethod
    def pretrain(self, data: TrainingData, trainer: Trainer, fraction: float) -> Encoder3D:
        """An encoder trained on all volumes for `fraction` of the budget, through `Trainer.pretrained` or `shared`."""

    def fit(self, data: TrainingData, trainer: Trainer) -> nn.Module:
        """Train the encoder, take over its convolutions, and fine-tune on the labelled volumes."""
        before, after = (trainer.first_half, 1 - trainer.first_half) if trainer.protocol.equal_steps else (1.0, 1.0)
        convolutions = self.pretrain(data, trainer, before).convolutions.state_dict()
        network = trainer.initialise(self.build(trainer.backbone))
        network.encoder.convolutions.load_state_dict(convolutions)
        labelled, step = data.labelled(), self.after_step
        run = trainer.start(network, self.loss, labelled, "fine-tuning", after, after_step=step, recipe=self.recipe)
        return run.finish().best()
