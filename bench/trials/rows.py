"""Rows: one a trial. Each column is declared once, with its meaning and where its value comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.base.files import digest
from bench.trials.trial import Record


@dataclass(frozen=True)
class Column:
    """A column of `rows.csv`."""

    name: str
    meaning: str
    of: Callable[[Record], Any]
    dtype: str = "object"


def _of_trial(name: str) -> Callable[[Record], Any]:
    return lambda record: getattr(record.trial, name)


def _of_counts(name: str) -> Callable[[Record], Any]:
    return lambda record: getattr(record.result.counts, name, None)


def _of_scores(name: str) -> Callable[[Record], Any]:
    return lambda record: getattr(record.result.scores, name)


def _of_costs(name: str) -> Callable[[Record], Any]:
    return lambda record: getattr(record.result.costs, name)


def described(settings: Mapping[str, Any] | tuple[tuple[str, Any], ...]) -> str:
    """Parameters as one text: "box=16, snr=0.5"."""
    return ", ".join(f"{name}={value}" for name, value in dict(settings).items())


def _data(record: Record) -> str:
    return digest(record.trial.fingerprint, record.trial.test_fraction)[:8]


WHOLE = "Int64"
COLUMNS = (
    Column("dataset", "name of the data set", _of_trial("dataset")),
    Column("data_parameters", "its parameters", lambda record: described(record.trial.data_parameters)),
    Column("data_title", "the same for people: name, box, SNR", _of_trial("data_title")),
    Column("protocol", "`fair` or `paper` (docs/protocols.md)", _of_trial("protocol")),
    Column("epochs", "length of the training", lambda record: record.trial.budget.epochs),
    Column("batch_size", "volumes in a batch", lambda record: record.trial.budget.batch_size),
    Column("filters", "of each convolution; the paper's network has 32", lambda record: record.trial.budget.filters),
    Column("data", "hash of the volumes and of the test fraction: rows that differ here are never averaged", _data),
    Column("method", "name of the method", _of_trial("method")),
    Column("method_title", "the same for people", _of_trial("method_title")),
    Column("variant", "the method with the hyperparameters that differ from their defaults", _of_trial("variant")),
    Column(
        "labelled_percent",
        "labelled volumes in % of the training set; empty for a method without labels",
        _of_trial("labelled_percent"),
        "float64",
    ),
    Column("seed", "seed of the run; split and training seeds derive from it", _of_trial("seed")),
    Column(
        "status",
        "`done`, `failed` (the method raised something), `killed` (its process died at every attempt), `timed out` or "
        "`missing`",
        lambda record: str(record.status),
    ),
    Column("error", "first line of what went wrong", lambda record: record.result.error),
    Column("n_train", "volumes in the training part, without the validation part", _of_counts("n_train"), WHOLE),
    Column("n_labelled", "of them, with a label that the method may see", _of_counts("n_labelled"), WHOLE),
    Column(
        "n_validation_labelled",
        "volumes in the validation part with a label that the method may see",
        _of_counts("n_validation_labelled"),
        WHOLE,
    ),
    Column("n_test", "volumes in the test set", _of_counts("n_test"), WHOLE),
    Column("n_classes", "classes", _of_counts("n_classes"), WHOLE),
    Column(
        "split_by",
        "`tomogram` where ids exist (`tomogram, validation by particle` where too few are left), else `particle`",
        _of_counts("split_by"),
    ),
    Column("split", "hash of the split: equal for all methods of a seed and label fraction", _of_counts("split")),
    Column("accuracy", "on the test set, 0 to 1", _of_scores("accuracy")),
    Column("balanced_accuracy", "mean of the recalls, 0 to 1", _of_scores("balanced_accuracy")),
    Column("macro_f1", "mean of the classes' F1 scores, 0 to 1", _of_scores("macro_f1")),
    Column("nll", "mean negative log-likelihood of the true class, in nats", _of_scores("nll")),
    Column("ece", "expected calibration error, 15 bins", _of_scores("ece")),
    Column(
        "ece_calibrated",
        "the same after temperature scaling on the labelled validation volumes, as `bench predict` states its "
        "confidence",
        _of_scores("ece_calibrated"),
    ),
    Column("mse", "reconstruction error on the test set, in units of the training part's variance", _of_scores("mse")),
    Column(
        "training_seconds",
        "seconds of optimisation and validation, with the trial's part of a shared autoencoder",
        _of_costs("training_seconds"),
    ),
    Column("seconds", "seconds of the whole trial", _of_costs("seconds")),
    Column("optimiser_steps", "optimiser steps of training", _of_costs("optimiser_steps"), WHOLE),
    Column("volumes_per_second", "of training", _of_costs("volumes_per_second")),
    Column("peak_memory_mib", "largest memory of the trial's process, or of its GPU", _of_costs("peak_memory_mib")),
    Column(
        "attempts",
        "how often the trial was begun: more than once where its process died or the run was interrupted",
        _of_costs("attempts"),
        WHOLE,
    ),
    Column("recall", "per class, in the order of the classes", lambda record: _joined(record.result.recall)),
    Column("device", "`cpu` or `cuda`", lambda record: record.device),
    Column("trial", "its folder below `trials/`", lambda record: record.key),
)
TERMS = ["dataset", "data_parameters", "data_title", "protocol", "epochs", "batch_size", "filters"]  # of a comparison
COMPARISON = [*TERMS, "data"]  # rows that agree here are on equal terms: the same volumes too
CELL = [*COMPARISON, "variant", "labelled_percent"]  # and these are one cell: its seeds
SCORES = ["accuracy", "balanced_accuracy", "macro_f1", "nll", "ece", "ece_calibrated", "mse"]
COSTS = ["training_seconds", "seconds", "optimiser_steps", "volumes_per_second", "peak_memory_mib", "attempts"]


def as_rows(records: list[Record]) -> pd.DataFrame:
    """One row a record, in the order of the cells and their seeds."""
    made = [{column.name: _printed(column.of(record)) for column in COLUMNS} for record in records]
    table = pd.DataFrame(made, columns=[column.name for column in COLUMNS])
    table = table.astype({column.name: column.dtype for column in COLUMNS if column.dtype != "object"})
    return table.sort_values([*CELL, "seed"], kind="stable", ignore_index=True)


def columns_as_markdown() -> str:
    """The table of columns in results/README.md."""
    lines = [f"| {column.name} | {column.meaning} |" for column in COLUMNS]
    return "\n".join(["| column | meaning |", "|---|---|", *lines])


def row_label(row: pd.Series) -> str:
    """Names a row's trial: "fair autoencoding 5 % seed 0"."""
    percent = "" if pd.isna(row["labelled_percent"]) else f" {row['labelled_percent']:g} %"
    return f"{row['protocol']} {row['variant']}{percent} seed {row['seed']}"


def printable(text: str) -> str:
    """A text that any terminal and file takes: what is no letter becomes a question mark."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _joined(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4f}" for value in values)


def _printed(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else value
