"""Rows: one a trial. Each column is declared once, with its meaning and where its value comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.base.errors import BenchError
from bench.base.files import digest
from bench.trials.kinds import Number, Text
from bench.trials.trial import CONTRIBUTED, OURS, RERUN, Record, Status

LINE = Text()
NAME = Text(required=True)
AMOUNT = Number()
SHARE = Number(high=1)  # of 1
COUNT = Number(whole=True)
SIZE = Number(low=1, whole=True, required=True)


@dataclass(frozen=True)
class Column:
    """A column of `rows.csv`."""

    name: str
    meaning: str
    of: Callable[[Record], Any]
    kind: Text | Number = LINE
    default: str | None = None  # of rows that were written before there was such a column


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
    trial = record.trial
    conditions = (trial.conditions,) if trial.conditions else ()
    return digest(trial.fingerprint, trial.test_fraction, *conditions)[:8]


COLUMNS = (
    Column("dataset", "name of the data set", _of_trial("dataset"), NAME),
    Column(
        "data_parameters",
        "its parameters and conditions",
        lambda record: described((*record.trial.data_parameters, *record.trial.conditions)),
    ),
    Column("data_title", "the same for people: name, box, SNR", _of_trial("data_title")),
    Column("protocol", "`fair` or `paper` (docs/protocols.md)", _of_trial("protocol"), NAME),
    Column("views", "of the training volumes (docs/methods.md)", _of_trial("views"), NAME),
    Column(
        "select", "which weights are kept: `best`, `last` or `average` (docs/protocols.md)", _of_trial("select"), NAME
    ),
    Column(
        "test_views",
        "views of each test volume over which the method's answers are averaged; 1: the volume as it is",
        _of_trial("test_views"),
        SIZE,
    ),
    Column("epochs", "length of the training", lambda record: record.trial.budget.epochs, SIZE),
    Column("batch_size", "volumes in a batch", lambda record: record.trial.budget.batch_size, SIZE),
    Column(
        "filters", "of each convolution; the paper's network has 32", lambda record: record.trial.budget.filters, SIZE
    ),
    Column(
        "data", "hash of the volumes and of the test fraction: rows that differ here are never averaged", _data, NAME
    ),
    Column("method", "name of the method", _of_trial("method"), NAME),
    Column("method_title", "the same for people", _of_trial("method_title")),
    Column(
        "variant", "the method with the hyperparameters that differ from their defaults", _of_trial("variant"), NAME
    ),
    Column(
        "labelled_percent",
        "labelled volumes in % of the training set; empty for a method without labels",
        _of_trial("labelled_percent"),
        Number(high=100, above=True),
    ),
    Column(
        "seed",
        "seed of the run; split and training seeds derive from it",
        _of_trial("seed"),
        Number(whole=True, required=True),
    ),
    Column(
        "status",
        "`done`, `failed` (the method raised something), `killed` (its process died at every attempt), `timed out` or "
        "`missing`",
        lambda record: str(record.status),
        Text(required=True, among=tuple(Status)),
    ),
    Column("error", "first line of what went wrong", lambda record: record.result.error),
    Column("n_train", "volumes in the training part, without the validation part", _of_counts("n_train"), COUNT),
    Column("n_labelled", "of them, with a label that the method may see", _of_counts("n_labelled"), COUNT),
    Column(
        "n_validation_labelled",
        "volumes in the validation part with a label that the method may see",
        _of_counts("n_validation_labelled"),
        COUNT,
    ),
    Column("n_test", "volumes in the test set", _of_counts("n_test"), Number(low=1, whole=True)),
    Column("n_classes", "classes", _of_counts("n_classes"), Number(low=1, whole=True)),
    Column(
        "split_by",
        "`tomogram` where ids exist (`tomogram, validation by particle` where too few are left), else `particle`",
        _of_counts("split_by"),
    ),
    Column("split", "hash of the split: equal for all methods of a seed and label fraction", _of_counts("split")),
    Column("accuracy", "on the test set, 0 to 1", _of_scores("accuracy"), SHARE),
    Column("balanced_accuracy", "mean of the recalls, 0 to 1", _of_scores("balanced_accuracy"), SHARE),
    Column("macro_f1", "mean of the classes' F1 scores, 0 to 1", _of_scores("macro_f1"), SHARE),
    Column("nll", "mean negative log-likelihood of the true class, in nats", _of_scores("nll"), AMOUNT),
    Column("ece", "expected calibration error, 15 bins", _of_scores("ece"), SHARE),
    Column(
        "ece_calibrated",
        "the same after temperature scaling on the labelled validation volumes, as `bench predict` states its "
        "confidence",
        _of_scores("ece_calibrated"),
        SHARE,
    ),
    Column(
        "mse",
        "reconstruction error on the test set, in units of the training part's variance",
        _of_scores("mse"),
        AMOUNT,
    ),
    Column(
        "pseudo_labels_used",
        "part of the pseudo-labels that the method used, at the end of the training; empty for one without any",
        lambda record: getattr(record.result.guesses, "used", None),
        SHARE,
    ),
    Column(
        "pseudo_label_accuracy",
        "of those used; the method never sees this",
        lambda record: getattr(record.result.guesses, "accuracy", None),
        SHARE,
    ),
    Column(
        "training_seconds",
        "seconds of optimisation and validation, with the trial's part of a shared autoencoder",
        _of_costs("training_seconds"),
        AMOUNT,
    ),
    Column("seconds", "seconds of the whole trial", _of_costs("seconds"), AMOUNT),
    Column(
        "optimiser_steps",
        "optimiser steps of training, in a loop of the method's own too",
        _of_costs("optimiser_steps"),
        COUNT,
    ),
    Column(
        "volumes_seen", "volumes in the batches of all steps of the training loop", _of_costs("volumes_seen"), COUNT
    ),
    Column("volumes_per_second", "of training", _of_costs("volumes_per_second"), AMOUNT),
    Column(
        "peak_memory_mib",
        "largest memory of the trial's process, or of its GPU",
        _of_costs("peak_memory_mib"),
        AMOUNT,
    ),
    Column(
        "attempts",
        "how often the trial was begun: more than once where its process died or the run was interrupted",
        _of_costs("attempts"),
        COUNT,
    ),
    Column("recall", "per class, in the order of the classes", lambda record: _joined(record.result.recall)),
    Column(
        "origin",
        "`ours`, `contributed` by others (docs/studies.md), or `re-run`: contributed, and run again by us",
        lambda record: record.origin,
        Text(among=(OURS, CONTRIBUTED, RERUN)),
        OURS,
    ),
    Column("device", "`cpu` or `cuda`", lambda record: record.device),
    Column("trial", "its folder below `trials/`", lambda record: record.key),
)
RULES = ["protocol", "views", "select", "test_views"]
SIZES = ["epochs", "batch_size", "filters"]
TERMS = ["dataset", "data_parameters", "data_title", *RULES, *SIZES]  # of a comparison
COMPARISON = [*TERMS, "data"]  # rows that agree here are on equal terms: the same volumes too
DATA = ["dataset", "data_parameters", "data_title", "data"]  # of them, what tells one set of volumes from another
CELL = [*COMPARISON, "variant", "labelled_percent"]  # and these are one cell: its seeds
SCORES = ["accuracy", "balanced_accuracy", "macro_f1", "nll", "ece", "ece_calibrated", "mse"]
NEEDED = [*CELL, "seed", "status", "split", "n_test", *SCORES]  # of rows that are read back
COSTS = [
    "training_seconds",
    "seconds",
    "optimiser_steps",
    "volumes_seen",
    "volumes_per_second",
    "peak_memory_mib",
    "attempts",
]


def as_rows(records: Sequence[Record], where: Callable[[str], object] = str) -> pd.DataFrame:
    """One row a record, in the order of the cells and their seeds.

    where: key of a trial → the place of its record, for the error. Raises BenchError as `validate` does.
    """
    places = [str(where(record.key)) for record in records]
    rows = [_cells(record, place) for record, place in zip(records, places)]
    table = validate(rows, places, "delete that folder and run again; if that does not help, choose another --out")
    return table.sort_values([*CELL, "seed"], kind="stable", ignore_index=True)


def validate(rows: Sequence[Mapping[str, str]], where: Sequence[str], mend: str) -> pd.DataFrame:
    """Rows of written cells → a table of texts and numbers, with those of COLUMNS that the rows have.

    where: the place of each row; mend: what to do about a bad one; both for the error. Raises BenchError for the first
    cell outside its column's range, a trial that is done without a score, and two rows of one trial.
    """
    columns = [column for column in COLUMNS if not rows or column.name in rows[0]]
    read = [_read(row, columns, place, mend) for row, place in zip(rows, where)]
    seen: dict[tuple[Any, ...], str] = {}
    for row, place in zip(read, where):
        trial = tuple(row[name] for name in [*CELL, "seed"])
        if trial in seen:
            raise BenchError(f"{place}: is the trial of {seen[trial]} again ({row_label(row)}); {mend}")
        seen[trial] = place
    return pd.DataFrame({c.name: pd.Series([row[c.name] for row in read], dtype=c.kind.dtype) for c in columns})


def columns_as_markdown() -> str:
    """The table of columns in results/README.md."""
    lines = [f"| {column.name} | {column.meaning} |" for column in COLUMNS]
    return "\n".join(["| column | meaning |", "|---|---|", *lines])


def row_label(row: pd.Series | Mapping[str, Any]) -> str:
    """Names a row's trial: "fair autoencoding 5 % seed 0"."""
    percent = "" if pd.isna(row["labelled_percent"]) else f" {row['labelled_percent']:g} %"
    return f"{row['protocol']} {row['views']} {row['variant']}{percent} seed {row['seed']}"


def printable(text: str) -> str:
    """A text that any terminal and file takes: what is no letter becomes a question mark."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _joined(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4f}" for value in values)


def _cells(record: Record, where: str) -> dict[str, str]:
    try:
        values = {column.name: column.of(record) for column in COLUMNS}
    except (AttributeError, TypeError, ValueError) as error:
        raise BenchError(f"{where}: damaged ({error}); delete that folder and run again") from error
    return {name: "" if value is None else printable(str(value)) for name, value in values.items()}


def _read(row: Mapping[str, str], columns: Sequence[Column], where: str, mend: str) -> dict[str, Any]:
    """The texts and numbers of a row's cells."""
    values: dict[str, Any] = {}
    for column in columns:
        try:
            values[column.name] = column.kind.read(row[column.name])
        except ValueError:
            cell = ascii(row[column.name][:40])
            raise BenchError(f"{where}, column {column.name}: {cell} must be {column.kind}; {mend}") from None
    if values["status"] == Status.DONE:
        lacking = [name for name in ("n_test", "split") if not values[name]]
        if values["accuracy"] is None and values["mse"] is None:
            lacking.append("accuracy or mse")
        if lacking:
            raise BenchError(f"{where}: is done, but has no {', no '.join(lacking)}; {mend}")
    return values
