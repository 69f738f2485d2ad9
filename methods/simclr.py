"""SimCLR: an encoder that tells two views of one volume from those of all others, then the classifier."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.base.parameters import parameter
from bench.learning.contracts import Batch, TrainingData
from bench.learning.finetuning import FineTuned
from bench.learning.networks import Backbone, Encoder3D
from bench.learning.recipe import Recipe
from bench.learning.trainer import Trainer


@dataclass(frozen=True)
class SimCLR(FineTuned):
    """Learn first which strong views show one volume, of all volumes; then fine-tune (Chen et al. 2020, Section 2.1).

    Views come from the run (--views); where it has none both are the volume as it is, and the encoder learns only to
    tell volumes apart. Validation is of that kind too, so the encoder's last weights are kept.
    """

    title = "SimCLR"

    temperature: float = parameter(0.2, "of the similarities; lower counts near neighbours more", low=0.01, high=10)

    def pretrain(self, data: TrainingData, trainer: Trainer, fraction: float) -> Encoder3D:
        """The contrasting one, without its head."""
        network = Contrast(trainer.backbone)
        recipe = Recipe(select="last")
        return trainer.pretrained("simclr", self, network, self.contrast, data, fraction, recipe).encoder

    def contrast(self, network: Contrast, batch: Batch) -> Tensor:
        """NT-Xent, Eq. 1: −log of exp(sim(i, j) / T) / Σ over k ≠ i of exp(sim(i, k) / T), j the other view of i."""
        z = F.normalize(network(torch.cat([batch.strong(), batch.strong()])), dim=1)  # (2b, 64)
        similarities = (z @ z.T / self.temperature).fill_diagonal_(-torch.inf)
        return F.cross_entropy(similarities, torch.arange(len(z), device=z.device).roll(len(z) // 2))


class Contrast(nn.Module):
    """Encoder3D's convolutions and two fully connected layers of 128 and 64."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.encoder = backbone.encoder(with_code=False)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(backbone.n_features, 128), nn.ReLU(), nn.Linear(128, 64))

    def forward(self, volumes: Tensor) -> Tensor:
        """(b, 1, n, n, n) → (b, 64)."""
        projected: Tensor = self.head(self.encoder(volumes))
        return projected
