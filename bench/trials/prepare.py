"""A trial's data on both sides of the split, and the trainer that its method gets; the one place that holds both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.base.arrays import UNLABELLED, IntArray
from bench.base.cache import Cache
from bench.base.files import digest
from bench.base.machine import keep_freed_memory
from bench.base.seeds import derive, seed_globally
from bench.data.conditions import Conditions
from bench.data.split import Split, make_split
from bench.data.subtomograms import Subtomograms
from bench.learning.checkpoint import Checkpoints
from bench.learning.contracts import Guess, TrainingData
from bench.learning.degrading import degraded
from bench.learning.feed import Feed
from bench.learning.networks import Backbone
from bench.learning.protocol import PROTOCOLS
from bench.learning.rehearsal import Rehearsal
from bench.learning.spectrum import Spectrum
from bench.learning.trainer import Trainer
from bench.learning.views import Views
from bench.trials.trial import Guesses, Runtime, Trial


@dataclass(frozen=True)
class Prepared:
    """Both sides; only `data` and `trainer` go to the method."""

    data: TrainingData
    trainer: Trainer
    subtomograms: Subtomograms
    split: Split
    test: Feed
    mean: float  # of the training voxels
    std: float
    test_views: Callable[[Tensor], Iterable[Tensor]]  # a batch of test volumes → the views that are scored


def set_up(runtime: Runtime) -> None:
    """Put PyTorch into the state that every trial begins with, whatever the trial before it left."""
    torch.set_num_threads(runtime.threads)
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = not runtime.deterministic
    if runtime.deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # read when the GPU is first used
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(runtime.deterministic)


def split_of(trial: Trial, subtomograms: Subtomograms) -> Split:
    """Who may see what in this trial; raises BenchError where a class would be left without a label."""
    return make_split(
        subtomograms.labels,
        trial.labelled_percent,
        trial.seed,
        trial.test_fraction,
        PROTOCOLS[trial.protocol].validation_fraction,
        subtomograms.tomogram_ids,
        subtomograms.class_names,
        Conditions.of(dict(trial.conditions)),
    )


def guessed(prepared: Prepared) -> Guesses | None:
    """How good the pseudo-labels since the last validation were; None for a method without."""
    given = prepared.trainer.guesses
    if not given:
        return None
    places, guesses, used = (torch.cat([getattr(guess, name).cpu() for guess in given]) for name in Guess._fields)
    truth = torch.from_numpy(prepared.subtomograms.labels[prepared.split.train])[places]
    known = used & (truth != UNLABELLED)
    right = (guesses == truth)[known].double().mean() if known.any() else None
    return Guesses(float(used.double().mean()), None if right is None else float(right))


def _views(trial: Trial, volumes: Feed, subtomograms: Subtomograms, checkpoints: Checkpoints) -> Views | None:
    """The views of the training volumes; None where neither training nor test has any."""
    if trial.views == "none" and trial.test_views == 1:
        return None
    views = Views.of(trial.views, volumes, subtomograms.tilt_range_in_degrees)
    if subtomograms.tilt_range_in_degrees is None:
        low, high = views.spectrum.tilts
        checkpoints.note(f"tilt range unknown; on the training volumes it is {low:g}° to {high:g}°")
    return views


def prepare(
    trial: Trial,
    data_folder: Path,
    runtime: Runtime,
    checkpoints: Checkpoints | None = None,
    rehearsal: Rehearsal | None = None,
) -> Prepared:
    """Split and normalise the volumes that `Subtomograms.save` wrote to `data_folder`.

    Each part has a feed whose rows are that part alone, so that no index leads from one to another.
    Raises ValueError where there is nothing to learn from.
    """
    conditions, checkpoints = Conditions.of(dict(trial.conditions)), checkpoints or Checkpoints()
    read = Subtomograms.open(data_folder)
    split, subtomograms = split_of(trial, read), conditions.of_classes(read)
    device = torch.device(runtime.device)
    seed_globally(derive(trial.seed, "global"))
    everything = Feed(subtomograms.volumes, device=device)

    def part(indices: IntArray) -> Feed:
        return everything.only(torch.from_numpy(indices)).apart()

    def labels(indices: IntArray, shown: IntArray) -> Tensor:
        known = np.where(np.isin(indices, shown), split.given[indices], UNLABELLED)
        return torch.from_numpy(known).to(device)

    mean, std = part(split.train).moments()
    if std == 0:
        raise ValueError("all training voxels are equal")
    volumes = part(split.train).normalised(mean, std).resident()
    data = TrainingData(
        volumes,
        labels(split.train, split.labelled),
        part(split.validation).normalised(mean, std).resident(),
        labels(split.validation, split.validation_labelled),
    )
    backbone = Backbone(subtomograms.box, len(subtomograms.class_names), trial.budget.filters)
    views = _views(trial, volumes, subtomograms, checkpoints)
    trainer = Trainer(
        protocol=PROTOCOLS[trial.protocol],
        budget=trial.budget,
        backbone=backbone,
        seed=trial.seed,
        device=device,
        n_train=len(split.train),
        cache=Cache(runtime.cache_folder),
        data_key=digest(trial.fingerprint, split.train.tolist(), split.validation.tolist()),
        checkpoints=checkpoints,
        views=views if trial.views != "none" else None,
        select=trial.select,
        rehearsal=rehearsal,
    )

    def test_views(some: Tensor) -> Iterable[Tensor]:
        return [some] if views is None else views.of_test(some, trial.test_views)

    test = part(split.test)
    if conditions.test_noise or conditions.test_tilt_in_degrees is not None:
        spectrum = Spectrum.of(volumes, subtomograms.tilt_range_in_degrees)
        test = degraded(test, spectrum, conditions.test_noise, conditions.test_tilt_in_degrees, trial.seed)
    test = test.normalised(mean, std)
    return Prepared(data, trainer, subtomograms, split, test, mean, std, test_views)
