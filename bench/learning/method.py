"""Method: the contract of one entry of the comparison. Classifier: one that trains the shared classifier."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from bench.base.parameters import check
from bench.learning.contracts import Batch, TrainingData
from bench.learning.networks import Backbone, ClassifierNetwork
from bench.learning.recipe import STANDARD, Recipe
from bench.learning.trainer import Trainer


@dataclass(frozen=True)
class Method(ABC):
    """A way to learn from many volumes and few labels.

    A concrete method is a frozen dataclass: its fields are its hyperparameters, `loss` is its equation. Its network
    has `logits(volumes)` if it classifies and `reconstruct(volumes)` if it reconstructs. `bench list methods` shows
    the first line of the docstring.
    """

    title: ClassVar[str]  # its name in tables and pictures
    needs_labels: ClassVar[bool] = True  # False: one trial per seed for all label fractions
    is_control: ClassVar[bool] = False  # True: measures what the surroundings tell; bench predict never chooses it

    def __post_init__(self) -> None:
        check(self)

    @abstractmethod
    def build(self, backbone: Backbone) -> nn.Module:
        """A new network, made of the backbone's layers; the trainer draws its weights from the trial's seed."""

    @abstractmethod
    def loss(self, network: Any, batch: Batch) -> Tensor:
        """The scalar that training minimises, of a batch; hidden labels are UNLABELLED."""

    @property
    def recipe(self) -> Recipe:
        """What the method chooses about its training beside the loss: optimiser, labelled share of a batch, and such.

        It may depend on the hyperparameters.
        """
        return STANDARD

    def after_step(self, network: Any, progress: float) -> None:  # noqa: B027
        """What else moves once the optimiser has moved the weights: a moving average of them, a threshold.

        progress: of the training, from 0 to 1. Everything that is kept from step to step is a buffer of the network.
        """

    def fit(self, data: TrainingData, trainer: Trainer) -> nn.Module:
        """Train on `data` and return the network with the weights that are kept."""
        network = trainer.initialise(self.build(trainer.backbone))
        run = trainer.start(network, self.loss, data, after_step=self.after_step, recipe=self.recipe)
        return run.finish().best()

    def restore(self, backbone: Backbone, weights: dict[str, Tensor]) -> nn.Module:
        """The network that `fit` returned, from its weights; for a method whose `fit` returns what `build` makes."""
        network = self.build(backbone)
        network.load_state_dict(weights)
        return network


@dataclass(frozen=True)
class Classifier(Method):
    """A method that trains Encoder3D's convolutions and Classifier3D by cross-entropy on the labelled volumes.

    A base for methods that change one of the three: the network, the loss, or what is trained on.
    """

    def build(self, backbone: Backbone) -> ClassifierNetwork:
        """Encoder3D's convolutions and Classifier3D."""
        return ClassifierNetwork(backbone)

    def loss(self, network: ClassifierNetwork, batch: Batch) -> Tensor:
        """Cross-entropy (Liu et al. 2019, Eq. 2)."""
        return F.cross_entropy(network.logits(batch.volumes), batch.labels)

    def fit(self, data: TrainingData, trainer: Trainer) -> nn.Module:
        """Train on the labelled part of `data`."""
        return super().fit(data.labelled(), trainer)
