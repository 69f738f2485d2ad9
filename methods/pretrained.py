"""Pre-trained 3D-CNN: first the autoencoder, then the classifier, as a cascade."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from bench.learning.contracts import TrainingData
from bench.learning.method import Classifier
from bench.learning.training import Trainer
from bench.methods.autoencoder import Autoencoder


@dataclass(frozen=True)
class Pretrained(Classifier):
    """Train an autoencoder first, then fine-tune its encoder on the labelled volumes (Liu et al. 2019, Section 4.2)."""

    title = "Pre-trained 3D-CNN"

    def fit(self, data: TrainingData, trainer: Trainer) -> nn.Module:
        """Train the autoencoder (Eq. 1), take over its encoder, and fine-tune on the labelled volumes (Eq. 2).

        The paper pre-trains "with the unlabeled data"; here on all volumes with their labels hidden, so that one
        autoencoder per seed serves all fractions. Where steps are equal for all methods, each stage has half of them.
        """
        before, after = (trainer.first_half, 1 - trainer.first_half) if trainer.protocol.equal_steps else (1.0, 1.0)
        autoencoder = Autoencoder().trained(data, trainer, before)
        network = trainer.initialise(self.build(trainer.backbone))
        network.encoder.convolutions.load_state_dict(autoencoder.encoder.convolutions.state_dict())
        return trainer.start(network, self.loss, data.labelled(), "fine-tuning", after).finish().best()
