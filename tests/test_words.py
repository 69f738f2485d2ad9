"""Sentences and the picture of ranks: never stronger than the numbers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from bench.reporting.critical_difference import diagram, groups
from bench.reporting.statistics.blocks import Blocks
from bench.reporting.words import sentences
from bench.trials.rows import as_rows
from bench.trials.trial import Counts, Record, Result, Scores, Status, Trial

Rows = Callable[[dict[str, list[float]]], pd.DataFrame]


@pytest.fixture
def rows(make_trial: Callable[..., Trial]) -> Rows:
    """Trials of named methods with these accuracies, one a seed."""

    def make(accuracies: dict[str, list[float]]) -> pd.DataFrame:
        records = []
        for method, values in accuracies.items():
            for seed, accuracy in enumerate(values):
                trial = replace(make_trial(seed=seed), method=method, method_title=method.title(), variant=method)
                result = Result(
                    Status.DONE,
                    counts=Counts(144, 28, 4, 800, 8, "particle", f"split{seed}"),
                    scores=Scores(accuracy=accuracy),
                )
                records.append(Record(trial.key(), trial, result))
        return as_rows(records)

    return make


def test_the_sentence_names_the_ties_and_how_far_the_others_are_behind(rows: Rows) -> None:
    near = [0.70, 0.71, 0.69, 0.70, 0.72]
    (said,) = sentences(rows({"ant": near, "bee": [v + 0.001 for v in near[::-1]], "supervised": [0.5] * 5}))
    assert "Bee and Ant tie for best; Supervised is " in said
    assert " points behind Bee. " in said
    assert said.endswith("points above Supervised.")


@pytest.mark.parametrize(
    ("accuracies", "words"),
    [
        ({"ant": [0.9], "supervised": [0.1]}, "one seed cannot tell the methods apart; Ant has the highest accuracy."),
        (
            {"ant": [0.7, 0.5, 0.6], "supervised": [0.5, 0.7, 0.59]},
            "Ant and Supervised tie. None is above Supervised by more than chance.",
        ),
        ({"ant": [0.5, 0.51, 0.5], "supervised": [0.9, 0.9, 0.91]}, "Supervised is best; Ant is "),
    ],
)
def test_a_sentence_is_no_stronger_than_its_seeds(rows: Rows, accuracies: dict[str, list[float]], words: str) -> None:
    (said,) = sentences(rows(accuracies))
    assert words in said


def test_one_method_alone_is_no_comparison(rows: Rows) -> None:
    assert sentences(rows({"ant": [0.5, 0.6]})) == []


def _blocks(scores: np.ndarray) -> Blocks:
    n, k = scores.shape[:2]
    names = tuple(f"m{i}" for i in range(k)), tuple(f"b{i}" for i in range(n))
    zeros = np.zeros(n, dtype=int)
    return Blocks(scores, np.full(n, 0.1), *names, zeros, zeros, np.full(n, 5.0), np.full(n, 100_000))


def test_a_bar_joins_only_methods_that_are_not_apart(rng: np.random.Generator) -> None:
    for n in range(1, 8):
        apart = np.triu(rng.random((n, n)) < 0.3, 1)
        apart |= apart.T
        found = groups(apart)
        assert all(not apart[first : last + 1, first : last + 1].any() for first, last in found)
        for first, last in itertools.combinations(range(n), 2):  # each such run lies within a bar
            if not apart[first : last + 1, first : last + 1].any():
                assert any(a <= first and last <= b for a, b in found)
        assert not any(a != b and a[0] <= b[0] and b[1] <= a[1] for a in found for b in found)


def test_the_picture_places_each_method_at_its_mean_rank(rng: np.random.Generator) -> None:
    scores = np.array([0.9, 0.5, 0.7])[:, None] + rng.normal(0, 0.001, (9, 3, 2))
    root = ElementTree.fromstring(diagram(_blocks(scores), ["<best>", "worst & last", "middle"], "ranks"))
    words = ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"<best> (1.0)", "middle (2.0)", "worst & last (3.0)"} <= set(words)
    assert not [path for path in root.iter("{http://www.w3.org/2000/svg}path") if path.get("class") == "bar"]
    alike = ElementTree.fromstring(diagram(_blocks(rng.normal(0.5, 0.1, (9, 3, 2))), ["a", "b", "c"], "ranks"))
    assert len([path for path in alike.iter("{http://www.w3.org/2000/svg}path") if path.get("class") == "bar"]) == 1


def test_five_blocks_draw_no_bar(rng: np.random.Generator) -> None:
    picture = diagram(_blocks(rng.normal(0.5, 0.1, (5, 3, 2))), ["a", "b", "c"], "ranks")
    assert "Cannot tell: 5 of the 6 blocks" in picture
    assert "<path" not in picture
