"""The SNR estimate against signals of known SNR; the shortcut check against sets with and without a shortcut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Bench

from bench.data.shortcuts import rim, shortcuts, snr
from bench.data.subtomograms import Subtomograms


def _set(volumes: np.ndarray, labels: np.ndarray, tomograms: np.ndarray | None = None) -> Subtomograms:
    return Subtomograms(volumes.astype(np.float32), labels, ("one", "two"), 10.0, "made", tomograms)


@pytest.mark.parametrize("ratio", [0.03, 0.3, 2.0])
def test_snr_of_boxes_that_share_their_signal(ratio: float, rng: np.random.Generator) -> None:
    signal = rng.normal(size=(12, 12, 12))
    volumes = 40 + 7 * (np.sqrt(ratio) * signal + rng.normal(size=(200, 12, 12, 12)))
    made = _set(volumes, np.arange(200) % 2)
    assert snr(made, np.arange(200)) == pytest.approx(ratio, rel=0.15)
    assert np.isnan(snr(made, np.arange(1)))


def test_no_shortcut_is_found_where_only_the_inside_differs(rng: np.random.Generator) -> None:
    volumes, labels = rng.normal(size=(300, 12, 12, 12)), rng.permutation(np.arange(300) % 2)
    volumes[labels == 1] += 3 * ~rim(12)
    found = {s.predicted_from: s for s in shortcuts(_set(volumes, labels))}
    assert found["the rim of the box"].balanced_accuracy < found["the rim of the box"].luck + 0.03
    assert found["its mean and variance"].balanced_accuracy > 0.95  # the boxes are not on one scale


@pytest.mark.parametrize("kind", ["texture", "gradient"])
def test_a_background_that_differs_is_found(kind: str, rng: np.random.Generator) -> None:
    volumes, labels = rng.normal(size=(300, 12, 12, 12)), rng.permutation(np.arange(300) % 2)
    if kind == "texture":
        volumes[labels == 1] += 0.7 * np.roll(volumes[labels == 1], 1, axis=3)
    else:
        volumes[labels == 1] += np.linspace(-1, 1, 12)
    volumes -= volumes.mean((1, 2, 3), keepdims=True)
    volumes /= volumes.std((1, 2, 3), keepdims=True)
    (found,) = shortcuts(_set(volumes, labels))
    assert (found.of, found.predicted_from) == ("class", "the rim of the box")
    assert found.balanced_accuracy > 0.85


def test_tomograms_that_differ_are_recognised_and_kept_whole_for_the_class(rng: np.random.Generator) -> None:
    volumes, labels = rng.normal(size=(400, 12, 12, 12)), np.repeat(np.arange(2), 200)
    tomograms = np.arange(400) // 40  # five a class, each with a texture of its own
    for t in range(10):
        volumes[tomograms == t] += 0.1 * t * np.roll(volumes[tomograms == t], 1, axis=3)
    volumes -= volumes.mean((1, 2, 3), keepdims=True)
    volumes /= volumes.std((1, 2, 3), keepdims=True)
    found = {s.of: s for s in shortcuts(_set(volumes, labels, tomograms.astype(str)))}
    assert found["tomogram"].balanced_accuracy > 2 * found["tomogram"].chance
    assert found["class"].balanced_accuracy > 0.6  # the textures of the second class are all the stronger


def test_the_command_says_what_is_there(bench: Bench, tmp_path: Path, rng: np.random.Generator) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    labels = np.array([0, 1] * 20 + [-1] * 5)
    _set(rng.normal(size=(45, 8, 8, 8)), labels, np.array(["a", "b", "c"] * 15)).save(folder)
    code, out, err = bench("data", "inspect", "--data", folder, "--out", tmp_path / "new/a.png")
    assert (code, err) == (0, "")
    for line in (
        "Reading the data set: 100 %",
        "45 boxes of 8×8×8",
        "3 tomogram(s)",
        "one: 20, SNR",
        "no class: 5",
        "class from the rim",
    ):
        assert line in out
    assert (tmp_path / "new/a.png").stat().st_size > 1000
    for name in ("new/a.png", "a", "b.star"):  # exists, and is no picture
        code, _, err = bench("data", "inspect", "--data", folder, "--out", tmp_path / name)
        assert (code, err.count("\n")) == (2, 1)
