"""(true labels, predicted probabilities) → numbers; pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.dataset import IntArray

Probabilities = npt.NDArray[np.float64]
ECE_BINS = 15


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


def classification(labels: IntArray, probabilities: Probabilities) -> Classification:
    """labels: (n,), every class present; probabilities: (n, classes), rows sum to 1.

    Raises FloatingPointError where a probability is not a number.
    """
    if not np.isfinite(probabilities).all():
        raise FloatingPointError("the method returned probabilities that are not numbers")
    n_classes = probabilities.shape[1]
    predicted = probabilities.argmax(1)
    confusion = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    hits, true, claimed = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    recall = hits / true
    f1 = 2 * hits / (true + claimed)  # = 2TP / (2TP + FP + FN)
    likelihood = probabilities[np.arange(len(labels)), labels].clip(1e-12)
    return Classification(
        accuracy=float(hits.sum() / len(labels)),
        balanced_accuracy=float(recall.mean()),
        macro_f1=float(f1.mean()),
        nll=float(-np.log(likelihood).mean()),
        ece=_calibration_error(probabilities.max(1), predicted == labels),
        recall=tuple(recall.tolist()),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


def _calibration_error(confidence: Probabilities, correct: npt.NDArray[np.bool_]) -> float:
    """Mean over the volumes of |accuracy − confidence| of the bin that each falls in."""
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    gap = np.bincount(bins, weights=correct - confidence, minlength=ECE_BINS)
    return float(np.abs(gap).sum() / len(correct))
