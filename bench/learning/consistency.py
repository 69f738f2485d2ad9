"""What methods share that teach a network on one view what it answers on another."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.learning.averaging import MovingAverage
from bench.learning.contracts import Batch
from bench.learning.networks import Backbone, ClassifierNetwork, statistics_kept


def mean_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of logits (b, classes) and labels (b,); 0 of no volume."""
    return F.cross_entropy(logits, labels) if len(labels) else logits.sum()


def mean(losses: Tensor) -> Tensor:
    """Mean of losses (b,); 0 of no volume."""
    return losses.sum() / max(1, len(losses))


def weak_and_strong(network: ClassifierNetwork, unlabelled: Batch) -> tuple[Tensor, Tensor]:
    """Probabilities for weak views, without a gradient, and logits for strong views, each (b, classes)."""
    with statistics_kept(network):
        with torch.no_grad():
            probabilities = network.logits(unlabelled.weak()).softmax(1)
        return probabilities, network.logits(unlabelled.strong())


class Alignment(nn.Module):
    """Distribution alignment (Berthelot et al. 2020, Section 3.1): p · p_L / p_U, made to sum to 1.

    p_L and p_U are moving averages, over the steps of a training, of the class shares of labelled volumes and of the
    predictions for unlabelled ones.
    """

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        even = torch.full((n_classes,), 1 / n_classes)
        self.labelled, self.unlabelled = MovingAverage(even), MovingAverage(even.clone())

    def forward(self, probabilities: Tensor, labelled: Tensor, progress: float) -> Tensor:
        """Aligned `probabilities` (b, classes), without a gradient, of unlabelled volumes.

        labelled: what is known of the labelled volumes of this step, (b', classes): their labels or predictions.
        """
        for average, seen in ((self.labelled, labelled), (self.unlabelled, probabilities)):
            if self.training and len(seen):
                average.update(seen.detach().mean(0), progress)
        aligned = probabilities * (self.labelled.value + 1e-6) / (self.unlabelled.value + 1e-6)
        return aligned / aligned.sum(1, keepdim=True)


class AlignedNetwork(ClassifierNetwork):
    """Encoder3D's convolutions and Classifier3D, with the averages of distribution alignment."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.alignment = Alignment(backbone.n_classes)
