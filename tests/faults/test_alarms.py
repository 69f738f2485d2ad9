"""The gate's error rates, on synthetic runs with the levels and the noise of the published one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.reporting import gate
from bench.trials.spreadsheet import read_rows

PUBLISHED = Path(__file__).parents[2] / "results" / "quick" / "rows.csv"
CELL = ["variant", "labelled_percent"]


def _pooled(rows: pd.DataFrame, values: pd.Series) -> float:
    """Standard deviation over the seeds of a cell (ddof = 1), pooled over cells."""
    return float(np.sqrt(values.groupby([rows[c] for c in CELL], dropna=False).var(ddof=1).mean()))


def _another(rng: np.random.Generator) -> pd.DataFrame:
    """A run with the published one's mean scores and fresh noise of its size in each trial: the splits' part too."""
    rows = read_rows(PUBLISHED)
    noise, error = _pooled(rows, rows["accuracy"]), _pooled(rows, np.log(rows["mse"]))
    means = rows.groupby(CELL, dropna=False)[["accuracy", "mse"]].transform("mean")
    rows["accuracy"] = means["accuracy"] + noise * rng.normal(size=len(rows))
    rows["mse"] = means["mse"] * np.exp(error * rng.normal(size=len(rows)))
    return rows


def _share_of_alarms(runs: int, loss: float, fractions: list[float] | None = None) -> float:
    """Of some pairs of runs, those in which the gate finds the planted loss; without one, those in which it cries."""
    found = []
    for i in range(runs):
        rng = np.random.default_rng(i)
        before, after = _another(rng), _another(rng)
        hit = after["variant"].eq("autoencoding") & after["labelled_percent"].isin(
            fractions or after["labelled_percent"].unique()
        )
        after.loc[hit, "accuracy"] -= loss
        verdicts = gate.compare(after, before)
        named = [v for v in verdicts if v.regressed and (not loss or " autoencoding" in v.name)]
        found.append(bool(named))
    return float(np.mean(found))


def test_false_alarms_are_rare() -> None:
    runs = 200
    share = _share_of_alarms(runs, 0)
    print(f"no loss: {100 * share:.1f} % of {runs} runs cry")
    counted = stats.binomtest(round(share * runs), runs, gate.FALSE_ALARM, alternative="greater")
    assert counted.pvalue > 0.01, "more alarms than the gate allows itself, and than chance explains"


@pytest.mark.parametrize(("points", "least"), [(5, 0.9), (10, 1.0)])
def test_a_planted_loss_is_found(points: int, least: float) -> None:
    assert _share_of_alarms(40, points / 100) >= least


@pytest.mark.long
@pytest.mark.parametrize("points", [1, 2, 5, 10])
def test_how_often_a_loss_is_found(points: int) -> None:
    share, alone = _share_of_alarms(200, points / 100), _share_of_alarms(200, points / 100, [5.0])
    print(f"{points} points: found in {100 * share:.0f} % of 200 runs; at one percent alone {100 * alone:.0f} %")
    assert share >= alone
