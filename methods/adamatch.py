"""AdaMatch: FixMatch with a threshold that follows the confidence on the labelled volumes, and aligned predictions."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from bench.base.parameters import parameter
from bench.learning.consistency import AlignedNetwork, mean, mean_cross_entropy, weak_and_strong
from bench.learning.contracts import Batch
from bench.learning.method import Method
from bench.learning.networks import Backbone


@dataclass(frozen=True)
class AdaMatch(Method):
    """FixMatch whose threshold follows the confidence on the labelled volumes (Berthelot et al. 2022, Section 3).

    In the form of the USB benchmark (Wang et al. 2022): labelled volumes pass once, without strong views and blended
    logits. The weight rises as in the published code. The averages' memory is a twentieth of the training (published:
    1,000 steps and 128 steps).
    """

    title = "AdaMatch"

    weight: float = parameter(1.0, "weight of the unlabelled volumes in the second half", low=0, high=1e6)
    threshold: float = parameter(
        0.9,
        "share of the mean confidence on labelled volumes above which a pseudo-label is learned",
        low=0,
        high=10,
    )

    def build(self, backbone: Backbone) -> AlignedNetwork:
        """Encoder3D's convolutions and Classifier3D, with the averages of distribution alignment."""
        return AlignedNetwork(backbone)

    def loss(self, network: AlignedNetwork, batch: Batch) -> Tensor:
        """CE + λ(t) · mean over the unlabelled volumes of 1[max q > c] · H(argmax q, p(strong)).

        q is p(weak) aligned with the predictions for labelled volumes; c = τ · mean of max p over the labelled volumes
        of the batch, or τ where it has none; λ(t) rises from 0 by half a cosine over the first half of the training.
        """
        labelled, unlabelled = batch.labelled(), batch.unlabelled()
        logits = network.logits(labelled.volumes)
        p = logits.detach().softmax(1)
        q, strong = weak_and_strong(network, unlabelled)
        q = network.alignment(q, p, batch.progress)
        confidence, pseudo_labels = q.max(1)
        used = confidence > self.threshold * (p.max(1).values.mean() if len(p) else 1.0)
        unlabelled.guess(pseudo_labels, used)
        rise = 0.5 - 0.5 * math.cos(math.pi * min(1.0, 2 * batch.progress))
        consistency = mean(used * F.cross_entropy(strong, pseudo_labels, reduction="none"))
        return mean_cross_entropy(logits, labelled.labels) + self.weight * rise * consistency
