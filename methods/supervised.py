"""Supervised 3D-CNN: the classification branch alone, on the labelled volumes alone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from bench.learning.contracts import Batch, TrainingData
from bench.learning.method import Method
from bench.learning.networks import Backbone, ClassifierNetwork
from bench.learning.training import Trainer


@dataclass(frozen=True)
class Supervised(Method):
    """Learn from the labelled volumes alone (Liu et al. 2019, Section 4.2, Eq. 2)."""

    title = "Supervised 3D-CNN"

    def build(self, backbone: Backbone) -> ClassifierNetwork:
        """Encoder3D's convolutions and Classifier3D."""
        return ClassifierNetwork(backbone)

    def loss(self, network: ClassifierNetwork, batch: Batch) -> Tensor:
        """Cross-entropy, Eq. 2."""
        return F.cross_entropy(network.logits(batch.volumes), batch.labels)

    def fit(self, data: TrainingData, trainer: Trainer) -> nn.Module:
        """Train on the labelled part of `data`."""
        return super().fit(data.labelled(), trainer)
