"""A trial's scores held against the answers that it kept: what does not follow from them is not believed."""

from __future__ import annotations

import numpy as np
from scipy import special

from bench.base.arrays import BoolArray, Float64Array, IntArray
from bench.trials.metrics import ECE_BINS, calibration_error, classification
from bench.trials.trial import HalfArray, Result, Scores

MOVES_NO_NUMBER = True
ROUNDING = 2.0**-10  # of a float16, relative, twice: of a difference of two


def contradiction(result: Result, answers: HalfArray | None, labels: IntArray) -> str:
    """The first score that does not follow from a finished trial's answers; empty where all do.

    answers: (n, classes), ln P(class); labels: (n,), the true ones of the test volumes in the same order. A score may
    differ by what float16 can move it. The error of reconstruction does not follow from answers and is not looked at.
    """
    scores, n_classes = result.scores, len(result.class_names)
    if answers is None:
        return "" if scores.accuracy is None and not result.recall else "keeps no answers for its accuracy"
    if answers.dtype != np.float16 or answers.shape != (len(labels), n_classes):
        return f"answers are {answers.dtype} of shape {answers.shape}, not float16 of {(len(labels), n_classes)}"
    log_p: Float64Array = answers.astype(np.float64)
    if not np.isfinite(log_p).all() or np.abs(special.logsumexp(log_p, axis=1)).max() > 0.01:
        return "answers are no probabilities"
    found = classification(labels, special.softmax(log_p, axis=1))
    close = _close(log_p)
    per_class = np.bincount(labels, minlength=n_classes)
    share = close.sum() / (per_class.min() * n_classes)  # of a mean over classes that one volume each may move
    t = 1.0 if result.fitted is None else result.fitted.temperature
    calibrated = special.softmax(log_p / t, axis=1)
    expected = Scores(
        found.accuracy,
        found.balanced_accuracy,
        found.macro_f1,
        found.nll,
        found.ece,
        calibration_error(calibrated, labels),
    )
    allowed = Scores(
        close.mean(),
        share,
        4 * share,
        2 * ROUNDING * (1 + found.nll),
        close.mean() + _at_edges(np.exp(log_p).max(1), 1.0),
        close.mean() + _at_edges(calibrated.max(1), t),
    )
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "nll", "ece", "ece_calibrated"):
        said, follows = getattr(scores, name), getattr(expected, name)
        if said is None or not abs(said - follows) <= getattr(allowed, name) + 1e-9:
            return f"{name} {said} is said, {follows:.6g} follows from its answers"
    for c, said in enumerate(result.recall):
        if not abs(said - found.recall[c]) <= close[labels == c].mean() + 1e-9:
            return f"recall of class {c} {said:.6g} is said, {found.recall[c]:.6g} follows from its answers"
    told = np.array(result.confusion)
    if told.shape != (n_classes, n_classes) or np.abs(told - found.confusion).sum() > 2 * close.sum():
        return "its confusion matrix does not follow from its answers"
    return ""


def _close(log_p: Float64Array) -> BoolArray:
    """(n,): whether rounding may have changed which class is the likeliest."""
    second, first = np.sort(log_p, axis=1)[:, -2:].T
    return np.asarray(first - second <= ROUNDING * np.abs(second))


def _at_edges(confidence: Float64Array, temperature: float) -> float:
    """How far a calibration error may be off: volumes next to the edge of a bin, and what each one's rounding adds."""
    moved = ROUNDING * max(1.0, 1 / temperature)
    nearest = np.rint(confidence * ECE_BINS)
    at_edge = (np.abs(confidence - nearest / ECE_BINS) <= moved) & (nearest > 0) & (nearest < ECE_BINS)
    return float(2 * at_edge.mean() + moved)
