"""Rows: one a trial; their columns, and how they are read back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.base.files import digest

if TYPE_CHECKING:
    pass


TERMS = ["dataset", "protocol", "epochs", "batch_size", "filters"]  # what a user sees of a comparison


COMPARISON = [*TERMS, "data"]  # rows that agree here are on equal terms: the same volumes too


CELL = [*COMPARISON, "variant", "labelled_percent"]  # and these are one cell: its seeds


COUNTS = ["n_train", "n_labelled", "n_validation_labelled", "n_test", "n_classes", "split_by", "split"]


SCORES = ["accuracy", "balanced_accuracy", "macro_f1", "nll", "ece", "ece_calibrated", "mse"]


COSTS = ["training_seconds", "seconds", "optimiser_steps", "volumes_per_second", "peak_memory_mib", "attempts"]


STATUSES = ["done", "failed", "killed", "timed out", "missing"]


def printable(text: str) -> str:
    """A text that any terminal and file takes: what is no letter becomes a question mark."""
    return "".join(c if c.isprintable() else "?" for c in text)


def row_label(row: pd.Series) -> str:
    """Names a row's trial: "fair autoencoding 5 % seed 0"."""
    percent = "" if pd.isna(row["labelled_percent"]) else f" {row['labelled_percent']:g} %"
    return f"{row['protocol']} {row['variant']}{percent} seed {row['seed']}"


def row_of(key: str, record: dict[str, Any]) -> dict[str, Any]:
    """The row of a trial's record."""
    trial = record["trial"]
    row: dict[str, Any] = {name: trial[name] for name in ("dataset", "protocol")} | trial["budget"]
    row["data"] = digest(trial["fingerprint"], trial["test_fraction"])[:8]
    row |= {name: trial[name] for name in ("method", "variant", "labelled_percent", "seed")}
    row |= {"status": record["status"], "error": record.get("error", "")}
    for group, columns in (("counts", COUNTS), ("scores", SCORES), ("costs", COSTS)):
        row |= {name: record.get(group, {}).get(name) for name in columns}
    row["recall"] = " ".join(f"{value:.4f}" for value in record.get("recall", ()))
    row |= {"device": record.get("device"), "trial": key}
    return {name: printable(value) if isinstance(value, str) else value for name, value in row.items()}
