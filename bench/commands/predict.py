"""`bench predict`: a trained trial and somebody's particles → their table with the class of each."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.base.console import Console
from bench.base.errors import BenchError
from bench.base.files import check_new, write_atomically
from bench.extraction import Cutting, Tomograms, cut_out, read_tables
from bench.files.tables import NOTHING, ParticleTable, Prediction
from bench.trials import predictor as predictors
from bench.trials.predictor import Predictor
from bench.trials.store import Store


@dataclass(frozen=True)
class Request:
    """The options of `bench predict`, as given; None leaves the choice of the trial to the validation loss."""

    results: Path
    table: str
    out: Path
    tomograms: Path | None = None
    method: str | None = None
    fraction: float | None = None
    seed: int | None = None
    protocol: str | None = None
    contrast: str = "dark"
    tomogram_voxel_size_in_angstroms: float | None = None
    coordinates_voxel_size_in_angstroms: float | None = None


@dataclass(frozen=True)
class Predicted:
    """What `predict` did, for a person to read."""

    counts: dict[str, int]  # rows by class, NONE for those that were not predicted
    validation_labels: int  # volumes that the confidence is calibrated on


def predict(request: Request, console: Console) -> Predicted:
    """Write the table of the request with the class, probability and confidence of each row, compressed as it was."""
    check_new(request.out)
    store = Store(request.results)
    key = predictors.choose(store, request.method, request.fraction, request.seed, request.protocol)
    predictor = predictors.load(store, key)
    trial = predictor.trial
    console.say(f"Classified by {trial.data_title}, {trial.label()}; classes: {', '.join(predictor.class_names)}")
    (table,) = read_tables([request.table])
    _check_output(table, request.out)
    cutting = Cutting(
        box=predictor.fitted.box,
        voxel_size_in_angstroms=predictor.fitted.voxel_size_in_angstroms,
        grey_scale=predictor.fitted.grey_scale,
        contrast=request.contrast,
        tomogram_voxel_size_in_angstroms=request.tomogram_voxel_size_in_angstroms,
        coordinates_voxel_size_in_angstroms=request.coordinates_voxel_size_in_angstroms,
    )
    tomograms = Tomograms.find(request.tomograms, cutting.tomogram_voxel_size_in_angstroms)
    if remark := tomograms.assumed([table]):
        console.say(f"Careful: {remark}")
    if predictor.fitted.grey_scale == "as read":
        console.say("Boxes keep their grey values, as those of the training set did; --contrast takes no part")
    said = _rows(predictor, table, tomograms, cutting, console)
    _write(table, said, request.out)
    names = [prediction.name for prediction in said]
    return Predicted({name: names.count(name) for name in dict.fromkeys(names)}, predictor.fitted.validation_labels)


def _rows(
    predictor: Predictor, table: ParticleTable, tomograms: Tomograms, cutting: Cutting, console: Console
) -> list[Prediction]:
    """A prediction for each row of a table, NOTHING where it gives no box."""
    said = [NOTHING] * len(table)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volumes.npy"
        with console.counted("Cutting and classifying") as progress:
            cut = cut_out([table], tomograms, cutting, path, repeats=True, progress=progress)
        if len(cut.kept):
            boxes = np.load(path, mmap_mode="r")
            if remark := predictor.remark(boxes):
                console.say(f"Careful: {remark}")
            classified = predictor.classify(predictor.feed(boxes))
            if unknown := classified.count(NOTHING):
                console.say(f"Careful: for {unknown} boxes the network gives no finite number; their class is none")
            for row, prediction in zip(cut.kept["row"], classified):
                said[row] = prediction
    return said


def _check_output(table: ParticleTable, out: Path) -> None:
    """Raise BenchError where the answer cannot be written: before the work, not after."""
    wanted = ".csv" if table.path.is_dir() else Path(table.path.name.lower().removesuffix(".gz")).suffix
    if Path(out.name.lower().removesuffix(".gz")).suffix != wanted:
        raise BenchError(f"{out}: the table comes back in its own format; end the name in {wanted}")
    table.annotated([NOTHING] * len(table))


def _write(table: ParticleTable, said: Sequence[Prediction], out: Path) -> None:
    """The table with its predictions, whole or not at all; compressed where the name ends in .gz."""
    text = table.annotated(said)
    try:
        content = text.encode(table.encoding)
    except UnicodeEncodeError:  # a class that the table's own letters cannot spell
        content = text.encode()
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, gzip.compress(content) if out.name.endswith(".gz") else content)
