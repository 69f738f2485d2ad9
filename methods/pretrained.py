"""Pre-trained 3D-CNN: the autoencoder first, then the classifier: the two branches in a cascade."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from bench.learning.contracts import Batch, TrainingData
from bench.learning.method import Method
from bench.learning.networks import Backbone, ClassifierNetwork
from bench.learning.training import Trainer
from bench.methods.autoencoder import Autoencoder


@dataclass(frozen=True)
class Pretrained(Method):
    """Rebuild first, then learn the labels, in a cascade (Liu et al. 2019, Section 4.2)."""

    title = "Pre-trained 3D-CNN"

    def build(self, backbone: Backbone) -> ClassifierNetwork:
        """Encoder3D's convolutions and Classifier3D; the autoencoder brings the decoder."""
        return ClassifierNetwork(backbone)

    def loss(self, network: ClassifierNetwork, batch: Batch) -> Tensor:
        """Cross-entropy of the fine-tuning, Eq. 2; the autoencoder's own file has the loss before it."""
        return F.cross_entropy(network.logits(batch.volumes), batch.labels)

    def fit(self, data: TrainingData, trainer: Trainer) -> nn.Module:
        """Start from this seed's autoencoder and fine-tune on the labelled volumes.

        The paper pre-trains "with the unlabeled data"; here on all volumes with their labels hidden, so that one
        autoencoder a seed serves all fractions. Where steps are equal for all methods, the autoencoder's first half
        and a fine-tuning of the other half make up the budget.
        """
        before, after = (trainer.first_half, 1 - trainer.first_half) if trainer.protocol.equal_steps else (1.0, 1.0)
        autoencoder = Autoencoder().trained(data, trainer, before)
        network = trainer.initialise(self.build(trainer.backbone))
        network.encoder.convolutions.load_state_dict(autoencoder.encoder.convolutions.state_dict())
        return trainer.start(network, self.loss, data.labelled(), "fine-tuning", after).finish().best()
