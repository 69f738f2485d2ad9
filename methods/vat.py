"""Virtual adversarial training: the same answer for a volume and for the small change that matters most to it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.base.parameters import parameter
from bench.learning.consistency import mean, mean_cross_entropy
from bench.learning.contracts import Batch, Classifies
from bench.learning.method import Method
from bench.learning.networks import Backbone, ClassifierNetwork, statistics_kept

PROBE = 1e-3  # size of the random change that finds the worst one, in standard deviations of a voxel


@dataclass(frozen=True)
class Vat(Method):
    """Answer alike for a volume and its worst small change; no views needed (Miyato et al. 2018, Section 3).

    One step of the power iteration, as published. A change of c standard deviations in every voxel of N has the length
    c · √N: the paper's ε in a form that fits every box. The weight of the entropy is that of Oliver et al. 2018.
    """

    title = "Virtual adversarial training"

    weight: float = parameter(1.0, "weight of the divergence under the worst change", low=0, high=1e6)
    change: float = parameter(0.1, "size of the change, in standard deviations of a voxel", low=0, high=10)
    entropy: float = parameter(0.06, "weight of the entropy of the predictions", low=0, high=1e6)

    def build(self, backbone: Backbone) -> ClassifierNetwork:
        """Encoder3D's convolutions and Classifier3D."""
        return ClassifierNetwork(backbone)

    def loss(self, network: ClassifierNetwork, batch: Batch) -> Tensor:
        """CE + λ · KL(q ‖ p(u + r)) + λ_e · H(p(u)), means over the unlabelled volumes u; q = p(u), held fixed."""
        labelled, unlabelled = batch.labelled(), batch.unlabelled()
        supervised = mean_cross_entropy(network.logits(labelled.volumes), labelled.labels)
        volumes = unlabelled.volumes
        with statistics_kept(network):
            logits = network.logits(volumes)
            known = logits.detach()
            worst = self.change * worst_direction(network, volumes, known, batch.generator)
            divergence = _divergence(known, network.logits(volumes + worst))
        entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(1)
        return supervised + self.weight * mean(divergence) + self.entropy * mean(entropy)


def worst_direction(network: Classifies, volumes: Tensor, known: Tensor, generator: torch.Generator) -> Tensor:
    """The change of each of the volumes (b, 1, n, n, n), of variance 1, that moves its logits `known` most.

    One step of the power iteration for the curvature of the divergence, from a random direction.
    """
    with torch.inference_mode(False):  # the validation loss needs this gradient too
        start = torch.randn(volumes.shape, generator=generator, device=volumes.device)
        probe = (PROBE * _unit(start)).requires_grad_()
        divergence = _divergence(known.clone(), network.logits(volumes.clone() + probe)).sum()
        (gradient,) = torch.autograd.grad(divergence, probe)
    return _unit(gradient)


def _unit(changes: Tensor) -> Tensor:
    """Changes (b, 1, n, n, n), each scaled to a mean square of 1; next to none stays so."""
    length: Tensor = torch.linalg.vector_norm(changes, dim=(1, 2, 3, 4), keepdim=True)
    return changes * (math.sqrt(changes[0:1].numel()) / length.clamp(min=1e-12))


def _divergence(known: Tensor, logits: Tensor) -> Tensor:
    """KL(known ‖ other) of two sets of logits (b, classes), (b,)."""
    return F.kl_div(logits.log_softmax(1), known.log_softmax(1), reduction="none", log_target=True).sum(1)
