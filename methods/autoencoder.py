"""3D autoencoder: the reconstruction branch alone, the baseline of Table 3 and the first stage of `pretrained`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bench.learning.contracts import Batch, TrainingData
from bench.learning.method import Method
from bench.learning.networks import AutoencoderNetwork, Backbone, sparsity
from bench.learning.trainer import Trainer


@dataclass(frozen=True)
class Autoencoder(Method):
    """Reconstruct all volumes, without labels; it does not classify (Liu et al. 2019, Section 4.3, Eq. 1)."""

    title = "3D autoencoder"
    needs_labels = False

    def build(self, backbone: Backbone) -> AutoencoderNetwork:
        """Encoder3D and Decoder3D."""
        return AutoencoderNetwork(backbone)

    def loss(self, network: AutoencoderNetwork, batch: Batch) -> Tensor:
        """Mean squared error over the voxels, Eq. 1, with the penalty on the code."""
        code = network.encoder.code(network.encoder(batch.volumes))  # (b, 128)
        error = (network.decoder(code) - batch.volumes).square().flatten(1).mean(1)  # (b,)
        return torch.mean(error + sparsity(code))

    def fit(self, data: TrainingData, trainer: Trainer) -> AutoencoderNetwork:
        """Train for the whole budget, once per seed."""
        return self.trained(data, trainer)

    def trained(self, data: TrainingData, trainer: Trainer, fraction: float = 1.0) -> AutoencoderNetwork:
        """The one autoencoder of this seed; validation chooses it from the whole run (fraction 1) or its first half."""
        network = trainer.initialise(self.build(trainer.backbone), "autoencoder")
        stages = trainer.shared("autoencoder", self, data, partial(self._stages, network), fraction)
        stage = "whole." if fraction == 1 else "half."
        network.load_state_dict({k.removeprefix(stage): v for k, v in stages.items() if k.startswith(stage)})
        return network.eval()

    def _stages(self, network: AutoencoderNetwork, trainer: Trainer, data: TrainingData) -> dict[str, Tensor]:
        run = trainer.start(network, self.loss, data, "autoencoder")
        half = dict(run.finish(until=trainer.first_half * trainer.budget.epochs).best_weights)
        whole = run.finish().best_weights
        # Copies: both stages are the same tensors where the best validation lies in the first half.
        return {
            f"{stage}.{k}": v.clone() for stage, best in (("half", half), ("whole", whole)) for k, v in best.items()
        }
