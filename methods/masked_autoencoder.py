"""Masked autoencoder: an encoder that fills in hidden parts of volumes, then the classifier."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.base.parameters import parameter
from bench.learning.contracts import Batch, TrainingData
from bench.learning.finetuning import FineTuned
from bench.learning.networks import AutoencoderNetwork, Encoder3D
from bench.learning.spectrum import radius
from bench.learning.trainer import Trainer

CUBES = 4  # along an edge of the box


@dataclass(frozen=True)
class MaskedAutoencoder(FineTuned):
    """Learn first to fill in hidden cubes, of all volumes; then fine-tune the encoder (He et al. 2022, Section 3).

    Hidden cubes are 0, as convolutions need whole boxes. The target is low-passed: the rest of it is mostly noise.
    """

    title = "Masked autoencoder"

    hidden: float = parameter(0.75, "share of the 64 cubes of a box that is hidden", low=0.05, high=0.95)
    cutoff: float = parameter(
        0.5, "of the target's Gaussian low-pass: half amplitude, as a share of the Nyquist frequency", low=0.05, high=10
    )

    def pretrain(self, data: TrainingData, trainer: Trainer, fraction: float) -> Encoder3D:
        """That of the autoencoder which fills in."""
        network = AutoencoderNetwork(trainer.backbone)
        return trainer.pretrained("masked_autoencoder", self, network, self.filling_in, data, fraction).encoder

    def filling_in(self, network: AutoencoderNetwork, batch: Batch) -> Tensor:
        """Mean squared error over the hidden voxels."""
        hidden = self.mask(batch)
        error = network.reconstruct(batch.volumes.masked_fill(hidden, 0)) - self.smooth(batch.volumes)
        return (error.square() * hidden).sum() / hidden.sum()

    def mask(self, batch: Batch) -> Tensor:
        """True in the hidden cubes, of the volumes' shape; in each volume equally many, drawn anew."""
        shape, device = batch.volumes.shape, batch.volumes.device
        order = torch.rand(len(batch.labels), CUBES**3, generator=batch.generator, device=device).argsort(1)
        cubes = (order < round(self.hidden * CUBES**3)).view(-1, 1, CUBES, CUBES, CUBES)
        for axis in (2, 3, 4):
            cubes = cubes.repeat_interleave(shape[axis] // CUBES, axis)
        return cubes

    def smooth(self, volumes: Tensor) -> Tensor:
        """The low-passed volumes, (b, 1, n, n, n)."""
        n = volumes.shape[-1]
        gain = torch.exp2(-((radius(n, volumes.device) / (self.cutoff * n / 2)) ** 2))
        smooth: Tensor = torch.fft.irfftn(torch.fft.rfftn(volumes, dim=(2, 3, 4)) * gain, s=(n, n, n), dim=(2, 3, 4))
        return smooth
