"""Self-trained 3D-CNN: the supervised classifier, trained further on its own confident predictions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from bench.base.arrays import UNLABELLED
from bench.base.parameters import parameter
from bench.learning.contracts import TrainingData, in_batches
from bench.learning.method import Classifier
from bench.learning.networks import ClassifierNetwork
from bench.learning.trainer import Trainer
from bench.learning.training import Run


@dataclass(frozen=True)
class SelfTraining(Classifier):
    """Use the classifier's confident predictions as further labels, pseudo-labels (Liu et al. 2019, Section 4.2)."""

    title = "Self-trained 3D-CNN"

    thresholds: tuple[float, ...] = parameter(
        (0.6, 0.95),
        "confidence above which a prediction becomes a pseudo-label; validation chooses one",
        low=0,
        high=1,
    )

    def fit(self, data: TrainingData, trainer: Trainer) -> nn.Module:
        """Train one classifier per threshold and return the one with the lowest validation loss.

        Where steps are equal for all methods, the thresholds divide them: a supervised start that serves all
        thresholds, then an equal part for each.
        """
        network = trainer.initialise(self.build(trainer.backbone))
        fraction = 1 / (1 + len(self.thresholds)) if trainer.protocol.equal_steps else 1.0
        start = trainer.start(network, self.loss, data.labelled(), fraction=fraction)
        if trainer.protocol.equal_steps:
            start.finish()
        runs = [self._train(start.fork(f"threshold {t:g}", fraction), data, t) for t in self.thresholds]
        return min(runs, key=lambda run: run.best_loss).best()

    def _train(self, run: Run[ClassifierNetwork], data: TrainingData, threshold: float) -> Run[ClassifierNetwork]:
        if not run.trainer.protocol.equal_steps:  # else it has passed the supervised start
            run.advance()
        while not run.over():
            run.train_on(self._pseudo_labelled(run, data, threshold))
            run.advance()
        return run

    @torch.inference_mode()
    def _pseudo_labelled(self, run: Run[ClassifierNetwork], data: TrainingData, threshold: float) -> TrainingData:
        """The labelled volumes, and each unlabelled one with a confident prediction as its pseudo-label."""
        hidden = (data.labels == UNLABELLED).nonzero().flatten()
        confidence, predicted = in_batches(run.network.eval().logits, data.volumes.only(hidden)).softmax(1).max(1)
        sure = confidence > threshold
        return replace(data, labels=data.labels.index_put((hidden[sure],), predicted[sure])).labelled()
