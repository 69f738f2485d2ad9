"""Pre-trained 3D-CNN: first the autoencoder, then the classifier, as a cascade."""

from __future__ import annotations

from dataclasses import dataclass

from bench.learning.contracts import TrainingData
from bench.learning.finetuning import FineTuned
from bench.learning.networks import Encoder3D
from bench.learning.trainer import Trainer
from bench.methods.autoencoder import Autoencoder


@dataclass(frozen=True)
class Pretrained(FineTuned):
    """Train an autoencoder first, then fine-tune its encoder on the labelled volumes (Liu et al. 2019, Section 4.2).

    The paper pre-trains "with the unlabeled data"; here on all volumes with their labels hidden, so that one
    autoencoder per seed serves all fractions.
    """

    title = "Pre-trained 3D-CNN"

    def pretrain(self, data: TrainingData, trainer: Trainer, fraction: float) -> Encoder3D:
        """That of the autoencoder (Eq. 1) which is reported too, from its whole training or the first half of it."""
        return Autoencoder().trained(data, trainer, fraction).encoder
