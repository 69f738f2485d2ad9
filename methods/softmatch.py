"""SoftMatch: pseudo-labels weighted by their confidence instead of cut off at a threshold."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.base.parameters import parameter
from bench.learning.averaging import MovingAverage
from bench.learning.consistency import AlignedNetwork, mean, mean_cross_entropy, weak_and_strong
from bench.learning.contracts import Batch
from bench.learning.method import Method
from bench.learning.networks import Backbone


@dataclass(frozen=True)
class SoftMatch(Method):
    """FixMatch that weights every pseudo-label by its confidence, without a threshold (Chen et al. 2023, Section 3).

    Predictions are aligned with the class shares of the labelled volumes (the paper: with even shares), for the weights
    alone. The averages' memory is a twentieth of the training (published: 1,000 steps of 2^20).
    """

    title = "SoftMatch"

    weight: float = parameter(1.0, "weight of the unlabelled volumes", low=0, high=1e6)
    steepness: float = parameter(
        2.0, "how fast the weight falls below the mean confidence: the paper's n_σ", low=0, high=100
    )

    def build(self, backbone: Backbone) -> SoftMatchNetwork:
        """Encoder3D's convolutions and Classifier3D, with the averages of the weights."""
        return SoftMatchNetwork(backbone)

    def loss(self, network: SoftMatchNetwork, batch: Batch) -> Tensor:
        """CE + λ · mean over the unlabelled volumes of w · H(argmax q, p(strong)), q = p(weak).

        w = exp(−n² · min(max q' − μ, 0)² / (2σ²)); q' is the aligned q, μ and σ² are the mean and variance of max q'.
        """
        labelled, unlabelled = batch.labelled(), batch.unlabelled()
        supervised = mean_cross_entropy(network.logits(labelled.volumes), labelled.labels)
        q, strong = weak_and_strong(network, unlabelled)
        known = F.one_hot(labelled.labels, q.shape[1]).to(q.dtype)
        confidence = network.alignment(q, known, batch.progress).max(1).values
        pseudo_labels = q.argmax(1)
        unlabelled.guess(pseudo_labels, torch.ones_like(pseudo_labels, dtype=torch.bool))
        below, variance = network.below_the_mean(confidence, batch.progress)
        weights = torch.exp(-0.5 * (self.steepness * below).square() / variance)
        return supervised + self.weight * mean(weights * F.cross_entropy(strong, pseudo_labels, reduction="none"))


class SoftMatchNetwork(AlignedNetwork):
    """Encoder3D's convolutions and Classifier3D, with averages of the class shares and of the confidence."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.confidence = MovingAverage(torch.tensor([1 / backbone.n_classes, 1.0]))  # its mean and variance

    def below_the_mean(self, confidence: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        """How far each confidence (b,) lies below the mean, 0 or less, and the variance."""
        if self.training and len(confidence):
            variance = (confidence - confidence.mean()).square().sum() / max(1, len(confidence) - 1)
            self.confidence.update(torch.stack([confidence.mean(), variance]), progress)
        mean, variance = self.confidence.value
        return (confidence - mean).clamp(max=0), variance.clamp(min=1e-12)
