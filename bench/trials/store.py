"""The result store: one folder a trial, one status, rows; the only place that knows how results lie on disk."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load, save

from bench.base.arrays import FloatArray
from bench.base.errors import BenchError
from bench.base.files import bytes_digest, check_name, digest, write_atomically
from bench.base.json_files import read_json
from bench.base.version import VERSION
from bench.trials.rows import as_rows, printable
from bench.trials.schemas import PLAN, REQUESTS, RESULT, STORE
from bench.trials.trial import HalfArray, Record, Result, Status, Trial

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 4
BESIDE = ("weights.safetensors", "answers.npy", "reconstructions.npy", "traceback.txt")  # a trial's record
_BEGUN = "begun"


class Store:
    """A results folder. `rows.csv`, tables and pictures in it are made from `plan.json` and `trials/` alone."""

    def __init__(self, folder: Path) -> None:
        """Open a folder that holds results; raises BenchError where it holds none or another version's."""
        self.folder = folder.absolute()
        marker = self.folder / "store.json"
        if not marker.is_file():
            raise BenchError(f"{folder}: no results here; name the --out folder of a bench run")
        found = read_json(marker, STORE, "choose another --out")
        if (found["format"], found["version"]) != (FORMAT, VERSION):
            raise BenchError(
                f"{folder}: written by subtomobench version {found['version']} (format {found['format']}), "
                f"this is {VERSION} (format {FORMAT}); choose another --out or use that version"
            )

    @staticmethod
    def create(folder: Path) -> Store:
        """Open a results folder, made where there is none; raises BenchError for a folder of other things."""
        check_name(folder)
        if folder.exists() and not folder.is_dir():
            raise BenchError(f"--out {folder}: is a file; name a folder")
        if not (folder / "store.json").exists():
            if folder.exists() and any(not p.name.startswith(".store.json.") for p in folder.iterdir()):
                raise BenchError(f"--out {folder}: holds other files; name a new or empty folder")
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / "store.json", json.dumps({"format": FORMAT, "version": VERSION}))
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
        """Remember these trials beside those that were planned before; one that never runs shows as missing.

        A trial of before that is one of these but for its code counts no more: it would not be trained so again. Nor
        does one whose hyperparameters differ because a default was changed: it would be the same row.
        """
        last = {trial.key(): trial for trial in trials}
        renewed = {trial.row() for trial in trials}
        kept = {key: trial for key, trial in self.planned().items() if key not in last and trial.row() not in renewed}
        self.adopt(kept | last)

    def adopt(self, planned: Mapping[str, Trial]) -> None:
        """Plan these trials, by their keys, and no others; an older version of bench may have made the keys."""
        content = {key: asdict(trial) for key, trial in planned.items()}
        write_atomically(self.folder / "plan.json", json.dumps(content, indent=1))

    def planned(self) -> dict[str, Trial]:
        """Key → trial, those of the last `bench run` last."""
        path = self.folder / "plan.json"
        found = read_json(path, PLAN, "delete it, and run again: finished trials are kept") if path.is_file() else {}
        return {key: Trial.from_dict(trial) for key, trial in found.items()}

    def requests(self) -> list[dict[str, Any]]:
        """The options of every `bench run` here whose trials belong to this folder, the last one last."""
        path = self.folder / "request.json"
        if not path.is_file():
            raise BenchError(f"{self.folder}: no run to resume here; start one without --resume")
        found: list[dict[str, Any]] = read_json(
            path, REQUESTS, "delete it, and start with the options of that run, without --resume"
        )
        return found

    def remember(self, options: dict[str, Any], forget: bool = False) -> None:
        """Keep the options of a `bench run`, once; or forget those of one that could not be planned."""
        path = self.folder / "request.json"
        others = [known for known in (self.requests() if path.is_file() else []) if known != options]
        kept = others if forget else [*others, options]
        if kept:
            write_atomically(path, json.dumps(kept, indent=1))
        else:
            path.unlink(missing_ok=True)

    def home(self, key: str) -> Path:
        """The folder of a trial."""
        return self.folder / "trials" / key

    def read(self, key: str) -> Record | None:
        """A trial's record; None where it has not ended, or where what it left is not what it wrote."""
        try:
            found = read_json(self.home(key) / "result.json", RESULT, "run the trial again")
            if found.pop("checksum") != digest(found) or found["key"] != key:
                return None
            return Record.from_json(found)
        except (FileNotFoundError, BenchError, ValueError, TypeError):
            return None

    def status(self, trial: Trial) -> Status:
        """How a trial ended, if it has."""
        record = self.read(trial.key())
        return Status.MISSING if record is None else record.status

    def begin(self, trial: Trial) -> None:
        """Count an attempt at a trial."""
        self.home(trial.key()).mkdir(parents=True, exist_ok=True)
        self.note(trial, f"{_BEGUN} by process {os.getpid()} on {platform.node()}")

    def note(self, trial: Trial, text: str) -> None:
        """A line in the trial's log."""
        with (self.home(trial.key()) / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{_now()} {text}\n")

    def attempts(self, key: str) -> int:
        """How often a trial was begun."""
        return len(self._begun(key))

    def process(self, trial: Trial) -> int | None:
        """Id of the process that began a trial last; None where none did."""
        begun = self._begun(trial.key())
        return begun[-1] if begun else None

    def _begun(self, key: str) -> list[int]:
        path = self.home(key) / "log.txt"
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        return [int(pid) for pid in re.findall(rf" {_BEGUN} by process (\d+) ", text)]

    def checkpoints(self, trial: Trial) -> Path:
        """Where a trial keeps how far it is, until it is done."""
        return self.home(trial.key()) / "checkpoint"

    def dump(self, trial: Trial) -> Path:
        """Where a trial that takes too long says what it was doing."""
        return self.home(trial.key()) / "timeout.txt"

    def write(self, trial: Trial, result: Result, device: str) -> None:
        """Write a trial's folder; `result.json` comes last, whole or not at all."""
        folder, key = self.home(trial.key()), trial.key()
        folder.mkdir(parents=True, exist_ok=True)
        files = {}
        if result.weights is not None:
            files["weights.safetensors"] = save({k: v.contiguous() for k, v in result.weights.items()})
        for name, array in (("answers", result.answers), ("reconstructions", result.reconstructions)):
            if array is not None:
                np.save(buffer := io.BytesIO(), array)
                files[f"{name}.npy"] = buffer.getvalue()
        if result.traceback:
            files["traceback.txt"] = result.traceback.encode(errors="replace")
        for name, content in files.items():
            write_atomically(folder / name, content)
        for name in set(BESIDE) - {*files}:
            (folder / name).unlink(missing_ok=True)
        costs = replace(result.costs, attempts=self.attempts(key))
        record = Record(
            key,
            trial,
            replace(result, error=printable(result.error), costs=costs),
            files={name: bytes_digest(content) for name, content in files.items()},
            device=device,
            host=platform.node(),
            finished=_now(),
            versions={
                "subtomobench": VERSION,
                "python": platform.python_version(),
                **{name: version(name) for name in ("torch", "numpy", "ray")},
            },
        )
        self._write(record)
        if result.status == Status.DONE:
            shutil.rmtree(self.checkpoints(trial), ignore_errors=True)

    def _write(self, record: Record) -> None:
        content = json.loads(json.dumps(record.to_json()))
        path = self.home(record.key) / "result.json"
        write_atomically(path, json.dumps(content | {"checksum": digest(content)}, indent=1))

    def take(self, other: Store, record: Record, origin: str) -> None:
        """Copy a trial of another folder: its record, as of this origin, and what lies beside it and is whole."""
        folder = self.home(record.key)
        folder.mkdir(parents=True, exist_ok=True)
        for name in BESIDE:
            if (content := other._kept(record.key, name)) is not None:
                write_atomically(folder / name, content)
        self._write(replace(record, origin=origin))

    def weights(self, key: str) -> dict[str, Tensor]:
        """The network that a trial's validation chose; raises BenchError where it kept none, or another."""
        weights = self.weights_or_none(key)
        if weights is None:
            path = self.home(key) / "weights.safetensors"
            raise BenchError(f"{path}: not there, or not what the trial wrote; delete {path.parent} and run it again")
        return weights

    def weights_or_none(self, key: str) -> dict[str, Tensor] | None:
        """The same; None where they are not there or not what the trial wrote."""
        content = self._kept(key, "weights.safetensors")
        try:
            return None if content is None else load(content)
        except SafetensorError:  # a checksum that somebody made fit
            return None

    def reconstructions(self, key: str) -> FloatArray | None:
        """(classes, 2, d, h, w): one test volume a class and its reconstruction; None where there are none."""
        return self._array(key, "reconstructions.npy")

    def answers(self, key: str) -> HalfArray | None:
        """(n_test, classes): ln P(class) of each test volume; None where there are none or not what the trial wrote."""
        return self._array(key, "answers.npy")

    def _array(self, key: str, name: str) -> npt.NDArray[Any] | None:
        content = self._kept(key, name)
        try:
            return None if content is None else np.load(io.BytesIO(content))
        except (ValueError, EOFError, MemoryError):  # a checksum that somebody made fit
            return None

    def _kept(self, key: str, name: str) -> bytes | None:
        path, record = self.home(key) / name, self.read(key)
        if record is None or not path.is_file():
            return None
        content = path.read_bytes()
        return content if bytes_digest(content) == record.files.get(name) else None

    def records(self) -> list[Record]:
        """The record of every planned trial."""
        planned = self.planned()
        if not planned:
            raise BenchError(f"{self.folder}: no trial was planned here; start one with bench run --out {self.folder}")
        return [self.read(key) or Record(key, trial, Result(Status.MISSING)) for key, trial in planned.items()]

    def rows(self) -> pd.DataFrame:
        """One row a planned trial; `rows.COLUMNS` says what each column means, and what else raises BenchError."""
        return as_rows(self.records(), self.home)

    def busy(self) -> bool:
        """Whether a `bench run` is at work here."""
        try:
            self.lock().release()
        except BenchError:
            return True
        except OSError:  # a folder that nobody may write to
            return False
        return False


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
