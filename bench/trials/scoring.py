"""A trained network and the test set → scores; what validation says of it for later predictions."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from bench.base.arrays import UNLABELLED
from bench.learning.contracts import EVALUATION_BATCH, Classifies, Rebuilds, in_batches
from bench.trials.metrics import calibration_error, classification, temperature
from bench.trials.prepare import Prepared
from bench.trials.trial import Fitted, Result, Scores


@torch.inference_mode()
def score(result: Result, network: nn.Module, prepared: Prepared) -> None:
    """Put the test set through the chosen network, once, and the numbers into `result`.

    Raises TypeError where the network gives other shapes than it should, FloatingPointError where it gives NaN.
    """
    if not isinstance(network, Classifies | Rebuilds):
        raise TypeError("the trained network has neither logits(volumes) nor reconstruct(volumes)")
    network.eval()
    result.fitted = _fitted(network, prepared)
    labels = prepared.subtomograms.labels[prepared.split.test]
    logits, errors = [], []
    for volumes in prepared.test.batches(EVALUATION_BATCH):
        if isinstance(network, Classifies):
            logits.append(_logits(network, prepared, volumes).double().cpu())
        if isinstance(network, Rebuilds):
            rebuilt = _checked("reconstruct", network.reconstruct(volumes), volumes.shape)
            errors.append((rebuilt - volumes).square().flatten(1).mean(1).double().cpu())
    scores = Scores()
    if logits:
        joined = torch.cat(logits)
        found = classification(labels, joined.softmax(1).numpy())
        result.recall, result.confusion = found.recall, found.confusion
        result.answers = joined.log_softmax(1).clamp(torch.finfo(torch.float16).min).half().numpy()
        calibrated = (joined / result.fitted.temperature).softmax(1).numpy()
        scores = Scores(
            accuracy=found.accuracy,
            balanced_accuracy=found.balanced_accuracy,
            macro_f1=found.macro_f1,
            nll=found.nll,
            ece=found.ece,
            ece_calibrated=calibration_error(calibrated, labels),
        )
    if isinstance(network, Rebuilds):
        scores.mse = float(torch.cat(errors).mean())
        if not np.isfinite(scores.mse):
            raise FloatingPointError("the method's reconstructions hold voxels that are not numbers")
        first = np.array([np.flatnonzero(labels == c)[0] for c in range(len(prepared.subtomograms.class_names))])
        volumes = prepared.test[torch.from_numpy(first)]
        result.reconstructions = torch.cat([volumes, network.reconstruct(volumes)], 1).cpu().numpy()
    result.scores = scores


def _fitted(network: nn.Module | Classifies | Rebuilds, prepared: Prepared) -> Fitted:
    """Scale of the voxels, and what the labelled validation volumes say of a classifier: its loss and temperature."""
    made = {
        "box": prepared.subtomograms.box,
        "voxel_size_in_angstroms": prepared.subtomograms.voxel_size_in_angstroms,
        "grey_scale": prepared.subtomograms.grey_scale,
        "mean": prepared.mean,
        "std": prepared.std,
    }
    known = prepared.data.validation_labels != UNLABELLED
    if not isinstance(network, Classifies) or not known.any():
        return Fitted(**made)  # type: ignore[arg-type]
    volumes, labels = prepared.data.validation_volumes.only(known), prepared.data.validation_labels[known].cpu()
    logits = in_batches(partial(_logits, network, prepared), volumes).double().cpu()
    return Fitted(
        **made,  # type: ignore[arg-type]
        validation_nll=float(torch.nn.functional.cross_entropy(logits, labels)),
        validation_labels=len(labels),
        temperature=temperature(logits.numpy(), labels.numpy()),
    )


def _logits(network: Classifies, prepared: Prepared, volumes: Tensor) -> Tensor:
    shape = (len(volumes), len(prepared.subtomograms.class_names))
    given = [_checked("logits", network.logits(view), shape) for view in prepared.test_views(volumes)]
    return torch.stack(given).mean(0)


def _checked(what: str, given: object, shape: tuple[int, ...]) -> Tensor:
    """What a method's network gave, if it has the shape that it should have: NumPy's rules would stretch it to fit."""
    if not isinstance(given, Tensor) or given.shape != shape:
        raise TypeError(f"{what}(volumes) gave {getattr(given, 'shape', type(given).__name__)} instead of {shape}")
    return given
