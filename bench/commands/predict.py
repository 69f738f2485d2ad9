"""A trained trial and somebody's particles → their table with the class of each, and how sure that is."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bench import registry
from bench.base.arrays import FloatArray
from bench.base.errors import BenchError
from bench.base.progress import Progress, silent
from bench.extraction import boxes, sites
from bench.extraction.sites import Cutting
from bench.files.tables import NONE, ParticleTable, Prediction
from bench.learning.contracts import Classifies, in_batches
from bench.learning.feed import Feed
from bench.learning.networks import Backbone, set_keras_batch_norm
from bench.learning.protocol import PROTOCOLS
from bench.trials.store import Store
from bench.trials.trial import Fitted, Status, Trial


@dataclass(frozen=True)
class Predictor:
    """A trial's network, ready to classify boxes."""

    network: nn.Module
    trial: Trial
    class_names: tuple[str, ...]
    fitted: Fitted

    def feed(self, boxes: FloatArray) -> Feed:
        """Boxes (n, d, h, w) on the grey scale of the training set, as the network wants them."""
        return Feed(boxes, mean=self.fitted.mean, std=self.fitted.std)

    @torch.inference_mode()
    def classify(self, boxes: Feed) -> list[Prediction]:
        """The likeliest class of each box."""
        logits = in_batches(self.network.logits, boxes).double()  # type: ignore[arg-type]
        raw, calibrated = logits.softmax(1), (logits / self.fitted.temperature).softmax(1)
        best = raw.argmax(1, keepdim=True)
        numbers = (best.flatten(), raw.gather(1, best).flatten(), calibrated.gather(1, best).flatten())
        return [Prediction(self.class_names[c], c + 1, p, q) for c, p, q in zip(*(part.tolist() for part in numbers))]


def choose(
    store: Store, method: str | None, labelled_percent: float | None, seed: int | None, protocol: str | None
) -> str:
    """The key of a finished trial with these properties: of the most labels, then of the lowest validation loss.

    Of the data set that the folder's last run was on. Raises BenchError where there is none. The test scores take no
    part. Without a name only built-in methods do: a folder from elsewhere must not choose whose code runs here.
    """
    last = [*store.planned().values()][-1:]
    found = []
    for record in store.records():
        trial, fitted = record.trial, record.result.fitted
        if record.status is not Status.DONE or fitted is None or fitted.validation_nll is None:
            continue
        wanted = {"method": method, "labelled_percent": labelled_percent, "seed": seed, "protocol": protocol}
        if any(value not in (None, getattr(trial, name)) for name, value in wanted.items()):
            continue
        if trial.fingerprint != last[0].fingerprint:
            continue
        if method is None and not registry.is_built_in(registry.METHODS, trial.method):
            continue
        if method is None and registry.method(trial.method).is_control:
            continue
        found.append((-(trial.labelled_percent or 0.0), fitted.validation_nll, record.key))
    if not found:
        raise BenchError(
            f"{store.folder}: no finished classifier like that; bench report {store.folder} shows what there is"
        )
    return min(found)[2]


def load(store: Store, key: str) -> Predictor:
    """A trial's network from its weights.safetensors; raises BenchError where they do not fit the trial."""
    record = store.read(key)
    if record is None or record.status is not Status.DONE or record.result.fitted is None:
        raise BenchError(f"{store.folder}: no finished trial {key}; name one of {store.folder / 'trials'}")
    trial, weights, fitted = record.trial, store.weights(key), record.result.fitted
    backbone = Backbone(fitted.box, len(record.result.class_names), trial.budget.filters)
    method = registry.method(trial.method, dict(trial.settings))
    try:
        network = method.restore(backbone, weights)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise BenchError(
            f"{store.home(key)}: does not hold the weights of {trial.method} ({reason}); run the trial again"
        ) from error
    if not isinstance(network, Classifies):
        raise BenchError(f"{trial.method} names no classes; choose another --method")
    if PROTOCOLS[trial.protocol].keras_style:
        set_keras_batch_norm(network)
    return Predictor(network.eval(), trial, record.result.class_names, fitted)


def rows(
    predictor: Predictor, table: ParticleTable, files: Sequence[Path], cutting: Cutting, report: Progress = silent
) -> list[Prediction]:
    """A prediction for each row of a table, NONE where it gives no box."""
    found, _ = sites.sites([table], files, cutting)
    wanted = found[found["reason"] == ""]
    said = [Prediction(NONE, 0, 0.0, 0.0)] * len(table)
    if not len(wanted):
        raise BenchError(f"{table.path}: no row gives a box; the first: {found['reason'].iloc[0]}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volumes.npy"
        good, _ = boxes.cut_all(wanted, cutting, path, report)
        if good.any():
            cubes = np.load(path, mmap_mode="r")
            # These boxes have mean 0 and variance 1 each, the network's own scale, whatever its training set had.
            for row, prediction in zip(wanted["row"].to_numpy()[good], predictor.classify(Feed(cubes))):
                said[row] = prediction
    return said


def check_output(table: ParticleTable, out: Path) -> None:
    """Raise BenchError where the answer cannot be written: before the work, not after."""
    wanted = ".csv" if table.path.is_dir() else Path(table.path.name.lower().removesuffix(".gz")).suffix
    if Path(out.name.lower().removesuffix(".gz")).suffix != wanted:
        raise BenchError(f"{out}: the table comes back in its own format; end the name in {wanted}")
    table.annotated([Prediction(NONE, 0, 0.0, 0.0)] * len(table))


def write(table: ParticleTable, said: Sequence[Prediction], out: Path) -> None:
    """The table with its predictions, whole or not at all; compressed where the name ends in .gz."""
    text = table.annotated(said)
    try:
        content = text.encode(table.encoding)
    except UnicodeEncodeError:  # a class that the table's own letters cannot spell
        content = text.encode()
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.part")
    aside.write_bytes(gzip.compress(content) if out.name.endswith(".gz") else content)
    aside.replace(out)
