"""One trial from data to scores: trained, timed, or scored again."""

from __future__ import annotations

import errno
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from threadpoolctl import threadpool_limits

from bench import registry
from bench.base.code import code_digest
from bench.base.errors import first_line
from bench.base.machine import peak_in_mebibytes, start_peak
from bench.learning.checkpoint import Checkpoints
from bench.learning.contracts import Weights
from bench.learning.method import Method
from bench.learning.networks import Backbone, set_keras_batch_norm
from bench.learning.rehearsal import OwnLoopError, Rehearsal, watched
from bench.trials import prepare as preparing
from bench.trials import scoring
from bench.trials.prepare import Prepared, guessed, prepare, set_up
from bench.trials.trial import Counts, Result, Runtime, Status, Trial

FULL = (errno.ENOSPC, errno.EDQUOT)


class Estimate(NamedTuple):
    """Training seconds of a trial that has not been trained."""

    own: float
    shared: dict[str, float]  # of each part that trials share, by its name


def training_code(method: str) -> str:
    """Hash of the code that a trial of this method depends on up to its trained network."""
    return code_digest(type(registry.method(method)).__module__, preparing.__name__)


def scoring_code() -> str:
    """Hash of the code that turns a trained network into scores."""
    return code_digest(scoring.__name__)


def run(trial: Trial, data_folder: Path, runtime: Runtime, checkpoints: Checkpoints | None = None) -> Result:
    """Train and score one trial; what a method raises becomes a result with status "failed".

    One that was begun before goes on from its checkpoints, to the same numbers. Raises OSError where the disk is full,
    which is no fault of the method's.
    """

    def train_and_score() -> Result:
        prepared = prepare(trial, data_folder, runtime, checkpoints)
        method, tally = registry.method(trial.method, dict(trial.settings)), prepared.trainer.tally

        def count() -> None:
            tally.steps += 1

        with watched(prepared.trainer.optimizers, count):
            network = method.fit(prepared.data, prepared.trainer)
        tally = prepared.trainer.tally
        result = Result(Status.DONE, counts=_counts(prepared), class_names=prepared.subtomograms.class_names)
        result.history = tally.history
        result.costs.training_seconds, result.costs.optimiser_steps = tally.seconds, tally.steps
        result.costs.volumes_seen = tally.volumes_seen
        result.costs.volumes_per_second = tally.volumes_seen / tally.seconds if tally.seconds else 0.0
        scoring.score(result, network, prepared)
        result.weights = {k: v.detach().cpu().clone() for k, v in network.state_dict().items()}
        _check_restored(method, prepared.trainer.backbone, result.weights)
        result.guesses = guessed(prepared)
        return result

    return _measured(runtime, train_and_score)


def score_again(trial: Trial, data_folder: Path, runtime: Runtime, trained: Result, weights: Weights) -> Result:
    """The result of a trial that was trained before, under today's way of scoring; nothing is trained.

    trained: its result then; weights: of its network.
    """

    def score() -> Result:
        prepared = prepare(trial, data_folder, runtime)
        network = registry.method(trial.method, dict(trial.settings)).restore(prepared.trainer.backbone, weights)
        if prepared.trainer.protocol.keras_style:
            set_keras_batch_norm(network)
        result = replace(trained, weights=weights)
        scoring.score(result, network.to(prepared.trainer.device).eval(), prepared)
        return result

    costs = replace(trained.costs)
    result = _measured(runtime, score)
    result.costs = costs
    return result


def rehearse(trial: Trial, data_folder: Path, runtime: Runtime) -> Estimate | None:
    """The trial's cost, from a few real steps of each of its trainings.

    None where the method trains in a loop of its own, which cannot be timed in part and is not run.
    """
    set_up(runtime)
    rehearsal = Rehearsal()
    with threadpool_limits(runtime.threads):
        prepared = prepare(trial, data_folder, runtime, rehearsal=rehearsal)

        def refuse() -> None:
            raise OwnLoopError  # nobody knows how long that goes on

        try:
            with watched(prepared.trainer.optimizers, refuse):
                registry.method(trial.method, dict(trial.settings)).fit(prepared.data, prepared.trainer)
        except OwnLoopError:
            return None
    return Estimate(prepared.trainer.tally.seconds, rehearsal.shared_seconds)


def _check_restored(method: Method, backbone: Backbone, weights: Weights) -> None:
    """Raise TypeError where what `fit` returned cannot be made again from its weights."""
    try:
        method.restore(backbone, weights)
    except Exception as error:  # anybody's code
        reason = str(error).partition("\n")[0]
        raise TypeError(
            f"fit returned a network whose weights restore() does not take ({reason}); return what build() makes, "
            "or write restore() to match"
        ) from error


def _measured(runtime: Runtime, work: Callable[[], Result]) -> Result:
    began = time.perf_counter()
    set_up(runtime)
    start_peak(runtime.device)
    with threadpool_limits(runtime.threads):
        try:
            result = work()
            result.scored_by = scoring_code()
        except (Exception, SystemExit) as error:  # any method may be anybody's code: its failure is a row
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            result = Result(Status.FAILED, first_line(error), traceback.format_exc())
    result.costs.seconds = time.perf_counter() - began
    result.costs.peak_memory_mib = peak_in_mebibytes(runtime.device)
    return result


def _counts(prepared: Prepared) -> Counts:
    split = prepared.split
    return Counts(
        n_train=len(split.train),
        n_labelled=len(split.labelled),
        n_validation_labelled=len(split.validation_labelled),
        n_test=len(split.test),
        n_classes=len(prepared.subtomograms.class_names),
        split_by=split.by,
        split=split.hash(),
    )
