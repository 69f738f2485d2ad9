"""Rows → cells with their intervals and ranks, and paired differences within a cell's terms."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from bench.learning.protocol import PROTOCOLS
from bench.reporting.statistics.intervals import bootstrap_interval, rounding, t_interval
from bench.trials.rows import CELL, COMPARISON, SCORES

ROUNDING = 1e-9  # relative; means of accuracies that differ by less are equal: one test volume of a million moves more


def unequal(rows: pd.DataFrame) -> pd.Series:
    """Whether a trial took more steps, or saw more volumes, than its protocol gives to all; a stage may round up."""
    equal = rows["protocol"].isin([name for name, protocol in PROTOCOLS.items() if protocol.equal_steps])
    allowed = rows["epochs"] * np.ceil(rows["n_train"].astype(float) / rows["batch_size"])
    too_many_steps = rows["optimiser_steps"].astype(float) > 1.01 * allowed + 2
    too_many_volumes = rows["volumes_seen"].astype(float) > (1.01 * allowed + 2) * rows["batch_size"]
    return equal & (too_many_steps | too_many_volumes)


def cells(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a cell (method × label fraction on equal terms): mean and interval of the accuracy, means of the rest.

    Cells with a failed or missing seed are kept, marked incomplete, averaged over the seeds there are, and not ranked;
    those of a method that took more than its share of steps or volumes are marked unequal, and not ranked either.
    """
    lines = []
    for cell, group in rows.groupby(CELL, sort=False, dropna=False):
        done = group[group["status"] == "done"]
        accuracy = t_interval(done["accuracy"].dropna().to_numpy(dtype=float), rounding(done["n_test"].min()))
        mse = t_interval(done["mse"].dropna().to_numpy(dtype=float))
        line = dict(zip(CELL, cell))
        line |= {name: group[name].iloc[0] for name in ("method", "method_title")}
        line["origin"] = ", ".join(sorted({*done["origin"]}))
        line |= {"seeds": len(done), "seeds_planned": len(group), "unequal": bool(unequal(done).any())}
        line |= {"accuracy": accuracy.mean, "accuracy_low": accuracy.low, "accuracy_high": accuracy.high}
        line |= {"mse": mse.mean, "mse_low": mse.low, "mse_high": mse.high}
        for name in [s for s in SCORES if s not in ("accuracy", "mse")] + ["training_seconds", "peak_memory_mib"]:
            line[name] = done[name].astype(float).mean() if len(done) else math.nan
        lines.append(line)
    table = pd.DataFrame(lines)
    table["complete"] = table["seeds"] == table["seeds_planned"]
    ranked = table[table["complete"] & ~table["unequal"] & table["accuracy"].notna()]
    table["rank"] = ranked.groupby([*COMPARISON, "labelled_percent"])["accuracy"].transform(ranks)
    table["rank"] = table["rank"].astype("Int64")
    return table


def ranks(means: pd.Series) -> pd.Series:
    """1 for the highest mean; means that differ by rounding alone share a rank, and the next one counts them all."""
    ordered = means.sort_values(ascending=False, kind="stable")
    lower = ordered.shift() - ordered > ROUNDING * ordered.shift()
    place = pd.Series(np.arange(1, len(ordered) + 1), index=ordered.index)
    return place.where(lower | (place == 1)).ffill().reindex(means.index)


def paired_differences(rows: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each method minus each other's on the same split and seed, with a 95 % interval per cell.

    Two trials are a pair where their seed and the hash of their split agree.

    A bootstrap interval over the pairs, or Student's t for fewer than six.
    """
    done = rows[(rows["status"] == "done") & rows["accuracy"].notna()]
    lines = []
    for cell, group in done.groupby([*COMPARISON, "labelled_percent"], sort=False):
        wide = group.pivot_table(index=["seed", "split"], columns="variant", values="accuracy", sort=False)
        counted = math.sqrt(2) * rounding(group["n_test"].min())
        for i, a in enumerate(wide.columns):
            for b in wide.columns[i + 1 :]:
                pairs = (wide[a] - wide[b]).dropna().to_numpy(dtype=float)
                kind = "bootstrap" if len(pairs) >= 6 else "t"
                interval = bootstrap_interval(pairs) if kind == "bootstrap" else t_interval(pairs, counted)
                line = dict(zip([*COMPARISON, "labelled_percent"], cell)) | {"method": a, "minus": b}
                lines.append(
                    line
                    | {
                        **{name: _exact(value) for name, value in zip(("difference", "low", "high"), interval)},
                        "pairs": interval.n,
                        "interval": kind,
                    }
                )
    return pd.DataFrame(lines)


def _exact(difference: float) -> float:
    """A difference of means without their rounding: 0 where they are equal."""
    return 0.0 if abs(difference) < ROUNDING else difference
