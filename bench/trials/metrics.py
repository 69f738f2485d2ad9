"""(true labels, predicted probabilities) → numbers; pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, special
from sklearn import metrics

from bench.base.arrays import Float64Array, IntArray

ECE_BINS = 15
PRIOR_WIDTH = 0.5  # of log temperature about 0: few validation volumes must not make a network all too sure of itself


@dataclass(frozen=True)
class Classification:
    """How well a set of volumes was named."""

    accuracy: float
    balanced_accuracy: float  # mean of the recalls
    macro_f1: float
    nll: float  # mean negative log-likelihood of the true class, nats
    ece: float  # expected calibration error, 15 equal bins of the top probability (Guo et al. 2017)
    recall: tuple[float, ...]  # per class
    confusion: tuple[tuple[int, ...], ...]  # [true][predicted]


def classification(labels: IntArray, probabilities: Float64Array) -> Classification:
    """labels: (n,), every class present; probabilities: (n, classes), rows sum to 1.

    Raises FloatingPointError where a probability is not a number.
    """
    if not np.isfinite(probabilities).all():
        raise FloatingPointError("the method returned probabilities that are not numbers")
    classes = range(probabilities.shape[1])
    predicted = probabilities.argmax(1)
    confusion = metrics.confusion_matrix(labels, predicted, labels=classes)
    return Classification(
        accuracy=float(metrics.accuracy_score(labels, predicted)),
        balanced_accuracy=float(metrics.balanced_accuracy_score(labels, predicted)),
        macro_f1=float(metrics.f1_score(labels, predicted, labels=classes, average="macro")),
        nll=float(metrics.log_loss(labels, probabilities, labels=classes)),
        ece=_calibration_error(probabilities.max(1), predicted == labels),
        recall=tuple((confusion.diagonal() / confusion.sum(1)).tolist()),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


def temperature(logits: Float64Array, labels: IntArray) -> float:
    """T > 0 that calibrates softmax(logits / T), likeliest on held-out volumes (Guo et al. 2017) with a prior on log T.

    logits: (n, classes); labels: (n,). 1 where there is no volume.
    """

    def cost(log_t: float) -> float:
        log_p = special.log_softmax(logits / np.exp(log_t), axis=1)
        return float(0.5 * (log_t / PRIOR_WIDTH) ** 2 - log_p[np.arange(len(labels)), labels].sum())

    return float(np.exp(optimize.minimize_scalar(cost, bounds=(-4, 4), method="bounded").x)) if len(labels) else 1.0


def calibration_error(probabilities: Float64Array, labels: IntArray) -> float:
    """Expected calibration error of the top probability; (n, classes), (n,)."""
    return _calibration_error(probabilities.max(1), probabilities.argmax(1) == labels)


def _calibration_error(confidence: Float64Array, correct: npt.NDArray[np.bool_]) -> float:
    """Mean over the volumes of |accuracy − confidence| of the bin that each falls in."""
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    gap = np.bincount(bins, weights=correct - confidence, minlength=ECE_BINS)
    return float(np.abs(gap).sum() / len(correct))
