"""A finished trial's network, ready to name other boxes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from bench import registry
from bench.base.arrays import FloatArray
from bench.base.errors import BenchError
from bench.files.tables import NOTHING, Prediction
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

    def remark(self, boxes: FloatArray) -> str:
        """What there is to say where the grey values of boxes (n, d, h, w) are far from the training part's, else "".

        Far is a mean that is more than a standard deviation off, or a standard deviation beyond twice or half.
        """
        mean, std = Feed(boxes).moments()
        known = self.fitted
        if abs(mean - known.mean) <= known.std and known.std / 2 <= std <= 2 * known.std:
            return ""
        return (
            f"grey values of {mean:.3g} ± {std:.3g}, in the training set {known.mean:.3g} ± {known.std:.3g}; "
            "the classes mean little unless these boxes come from the same processing"
        )

    @torch.inference_mode()
    def classify(self, boxes: Feed) -> list[Prediction]:
        """The likeliest class of each box; NOTHING where the network's numbers for it are not finite.

        Raises BenchError where they are finite for no box.
        """
        logits = in_batches(self.network.logits, boxes).double()  # type: ignore[arg-type]
        raw, calibrated = logits.softmax(1), (logits / self.fitted.temperature).softmax(1)
        finite = (raw.isfinite() & calibrated.isfinite()).all(1)
        if not finite.any():
            raise BenchError(
                f"{self.trial.label()}: the network gives no finite number for any of {len(boxes)} boxes; "
                "check their grey values, or choose another trial"
            )
        best = raw.nan_to_num().argmax(1, keepdim=True)
        numbers = (best.flatten(), raw.gather(1, best).flatten(), calibrated.gather(1, best).flatten())
        return [
            Prediction(self.class_names[c], c + 1, p, q) if known else NOTHING
            for known, c, p, q in zip(finite.tolist(), *(part.tolist() for part in numbers))
        ]


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
        if method is None and trial.method not in registry.built_in(registry.METHODS):
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
    """A trial's network from its weights.safetensors; raises BenchError where they do not fit it or are not finite."""
    record = store.read(key)
    if record is None or record.status is not Status.DONE or record.result.fitted is None:
        raise BenchError(f"{store.folder}: no finished trial {key}; name one of {store.folder / 'trials'}")
    trial, fitted = record.trial, record.result.fitted
    backbone = Backbone(fitted.box, len(record.result.class_names), trial.budget.filters)
    method = registry.method(trial.method, dict(trial.settings))
    try:
        network = method.restore(backbone, store.weights(key))
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise BenchError(
            f"{store.home(key)}: does not hold the weights of {trial.method} ({reason}); run the trial again"
        ) from error
    if odd := [name for name, weight in network.state_dict().items() if not weight.isfinite().all()]:
        raise BenchError(f"{store.home(key)}: weights that are NaN or infinite ({odd[0]}); run the trial again")
    if not isinstance(network, Classifies):
        raise BenchError(f"{trial.method} names no classes; choose another --method")
    if PROTOCOLS[trial.protocol].keras_style:
        set_keras_batch_norm(network)
    return Predictor(network.eval(), trial, record.result.class_names, fitted)
