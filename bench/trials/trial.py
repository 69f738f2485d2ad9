"""Trial, frozen and hashed, and run(trial): the one place that holds both the training and the test side."""

from __future__ import annotations

import errno
import os
import time
import traceback
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from bench import registry
from bench.base.arrays import UNLABELLED, FloatArray
from bench.base.cache import Cache
from bench.base.files import digest
from bench.base.machine import keep_freed_memory, peak_in_mebibytes, start_peak
from bench.base.seeds import derive
from bench.data.split import Split, make_split
from bench.data.subtomograms import Subtomograms
from bench.learning.checkpoint import Checkpoints, seed_globally
from bench.learning.contracts import EVALUATION_BATCH, Classifies, Rebuilds, TrainingData, Weights, in_batches
from bench.learning.feed import Feed
from bench.learning.networks import Backbone
from bench.learning.protocol import PROTOCOLS, Budget
from bench.learning.training import Trainer, ValidationPoint
from bench.trials.metrics import Classification, calibration_error, classification, temperature

FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Trial:
    """One dataset × protocol × method × label fraction × seed, with all that its numbers depend on but the machine."""

    dataset: str  # the title that tables print
    fingerprint: str  # of the volumes and labels
    test_fraction: float
    protocol: str
    method: str
    settings: tuple[tuple[str, Any], ...]  # every hyperparameter
    variant: str  # the method's name with the hyperparameters that differ from their defaults
    labelled_percent: float | None  # labelled volumes in % of the training set; None for a method without labels
    seed: int
    budget: Budget
    code: str  # hash of the code that trains it

    def key(self) -> str:
        """Hash of the settings and of the protocol's rules: the name of the trial's folder."""
        return digest(asdict(self), asdict(PROTOCOLS[self.protocol]))

    def label(self) -> str:
        """For progress lines and errors."""
        labelled = "" if self.labelled_percent is None else f" {self.labelled_percent:g} %"
        return f"{self.protocol} {self.variant}{labelled} seed {self.seed}"

    @staticmethod
    def from_dict(record: dict[str, Any]) -> Trial:
        """The inverse of dataclasses.asdict, also after JSON."""
        settings = tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in record["settings"])
        return Trial(**{**record, "settings": settings, "budget": Budget(**record["budget"])})


@dataclass(frozen=True)
class Runtime:
    """Where a trial runs: nothing here may change its numbers beyond rounding."""

    data_folder: Path  # of Subtomograms.open
    cache_folder: Path
    device: str  # "cpu" or "cuda"
    threads: int
    deterministic: bool = False  # on a GPU: the same bits in every run, at some cost; on a CPU they always are
    checkpoint_interval_in_seconds: float = 30.0  # 0: after each validation


@dataclass
class Result:
    """What came of a trial; `results` writes it, tables and pictures read it."""

    status: str  # one of results.STATUSES
    error: str = ""
    traceback: str = ""
    counts: dict[str, int | str] = field(default_factory=dict)  # sizes and hash of the split
    scores: dict[str, float] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    recall: tuple[float, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    history: list[ValidationPoint] = field(default_factory=list)
    class_names: tuple[str, ...] = ()
    reconstructions: FloatArray | None = None  # (classes, 2, d, h, w): original, rebuilt; in training-part units
    calibration: dict[str, float] = field(default_factory=dict)  # what `weights` need to name other volumes
    weights: Weights | None = None  # of the network that validation chose


def run(trial: Trial, runtime: Runtime, checkpoints: Checkpoints | None = None) -> Result:
    """Run one trial from data to scores; what a method raises becomes a result with status "failed".

    One that was begun before goes on from its checkpoints, to the same numbers. Raises OSError where the disk is full,
    which is no fault of the method's.
    """
    began = time.perf_counter()
    _set_up(runtime)
    start_peak(runtime.device)
    with threadpool_limits(runtime.threads):
        try:
            result = _train_and_score(trial, runtime, checkpoints)
        except (Exception, SystemExit) as error:  # any method may be anybody's code: its failure is a row
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            result = Result("failed", _first_line(error), traceback.format_exc())
    result.costs["seconds"] = time.perf_counter() - began
    result.costs["peak_memory_mib"] = peak_in_mebibytes(runtime.device)
    return result


def _first_line(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # an error of somebody's own kind, which cannot say what it is
        text = ""
    return f"{type(error).__name__}: {text}".partition("\n")[0]


def rehearse(trial: Trial, runtime: Runtime) -> tuple[float, dict[str, float]]:
    """Estimated training seconds of a trial, from a few real steps: its own, and of each part that trials share."""
    _set_up(runtime)
    with threadpool_limits(runtime.threads):
        side = _prepare(trial, runtime, rehearsal=True)
        registry.method(trial.method, dict(trial.settings)).fit(side.data, side.trainer)
    return side.trainer.seconds, side.trainer.shared_seconds


def _set_up(runtime: Runtime) -> None:
    torch.set_num_threads(runtime.threads)
    torch.set_default_dtype(torch.float32)  # whatever the trial before this one left
    torch.set_grad_enabled(True)
    keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = not runtime.deterministic
    if runtime.deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # read when the GPU is first used
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(runtime.deterministic)


def split_of(trial: Trial, subtomograms: Subtomograms) -> Split:
    """Who may see what in this trial."""
    return make_split(
        subtomograms.labels,
        trial.labelled_percent,
        trial.seed,
        trial.test_fraction,
        PROTOCOLS[trial.protocol].validation_fraction,
        subtomograms.tomogram_ids,
        subtomograms.class_names,
    )


@dataclass(frozen=True)
class _Prepared:
    """A trial's data on both sides of the fence; only `data` and `trainer` go to the method."""

    data: TrainingData
    trainer: Trainer
    subtomograms: Subtomograms
    split: Split
    test: Feed
    mean: float  # of the training voxels
    std: float


def _prepare(
    trial: Trial, runtime: Runtime, checkpoints: Checkpoints | None = None, rehearsal: bool = False
) -> _Prepared:
    subtomograms = Subtomograms.open(runtime.data_folder)
    split = split_of(trial, subtomograms)
    device = torch.device(runtime.device)
    seed_globally(derive(trial.seed, "global"))
    whole = Feed(subtomograms.volumes, device=device)
    mean, std = whole.only(torch.from_numpy(split.train)).moments()
    if std == 0:
        raise ValueError("all training voxels are equal")
    whole = whole.normalised(mean, std)

    def side(indices: np.ndarray, shown: np.ndarray) -> tuple[Feed, Tensor]:
        labels = np.where(np.isin(indices, shown), subtomograms.labels[indices], UNLABELLED)
        return whole.only(torch.from_numpy(indices)).resident(), torch.from_numpy(labels).to(device)

    data = TrainingData(*side(split.train, split.labelled), *side(split.validation, split.validation_labelled))
    trainer = Trainer(
        protocol=PROTOCOLS[trial.protocol],
        budget=trial.budget,
        backbone=Backbone(subtomograms.box, len(subtomograms.class_names), trial.budget.filters),
        seed=trial.seed,
        device=device,
        n_train=len(split.train),
        cache=Cache(runtime.cache_folder),
        data_key=digest(trial.fingerprint, split.train.tolist(), split.validation.tolist()),
        checkpoints=checkpoints or Checkpoints(),
        rehearsal=rehearsal,
    )
    return _Prepared(data, trainer, subtomograms, split, whole.only(torch.from_numpy(split.test)), mean, std)


def _train_and_score(trial: Trial, runtime: Runtime, checkpoints: Checkpoints | None) -> Result:
    side = _prepare(trial, runtime, checkpoints)
    trainer, split = side.trainer, side.split
    network = registry.method(trial.method, dict(trial.settings)).fit(side.data, trainer)
    result = Result("done", class_names=side.subtomograms.class_names, history=trainer.history)
    result.counts = {
        "n_train": len(split.train),
        "n_labelled": len(split.labelled),
        "n_validation_labelled": len(split.validation_labelled),
        "n_test": len(split.test),
        "n_classes": len(side.subtomograms.class_names),
        "split_by": split.by,
        "split": split.hash(),
    }
    result.costs = {
        "training_seconds": trainer.seconds,
        "optimiser_steps": trainer.steps,
        "volumes_per_second": trainer.volumes_seen / trainer.seconds if trainer.seconds else 0.0,
    }
    if not isinstance(network, Classifies | Rebuilds):
        raise TypeError("the trained network has neither logits(volumes) nor reconstruct(volumes)")
    result.weights = {k: v.detach().cpu().clone() for k, v in network.state_dict().items()}
    result.calibration = _calibration(network, side)
    _score(result, network, side)
    return result


@torch.inference_mode()
def _calibration(network: nn.Module | Classifies | Rebuilds, side: _Prepared) -> dict[str, float]:
    """Scale of the voxels, and what the labelled validation volumes say of a classifier: its loss and temperature."""
    made = {
        "box": side.subtomograms.box,
        "voxel_size_in_angstroms": side.subtomograms.voxel_size_in_angstroms,
        "mean": side.mean,
        "std": side.std,
    }
    known = side.data.validation_labels != UNLABELLED
    if not isinstance(network, Classifies) or not known.any():
        return made
    logits = in_batches(partial(_logits, network, side), side.data.validation_volumes.only(known)).double().cpu()
    labels = side.data.validation_labels[known].cpu()
    made["validation_nll"] = float(torch.nn.functional.cross_entropy(logits, labels))
    made["validation_labels"] = len(labels)
    made["temperature"] = temperature(logits.numpy(), labels.numpy())
    return made


@torch.inference_mode()
def _score(result: Result, network: nn.Module | Classifies | Rebuilds, side: _Prepared) -> None:
    """Put the test set through the chosen network, once."""
    labels = side.subtomograms.labels[side.split.test]
    logits, errors = [], []
    for volumes in side.test.batches(EVALUATION_BATCH):
        if isinstance(network, Classifies):
            logits.append(_logits(network, side, volumes).double().cpu())
        if isinstance(network, Rebuilds):
            rebuilt = _checked("reconstruct", network.reconstruct(volumes), volumes.shape)
            errors.append((rebuilt - volumes).square().flatten(1).mean(1).double().cpu())
    if logits:
        joined = torch.cat(logits)
        scores: Classification = classification(labels, joined.softmax(1).numpy())
        result.recall, result.confusion = scores.recall, scores.confusion
        result.scores = {
            name: getattr(scores, name) for name in ("accuracy", "balanced_accuracy", "macro_f1", "nll", "ece")
        }
        calibrated = (joined / result.calibration.get("temperature", 1.0)).softmax(1).numpy()
        result.scores["ece_calibrated"] = calibration_error(calibrated, labels)
    if isinstance(network, Rebuilds):
        mse = float(torch.cat(errors).mean())
        if not np.isfinite(mse):
            raise FloatingPointError("the method's reconstructions hold voxels that are not numbers")
        result.scores["mse"] = mse
        first = np.array([np.flatnonzero(labels == c)[0] for c in range(len(side.subtomograms.class_names))])
        volumes = side.test[torch.from_numpy(first)]
        result.reconstructions = torch.cat([volumes, network.reconstruct(volumes)], 1).cpu().numpy()


def _logits(network: Classifies, side: _Prepared, volumes: Tensor) -> Tensor:
    return _checked("logits", network.logits(volumes), (len(volumes), len(side.subtomograms.class_names)))


def _checked(what: str, given: object, shape: tuple[int, ...]) -> Tensor:
    """What a method's network gave, if it has the shape that it should have: NumPy's rules would stretch it to fit."""
    if not isinstance(given, Tensor) or given.shape != shape:
        raise TypeError(f"{what}(volumes) gave {getattr(given, 'shape', type(given).__name__)} instead of {shape}")
    return given
