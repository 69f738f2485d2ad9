"""Self-trained 3D-CNN: the supervised classifier, taught further by its own confident answers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.base.arrays import UNLABELLED
from bench.learning.contracts import Batch, TrainingData, in_batches
from bench.learning.method import Method
from bench.learning.networks import Backbone, ClassifierNetwork
from bench.learning.training import Run, Trainer


@dataclass(frozen=True)
class SelfTraining(Method):
    """Adopt the classifier's own confident answers as labels (Liu et al. 2019, Section 4.2)."""

    thresholds: tuple[float, ...] = (0.6, 0.95)  # the paper's two; validation chooses one

    def build(self, backbone: Backbone) -> ClassifierNetwork:
        """Encoder3D's convolutions and Classifier3D."""
        return ClassifierNetwork(backbone)

    def loss(self, network: ClassifierNetwork, batch: Batch) -> Tensor:
        """Cross-entropy over given and adopted labels, Eq. 2."""
        return F.cross_entropy(network.logits(batch.volumes), batch.labels)

    def fit(self, data: TrainingData, trainer: Trainer) -> nn.Module:
        """Train one classifier a threshold and return the one with the best validation loss.

        Where steps are equal for all methods, the grid search is paid from the budget: a supervised start that all
        thresholds share, then an equal part for each.
        """
        network = trainer.initialise(self.build(trainer.backbone))
        share = 1 / (1 + len(self.thresholds)) if trainer.rules.equal_steps else 1.0
        start = trainer.start(network, self.loss, data.labelled(), share=share)
        if trainer.rules.equal_steps:
            start.finish()
        runs = [self._adopt(start.fork(f"threshold {t:g}", share), data, t) for t in self.thresholds]
        return min(runs, key=lambda run: run.best_loss).best()

    def _adopt(self, run: Run[ClassifierNetwork], data: TrainingData, threshold: float) -> Run[ClassifierNetwork]:
        if not run.trainer.rules.equal_steps:  # else it has learnt already
            run.advance()
        while not run.over():
            run.train_on(self._adopted(run, data, threshold))
            run.advance()
        return run

    @torch.inference_mode()
    def _adopted(self, run: Run[ClassifierNetwork], data: TrainingData, threshold: float) -> TrainingData:
        """The labelled volumes and those of the hidden ones that the classifier is sure of now."""
        hidden = (data.labels == UNLABELLED).nonzero().flatten()
        score, answer = in_batches(run.network.eval().logits, data.volumes.only(hidden)).softmax(1).max(1)
        sure = score > threshold
        return replace(data, labels=data.labels.index_put((hidden[sure],), answer[sure])).labelled()
