"""MixMatch: guessed labels of the unlabelled volumes, all volumes mixed in pairs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.base.parameters import parameter
from bench.learning.contracts import Batch
from bench.learning.method import Method
from bench.learning.mixing import beta, mixed
from bench.learning.networks import Backbone, ClassifierNetwork, statistics_kept

RISE = 0.4  # of the training, in which the weight of the unlabelled volumes rises from 0


@dataclass(frozen=True)
class MixMatch(Method):
    """Guess labels from several views, then mix all volumes and labels in pairs (Berthelot et al. 2019, Eqs. 2-11).

    As in the published code each pair has a share of its own. Unlike there, the mixture keeps the variance of the
    noise, which would tell the share; a volume is not mixed with itself; and the weight, 100 there, lies where Huang et
    al. 2024 found it for medical images. The paper's moving average of the weights is the run's choice (--select).
    """

    title = "MixMatch"

    weight: float = parameter(25.0, "weight of the unlabelled volumes, once it has risen", low=0, high=1e6)
    views: int = parameter(2, "weak views whose mean prediction is the guess", low=1, high=16)
    temperature: float = parameter(0.5, "of the sharpened guess; lower is sharper", low=0.01, high=1)
    alpha: float = parameter(0.5, "shares are drawn from Beta(alpha, alpha)", low=1e-3, high=100)

    def build(self, backbone: Backbone) -> ClassifierNetwork:
        """Encoder3D's convolutions and Classifier3D."""
        return ClassifierNetwork(backbone)

    def loss(self, network: ClassifierNetwork, batch: Batch) -> Tensor:
        """H(label', p(x')) + λ(t) · mean over classes of (guess' − p(u'))²; x', u' and their targets are mixed.

        λ(t) rises in proportion to the progress of the training, over its first 40 %.
        """
        labelled, unlabelled = batch.labelled(), batch.unlabelled()
        n_labelled, n_unlabelled = len(labelled.labels), len(unlabelled.labels)
        if labelled.indices is None or unlabelled.indices is None:  # validation is by whole volumes
            logits = network.logits(labelled.volumes)
            return F.cross_entropy(logits, labelled.labels, reduction="sum") / max(1, n_labelled)
        pool = torch.cat([labelled.volumes, *(unlabelled.weak() for _ in range(self.views))])
        with torch.no_grad():
            p = network.logits(pool).softmax(1)  # BatchNorm's running statistics are of these volumes
        guesses = p[n_labelled:].unflatten(0, (self.views, n_unlabelled)).mean(0)  # (b, classes)
        guesses = (guesses.log() / self.temperature).softmax(1)  # to the power of 1 / T, made to sum to 1
        unlabelled.guess(guesses.argmax(1), torch.ones_like(unlabelled.labels, dtype=torch.bool))
        known = F.one_hot(labelled.labels, p.shape[1]).to(p.dtype)
        shares = beta(self.alpha, len(pool), batch.generator)
        volumes, targets = mixed(
            pool,
            torch.cat([known, guesses.repeat(self.views, 1)]),
            torch.cat([labelled.indices, unlabelled.indices.repeat(self.views)]),
            torch.maximum(shares, 1 - shares),
            batch.generator,
        )
        with statistics_kept(network):
            logits = network.logits(volumes)
        supervised = F.cross_entropy(logits[:n_labelled], targets[:n_labelled], reduction="sum") / max(1, n_labelled)
        errors = (targets - logits.softmax(1)).square().mean(1)[n_labelled:]
        return supervised + self.weight * min(1.0, batch.progress / RISE) * errors.sum() / max(1, len(errors))
