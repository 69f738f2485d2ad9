"""Scores against scikit-learn, intervals against SciPy and formulas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.reporting.statistics import bootstrap_interval, cells, paired_differences, precision, t_interval
from bench.trials.metrics import classification


def test_scores_equal_their_formulas(rng: np.random.Generator) -> None:
    labels = np.concatenate([np.arange(5), rng.integers(0, 5, 300)])
    probabilities = rng.dirichlet(np.ones(5) * 0.5, 305)
    ours, predicted = classification(labels, probabilities), probabilities.argmax(1)
    recall = [np.mean(predicted[labels == c] == c) for c in range(5)]
    precise = [np.mean(labels[predicted == c] == c) for c in range(5)]
    assert ours.accuracy == pytest.approx(np.mean(predicted == labels))
    assert ours.recall == pytest.approx(recall)
    assert ours.balanced_accuracy == pytest.approx(np.mean(recall))
    assert ours.macro_f1 == pytest.approx(np.mean([2 * p * r / (p + r) for p, r in zip(precise, recall)]))
    assert ours.nll == pytest.approx(np.mean([-np.log(p[c]) for p, c in zip(probabilities, labels)]))
    assert ours.confusion[2][3] == sum((labels == 2) & (predicted == 3))


def test_calibration_error_of_a_plain_loop(rng: np.random.Generator) -> None:
    labels, probabilities = rng.integers(0, 3, 500), rng.dirichlet(np.ones(3), 500)
    labels[:3] = range(3)
    top, right = probabilities.max(1), probabilities.argmax(1) == labels
    expected = 0.0
    for b in range(15):
        inside = (top >= b / 15) & (top < (b + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - top[inside].mean())
    assert classification(labels, probabilities).ece == pytest.approx(expected)


def test_probabilities_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(FloatingPointError):
        classification(np.array([0, 1]), np.array([[0.5, np.nan], [0.5, 0.5]]))


def test_t_interval_is_scipy_s(rng: np.random.Generator) -> None:
    values = rng.normal(size=5)
    ours = t_interval(values)
    low, high = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
    assert (ours.mean, ours.low, ours.high) == pytest.approx((values.mean(), low, high))
    assert np.isnan(t_interval(values[:1]).low)


def test_t_interval_covers_the_truth_19_times_in_20(rng: np.random.Generator) -> None:
    intervals = [t_interval(rng.normal(3.0, 2.0, 4)) for _ in range(2000)]
    assert np.mean([i.low < 3.0 < i.high for i in intervals]) == pytest.approx(0.95, abs=0.015)


def test_bootstrap_interval_is_near_scipy_s(rng: np.random.Generator) -> None:
    values = rng.normal(1.0, 1.0, 40)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", rng=rng).confidence_interval
    ours = bootstrap_interval(values)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.03)


def test_precision_of_480_volumes() -> None:
    assert 100 * precision(480) == pytest.approx(4.5, abs=0.03)


def _rows(accuracies: dict[str, list[float | None]]) -> pd.DataFrame:
    rows = []
    for variant, values in accuracies.items():
        for seed, accuracy in enumerate(values):
            row = {"dataset": "d", "data_parameters": "", "data_title": "d 8³", "protocol": "fair", "epochs": 1}
            row |= {"views": "turns", "select": "best", "test_views": 1, "origin": "ours"}
            row |= {
                "batch_size": 8,
                "filters": 4,
                "data": "x",
                "split": f"split{seed}",
                "method": variant,
                "method_title": "T",
                "variant": variant,
                "labelled_percent": 5.0,
                "seed": seed,
                "accuracy": accuracy,
                "mse": None,
                "n_train": 80,
                "n_test": 100_000,
                "optimiser_steps": 10,
                "volumes_seen": 80,
            }
            row |= dict.fromkeys(
                ["balanced_accuracy", "macro_f1", "nll", "ece", "ece_calibrated", "training_seconds"], 0.5
            )
            rows.append(row | {"peak_memory_mib": 1.0, "status": "failed" if accuracy is None else "done"})
    return pd.DataFrame(rows)


def test_a_failed_seed_leaves_the_cell_unranked_and_says_so() -> None:
    table = cells(_rows({"a": [0.5, 0.7, 0.6], "b": [0.9, None, 0.9], "c": [0.4, 0.4, 0.4]})).set_index("variant")
    assert table.loc["a", ["rank", "seeds", "complete"]].tolist() == [1, 3, True]
    assert table.loc["c", "rank"] == 2
    assert pd.isna(table.loc["b", "rank"])
    assert table.loc["b", ["seeds", "seeds_planned", "complete"]].tolist() == [2, 3, False]


@pytest.mark.parametrize(("counted", "numbers"), [("optimiser_steps", [10, 50]), ("volumes_seen", [80, 400])])
def test_more_than_the_protocol_gives_is_not_ranked(counted: str, numbers: list[int]) -> None:
    rows = _rows({"a": [0.5, 0.7], "long": [0.9, 0.9]})
    rows.loc[rows["variant"] == "long", counted] = numbers
    table = cells(rows).set_index("variant")
    assert table["unequal"].to_dict() == {"a": False, "long": True}
    assert table.loc["a", "rank"] == 1
    assert pd.isna(table.loc["long", "rank"])
    rows["protocol"] = "paper"  # there, epochs are over what each method trains on
    assert cells(rows)["rank"].notna().all()


def test_means_that_differ_by_rounding_alone_share_a_rank() -> None:
    up, down = [0.1, 0.2, 0.3], [0.3, 0.2, 0.1]
    assert np.mean(up) != np.mean(down)  # else this tests nothing
    volume = [0.1, 0.2, 0.3 + 1 / 100_000]
    table = cells(_rows({"up": up, "low": [0.0] * 3, "down": down, "volume": volume, "best": [1.0] * 3}))
    assert dict(zip(table["variant"], table["rank"])) == {"best": 1, "volume": 2, "up": 3, "down": 3, "low": 5}
    table = cells(_rows({"b": [0.0], "a": [0.0], "none": [None]})).set_index("variant")
    assert table.loc[["a", "b"], "rank"].tolist() == [1, 1]


def test_methods_with_equal_means_differ_by_nothing() -> None:
    table = paired_differences(_rows({"a": [0.3, 0.3, 0.3], "b": [0.1 + 0.2] * 3}))
    assert table.loc[0, ["difference", "low", "high"]].tolist() == pytest.approx([0, 0, 0], abs=1e-4)
    assert table.loc[0, "difference"] == 0


def test_paired_differences_use_the_same_seeds_only() -> None:
    table = paired_differences(_rows({"a": [0.5, 0.7, 0.6], "b": [0.4, None, 0.4]}))
    assert table.loc[0, "difference"] == pytest.approx(0.15)
    assert table.loc[0, "pairs"] == 2


def test_trials_on_different_splits_are_no_pair() -> None:
    rows = _rows({"a": [0.5, 0.7, 0.6], "b": [0.4, 0.5, 0.4]})
    rows.loc[(rows["variant"] == "b") & (rows["seed"] == 1), "split"] = "another"
    table = paired_differences(rows)
    assert table.loc[0, "pairs"] == 2
    assert table.loc[0, "difference"] == pytest.approx(0.15)
