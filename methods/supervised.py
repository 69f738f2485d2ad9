"""Supervised 3D-CNN: the classification branch alone, trained on the labelled volumes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.base.parameters import parameter
from bench.learning.contracts import Batch
from bench.learning.method import Classifier
from bench.learning.mixing import beta, mixed
from bench.learning.networks import ClassifierNetwork, statistics_kept


@dataclass(frozen=True)
class Supervised(Classifier):
    """Train on the labelled volumes alone, by cross-entropy (Liu et al. 2019, Section 4.2, Eq. 2)."""

    title = "Supervised 3D-CNN"

    mixup: float = parameter(
        0.0, "mix volumes and labels in pairs, with shares from Beta(mixup, mixup): 0.2; 0: do not", low=0, high=100
    )

    def loss(self, network: ClassifierNetwork, batch: Batch) -> Tensor:
        """Cross-entropy, with mixup of mixed volumes and their mixed labels (Zhang et al. 2018, Section 2)."""
        if self.mixup == 0 or batch.indices is None:  # validation is by whole volumes
            return super().loss(network, batch)
        with torch.no_grad():
            logits = network.logits(batch.volumes)  # so that BatchNorm's running statistics are of whole volumes
        labels = F.one_hot(batch.labels, logits.shape[1]).to(logits.dtype)
        shares = beta(self.mixup, len(labels), batch.generator)
        volumes, targets = mixed(batch.volumes, labels, batch.indices, shares, batch.generator)
        with statistics_kept(network):
            return F.cross_entropy(network.logits(volumes), targets)
