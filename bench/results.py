"""The result store: one folder a trial, one status, rows; the only place that knows how results lie on disk."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from safetensors.torch import save_file

from bench import __version__
from bench.cache import digest, write_atomically
from bench.errors import BenchError
from bench.volume import FloatArray

if TYPE_CHECKING:
    from bench.trial import Result, Trial

FORMAT = 1
TERMS = ["dataset", "protocol", "epochs", "batch_size", "filters"]  # what a user sees of a comparison
COMPARISON = [*TERMS, "data"]  # rows that agree here are on equal terms: the same volumes too
CELL = [*COMPARISON, "variant", "fraction"]  # and these are one cell: its seeds
COUNTS = ["n_train", "n_labelled", "n_validation_labelled", "n_test", "n_classes", "split_by", "split"]
SCORES = ["accuracy", "balanced_accuracy", "macro_f1", "nll", "ece", "ece_calibrated", "mse"]
COSTS = ["training_seconds", "seconds", "optimiser_steps", "volumes_per_second", "peak_memory_mib"]


class Store:
    """A results folder. `rows.csv`, tables and pictures in it are made from `plan.json` and `trials/` alone."""

    def __init__(self, folder: Path) -> None:
        """Open a folder that holds results; raises BenchError where it holds none or another version's."""
        self.folder = folder.absolute()
        marker = self.folder / "store.json"
        if not marker.is_file():
            raise BenchError(f"{folder}: no results here; name the --out folder of a bench run")
        try:
            found = json.loads(marker.read_text())
            written_by = f"version {found['version']} (format {found['format']})"
            known = found["format"] == FORMAT and found["version"] == __version__
        except (ValueError, KeyError, TypeError) as error:
            raise BenchError(f"{marker}: damaged ({error}); choose another --out") from error
        if not known:
            raise BenchError(
                f"{folder}: written by subtomobench {written_by}, this is {__version__} (format {FORMAT}); "
                f"choose another --out or use that version"
            )

    @staticmethod
    def create(folder: Path) -> Store:
        """Open a results folder, made where there is none; raises BenchError for a folder of other things."""
        if folder.exists() and not folder.is_dir():
            raise BenchError(f"--out {folder}: is a file; name a folder")
        if not (folder / "store.json").exists():
            if folder.exists() and any(folder.iterdir()):
                raise BenchError(f"--out {folder}: holds other files; name a new or empty folder")
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / "store.json", json.dumps({"format": FORMAT, "version": __version__}))
        return Store(folder)

    def lock(self) -> FileLock:
        """Keeps a second `bench run` off this folder; raises BenchError where one is at work."""
        lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise BenchError(
                f"{self.folder}: another bench run is at work here; wait, or choose another --out"
            ) from error
        return lock

    @property
    def cache_folder(self) -> Path:
        """Data sets and shared trainings; may be deleted, and is made again."""
        return self.folder / "cache"

    def plan(self, trials: list[Trial]) -> None:
        """Remember these trials beside those that have ended; one that never runs shows as missing."""
        last = {trial.key(): asdict(trial) for trial in trials}
        kept = {key: trial for key, trial in self._planned().items() if self.read(key) is not None}
        write_atomically(self.folder / "plan.json", json.dumps(kept | last, indent=1))

    def last_planned(self) -> str:
        """The fingerprint of the data of the last `bench run` here."""
        planned = self._planned()
        return str(list(planned.values())[-1]["fingerprint"]) if planned else ""

    def request(self, options: dict[str, Any] | None = None) -> dict[str, Any]:
        """The options of the last `bench run` here, written where given."""
        path = self.folder / "request.json"
        if options is not None:
            write_atomically(path, json.dumps(options, indent=1))
        if not path.is_file():
            raise BenchError(f"{self.folder}: no run to resume here; start one without --resume")
        return _read_json(path)

    def done(self, trial: Trial) -> bool:
        """Whether this trial has its scores."""
        record = self.read(trial.key())
        return record is not None and record["status"] == "done"

    def read(self, key: str) -> dict[str, Any] | None:
        """A trial's record, None where it has not ended."""
        path = self.folder / "trials" / key / "result.json"
        return _read_json(path) if path.is_file() else None

    def write(self, trial: Trial, result: Result, device: str) -> None:
        """Write a trial's folder; `result.json` comes last, whole or not at all."""
        folder = self.folder / "trials" / trial.key()
        folder.mkdir(parents=True, exist_ok=True)
        weights, result = result.weights, replace(result, weights=None)
        record = asdict(result)
        del record["weights"]
        if weights is not None:
            save_file({k: v.contiguous() for k, v in weights.items()}, folder / ".weights")
            (folder / ".weights").replace(folder / "weights.safetensors")
        record["trial"] = asdict(trial)
        record["device"] = device
        record["host"] = platform.node()
        record["finished"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        record["versions"] = {"subtomobench": __version__, "python": platform.python_version()}
        record["versions"] |= {name: version(name) for name in ("torch", "numpy", "ray")}
        reconstructions = record.pop("reconstructions")
        if reconstructions is not None:
            np.save(folder / "reconstructions.npy", reconstructions)
        (folder / "traceback.txt").unlink(missing_ok=True)
        if text := record.pop("traceback"):
            (folder / "traceback.txt").write_text(text)
        write_atomically(folder / "result.json", json.dumps(record, indent=1))

    def weights(self, key: str) -> Path:
        """The network that a trial's validation chose; raises BenchError where it kept none."""
        path = self.folder / "trials" / key / "weights.safetensors"
        if not path.is_file():
            raise BenchError(f"{path}: not there; run the trial again with bench run --out {self.folder}")
        return path

    def reconstructions(self, key: str) -> FloatArray | None:
        """(classes, 2, d, h, w): one test volume a class and its reconstruction."""
        path = self.folder / "trials" / key / "reconstructions.npy"
        return np.load(path) if path.is_file() else None

    def records(self) -> dict[str, dict[str, Any]]:
        """Key → record of every planned trial; one that has not ended has the status "missing"."""
        planned = self._planned()
        if not planned:
            raise BenchError(f"{self.folder}: no trial was planned here; start one with bench run --out {self.folder}")
        records: dict[str, dict[str, Any]] = {}
        for key, trial in planned.items():
            records[key] = self.read(key) or {"status": "missing", "trial": trial}
        return records

    def rows(self) -> pd.DataFrame:
        """One row a planned trial; results/README.md says what each column means."""
        rows = [_row(key, record) for key, record in self.records().items()]
        by = [*CELL, "seed"]
        table = pd.DataFrame(rows).astype({"fraction": float})
        return table.sort_values(by, kind="stable", ignore_index=True)

    def _planned(self) -> dict[str, Any]:
        path = self.folder / "plan.json"
        return _read_json(path) if path.is_file() else {}


def read_rows(path: Path) -> pd.DataFrame:
    """Rows of a results folder, or of a `rows.csv` by itself; raises BenchError where it is neither."""
    if path.is_dir():
        return Store(path).rows()
    try:
        rows = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise BenchError(f"{path}: cannot be read as rows ({error}); name a results folder or its rows.csv") from error
    lacking = [c for c in [*CELL, "seed", "status", "split", "n_test", *SCORES] if c not in rows]
    if lacking:
        raise BenchError(f"{path}: lacks the columns {', '.join(lacking)}; name a rows.csv that bench wrote")
    return rows


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise BenchError(f"{path}: damaged ({error}); delete it, and what it held runs again") from error
    return found


def _row(key: str, record: dict[str, Any]) -> dict[str, Any]:
    trial = record["trial"]
    row: dict[str, Any] = {name: trial[name] for name in ("dataset", "protocol")} | trial["budget"]
    row["data"] = digest(trial["fingerprint"], trial["test_share"])[:8]
    row |= {name: trial[name] for name in ("method", "variant", "fraction", "seed")}
    row |= {"status": record["status"], "error": record.get("error", "")}
    for group, columns in (("counts", COUNTS), ("scores", SCORES), ("costs", COSTS)):
        row |= {name: record.get(group, {}).get(name) for name in columns}
    row["recall"] = " ".join(f"{value:.4f}" for value in record.get("recall", ()))
    row |= {"device": record.get("device"), "trial": key}
    return row
