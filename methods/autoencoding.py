"""Autoencoding classifier: the paper's method."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.base.arrays import UNLABELLED
from bench.base.parameters import parameter
from bench.learning.contracts import Batch
from bench.learning.method import Method
from bench.learning.networks import AutoencodingNetwork, Backbone, sparsity


@dataclass(frozen=True)
class Autoencoding(Method):
    """Reconstruct all volumes and classify the labelled ones with one encoder (Liu et al. 2019, Eq. 3, Algorithm 1)."""

    title = "Autoencoding classifier"

    alpha: float = parameter(1.0, "weight of the reconstruction loss", low=0, high=1e6)
    beta: float = parameter(1.0, "weight of the cross-entropy of the labelled volumes", low=0, high=1e6)

    def build(self, backbone: Backbone) -> AutoencodingNetwork:
        """Encoder3D, Decoder3D and Classifier3D."""
        return AutoencodingNetwork(backbone)

    def loss(self, network: AutoencodingNetwork, batch: Batch) -> Tensor:
        """α·MSE + β·CE for a labelled volume, α·MSE for an unlabelled one (Eq. 3); mean over the batch."""
        features = network.encoder(batch.volumes)  # (b, c, m, m, m)
        code = network.encoder.code(features)  # (b, 128)
        error = (network.decoder(code) - batch.volumes).square().flatten(1).mean(1)  # (b,)
        logits = network.classifier(features)  # unlabelled volumes pass too, so that BatchNorm sees them
        cross_entropy = F.cross_entropy(
            logits, batch.labels, ignore_index=UNLABELLED, reduction="none"
        )  # 0 if unlabelled
        return torch.mean(self.alpha * error + self.beta * cross_entropy + sparsity(code))
