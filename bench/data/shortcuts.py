"""What is in a data set, and whether the background alone reveals a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft, stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bench.base.arrays import UNLABELLED, Float64Array, IntArray, StrArray
from bench.base.progress import Progress, silent
from bench.base.seeds import numpy_generator
from bench.data.subtomograms import Subtomograms

FOLDS = 5
MOST = 2000  # boxes that the shortcut check looks at


@dataclass(frozen=True)
class Shortcut:
    """How well something is predicted from what is not the particle; chance is 1 / classes."""

    of: str
    predicted_from: str
    balanced_accuracy: float
    chance: float
    luck: float  # what 97.5 % of guessing runs stay below
    boxes: int

    def __str__(self) -> str:
        """For a terminal."""
        above = self.balanced_accuracy > self.luck
        verdict = (
            "the background reveals something, or the particle reaches the rim" if above else "nothing is revealed"
        )
        text = f"{self.of} from {self.predicted_from}: {100 * self.balanced_accuracy:.1f} %"
        return (
            f"{text} (chance {100 * self.chance:.1f}, luck up to {100 * self.luck:.1f}; {self.boxes} boxes): {verdict}"
        )


def snr(made: Subtomograms, which: IntArray) -> float:
    """A lower bound of a class's var(signal) / var(noise) inside the inscribed ball; NaN for fewer than two boxes.

    From ρ, the mean correlation of its boxes with each other: ρ / (1 − ρ) (Frank & Al-Ali 1975, Nature 256:376). What
    its poses do not share counts as noise, so the true ratio is higher.
    """
    n = len(which)
    if n < 2:
        return float("nan")
    ball = ~rim(made.box)
    total, mean = 0.0, np.zeros(int(ball.sum()))
    for i in which:
        inside = made.volumes[i][ball].astype(np.float64)
        inside = (inside - inside.mean()) / max(float(inside.std()), 1e-12)
        mean += inside / n
        total += float(inside.var()) / n
    rho = (n * mean.var() / max(total, 1e-12) - 1) / (n - 1)
    return float(max(rho, 0.0) / (1 - min(rho, 0.999)))


def rim(box: int) -> npt.NDArray[np.bool_]:
    """The voxels outside the ball that is inscribed in a box, (d, h, w)."""
    return np.asarray(np.linalg.norm(np.indices((box,) * 3) - (box - 1) / 2, axis=0) > box / 2)


def shortcuts(made: Subtomograms, progress: Progress = silent) -> list[Shortcut]:
    """How well class and tomogram are predicted from the rim of the box and from its grey scale (Shortcut).

    By logistic regression in five folds; the folds keep tomograms whole where every class lies in two or more.
    """
    known = np.flatnonzero(made.labels != UNLABELLED)
    if len(known) > MOST:
        known = np.sort(numpy_generator(0, "inspection").choice(known, MOST, replace=False))
    if len(known) < 2 * FOLDS:
        return []
    pattern, scale = [], []
    outside = rim(made.box)
    for n, i in enumerate(known):
        box = np.array(made.volumes[i], dtype=np.float64)
        pattern.append(_pattern(box, outside))
        scale.append([box.mean(), np.log(max(float(box.std()), 1e-12))])
        progress(n + 1, len(known))
    tomograms = None if made.tomogram_ids is None else made.tomogram_ids[known]
    found = []
    for predicted_from, features in (
        ("the rim of the box", np.array(pattern)),
        ("its mean and variance", np.array(scale)),
    ):
        if features.std(axis=0).max() > 1e-3:  # boxes on one scale have nothing to tell by it
            found.append(_shortcut("class", predicted_from, features, made.labels[known], tomograms))
            if tomograms is not None:
                found.append(
                    _shortcut("tomogram", predicted_from, features, np.unique(tomograms, return_inverse=True)[1], None)
                )
    return [some for some in found if some is not None]


def _pattern(box: Float64Array, outside: npt.NDArray[np.bool_]) -> Float64Array:
    """Texture of the rim on its own grey scale: moments, and power by frequency and by direction."""
    values = box[outside]
    shown = np.where(outside, (box - values.mean()) / max(float(values.std()), 1e-12), 0.0)
    power = np.abs(fft.fftn(shown)) ** 2
    k = np.stack(np.meshgrid(*[np.fft.fftfreq(n) for n in box.shape], indexing="ij"))
    length = np.linalg.norm(k, axis=0)
    shell = np.minimum((length * box.shape[0]).astype(int), box.shape[0] // 2)
    direction = np.abs(k).argmax(axis=0)
    bins = np.bincount((3 * shell + direction).ravel(), power.ravel(), 3 * (box.shape[0] // 2 + 1))
    return np.concatenate([np.log(bins + 1e-3), [stats.skew(values), stats.kurtosis(values)]])


def _shortcut(
    of: str, predicted_from: str, features: Float64Array, labels: IntArray, groups: StrArray | None
) -> Shortcut | None:
    """None where there is nothing to tell apart, or too few of it for the folds."""
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 2 or counts.min() < FOLDS:
        return None
    by_tomogram = groups is not None and all(len(np.unique(groups[labels == c])) >= FOLDS for c in np.unique(labels))
    folds: Any = (StratifiedGroupKFold if by_tomogram else StratifiedKFold)(FOLDS, shuffle=True, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500, class_weight="balanced"))
    said = cross_val_predict(model, features, labels, cv=folds, groups=groups if by_tomogram else None)
    chance = 1 / len(counts)
    spread = np.sqrt(chance * (1 - chance) * np.mean(1 / counts) / len(counts))
    score = float(balanced_accuracy_score(labels, said))
    return Shortcut(of, predicted_from, score, chance, float(chance + 1.96 * spread), len(labels))
