"""A trial: what is trained and scored, on what, and what came of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.base.arrays import FloatArray
from bench.base.files import digest
from bench.data.subtomograms import GreyScale
from bench.learning.contracts import Weights
from bench.learning.protocol import PROTOCOLS, Budget
from bench.learning.tally import ValidationPoint

MOVES_NO_NUMBER = True
HalfArray = npt.NDArray[np.float16]
OURS, CONTRIBUTED, RERUN = "ours", "contributed", "re-run"  # the last: contributed, and run again by us
FOR_PEOPLE = ("data_title", "method_title", "variant")  # derived, so no part of a trial's identity


class Status(StrEnum):
    """How a trial ended, in the order in which people are told."""

    DONE = "done"
    FAILED = "failed"  # the method raised something, or gave nonsense
    KILLED = "killed"  # its process died, at every attempt
    TIMED_OUT = "timed out"
    MISSING = "missing"  # it has not ended


@dataclass(frozen=True)
class Trial:
    """One data set × protocol × method × label fraction × seed, with all that its numbers depend on but the machine."""

    dataset: str
    data_parameters: tuple[tuple[str, Any], ...]
    fingerprint: str  # of the volumes and labels
    test_fraction: float
    protocol: str
    views: str  # of the training volumes, one of VIEWS
    select: str  # which weights are kept, one of SELECTIONS
    test_views: int  # over which the logits of a test volume are averaged; 1: the volume as it is
    method: str
    settings: tuple[tuple[str, Any], ...]  # every hyperparameter
    labelled_percent: float | None  # of the training set; None for a method without labels
    seed: int
    budget: Budget
    code: str  # hash of the code that reads, splits and normalises the data and trains the network
    data_title: str
    method_title: str
    variant: str  # the method's name with the hyperparameters that differ from their defaults
    conditions: tuple[tuple[str, Any], ...] = ()  # those that are not the default

    def key(self) -> str:
        """Hash of all that the numbers depend on, the protocol's rules too: the name of the trial's folder."""
        return digest(self.identity(), asdict(PROTOCOLS[self.protocol]))

    def identity(self, but: tuple[str, ...] = ()) -> dict[str, Any]:
        """The fields that make it this trial and no other, without those named in `but`."""
        return {name: value for name, value in asdict(self).items() if name not in (*FOR_PEOPLE, *but)}

    def row(self) -> str:
        """Names the row of the trial, whatever code and defaults its method has today."""
        return digest(self.identity(but=("code", "settings")), self.variant)

    def label(self) -> str:
        """For progress lines and errors: "fair autoencoding 5 % seed 0"."""
        labelled = "" if self.labelled_percent is None else f" {self.labelled_percent:g} %"
        return f"{self.protocol} {self.views} {self.variant}{labelled} seed {self.seed}"

    @staticmethod
    def from_dict(record: dict[str, Any]) -> Trial:
        """The inverse of dataclasses.asdict, also after JSON."""
        lists = {name: _as_settings(record.get(name, [])) for name in ("settings", "data_parameters", "conditions")}
        return Trial(**{**record, **lists, "budget": Budget(**record["budget"])})


def _as_settings(pairs: list[list[Any]]) -> tuple[tuple[str, Any], ...]:
    return tuple((key, tuple(value) if isinstance(value, list) else value) for key, value in pairs)


@dataclass(frozen=True)
class Runtime:
    """How trials run: nothing here may change their numbers beyond rounding."""

    cache_folder: Path
    device: str  # "cpu" or "cuda"
    threads: int
    deterministic: bool = False  # on a GPU: the same bits in every run, at some cost; on a CPU they always are
    checkpoint_interval_in_seconds: float = 30.0  # 0: after each validation


@dataclass(frozen=True)
class Counts:
    """Sizes and hash of the split."""

    n_train: int
    n_labelled: int
    n_validation_labelled: int
    n_test: int
    n_classes: int
    split_by: str
    split: str


@dataclass
class Scores:
    """On the test set; None where the network cannot do it. `columns` says what each means."""

    accuracy: float | None = None
    balanced_accuracy: float | None = None
    macro_f1: float | None = None
    nll: float | None = None
    ece: float | None = None
    ece_calibrated: float | None = None
    mse: float | None = None


@dataclass(frozen=True)
class Guesses:
    """The pseudo-labels of a training's last part, against the truth that the method never saw."""

    used: float  # share of those that the method made
    accuracy: float | None  # of those used; None where it used none


@dataclass
class Costs:
    """Time, steps and memory."""

    training_seconds: float | None = None
    seconds: float | None = None
    optimiser_steps: int | None = None
    volumes_seen: int | None = None
    volumes_per_second: float | None = None
    peak_memory_mib: float | None = None
    attempts: int | None = None


@dataclass(frozen=True)
class Fitted:
    """What the network's weights need to classify other volumes, and what validation says of it."""

    box: int  # voxels along an edge
    voxel_size_in_angstroms: float | None  # None where the training set does not say
    grey_scale: GreyScale  # of the training set's boxes
    mean: float  # of the training voxels
    std: float
    validation_nll: float | None = None  # None for a network that classifies nothing, or without validation labels
    validation_labels: int = 0  # volumes that nll and temperature come from
    temperature: float = 1.0  # that calibrates its probabilities


@dataclass
class Result:
    """What came of a trial; the store writes it, tables and pictures read it."""

    status: Status
    error: str = ""
    traceback: str = ""
    counts: Counts | None = None
    scores: Scores = field(default_factory=Scores)
    costs: Costs = field(default_factory=Costs)
    recall: tuple[float, ...] = ()  # per class
    confusion: tuple[tuple[int, ...], ...] = ()  # [true][predicted]
    history: list[ValidationPoint] = field(default_factory=list)
    class_names: tuple[str, ...] = ()
    fitted: Fitted | None = None
    guesses: Guesses | None = None  # None for a method without pseudo-labels
    scored_by: str = ""  # hash of the code that scored it
    answers: HalfArray | None = None  # (n_test, classes): ln P(class) of each test volume, in the split's order
    reconstructions: FloatArray | None = None  # (classes, 2, d, h, w): original, rebuilt; in training-part units
    weights: Weights | None = None  # of the network that validation chose


IN_FILES = ("traceback", "answers", "reconstructions", "weights")  # parts of a Result that lie beside its record


@dataclass(frozen=True)
class Record:
    """A trial with its result, as the store keeps them."""

    key: str  # of the trial, when it was planned
    trial: Trial
    result: Result
    files: dict[str, str] = field(default_factory=dict)  # name → SHA-256 of what lies beside it
    device: str | None = None
    host: str | None = None
    finished: str | None = None  # UTC
    versions: dict[str, str] = field(default_factory=dict)
    origin: str = OURS

    @property
    def status(self) -> Status:
        """How the trial ended."""
        return self.result.status

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads; without the parts that lie in files of their own."""
        result = {f.name: _plain(getattr(self.result, f.name)) for f in fields(self.result) if f.name not in IN_FILES}
        about = {"device": self.device, "host": self.host, "finished": self.finished, "versions": self.versions}
        if self.origin != OURS:
            about["origin"] = self.origin
        return {"key": self.key, "trial": asdict(self.trial), "result": result, "files": self.files, **about}

    @staticmethod
    def from_json(record: dict[str, Any]) -> Record:
        """The record that `to_json` gave; raises KeyError, TypeError or ValueError for anything else."""
        found = dict(record["result"])
        result = Result(
            **found
            | {
                "status": Status(found["status"]),
                "counts": None if found["counts"] is None else Counts(**found["counts"]),
                "scores": Scores(**found["scores"]),
                "costs": Costs(**found["costs"]),
                "recall": tuple(found["recall"]),
                "confusion": tuple(tuple(int(n) for n in row) for row in found["confusion"]),
                "history": [_point(*point) for point in found["history"]],
                "class_names": tuple(found["class_names"]),
                "fitted": None if found["fitted"] is None else Fitted(**found["fitted"]),
                "guesses": None if found["guesses"] is None else Guesses(**found["guesses"]),
            }
        )
        about = {name: record[name] for name in ("files", "device", "host", "finished", "versions")}
        about["origin"] = record.get("origin", OURS)
        return Record(record["key"], Trial.from_dict(record["trial"]), result, **about)


def _point(step: Any, training_loss: Any, validation_loss: Any, stage: Any) -> ValidationPoint:
    return ValidationPoint(int(step), float(training_loss), float(validation_loss), str(stage))


def _plain(value: Any) -> Any:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value
