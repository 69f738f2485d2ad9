"""The regression gate: are these rows as good as those, trial by trial, within what the seeds let one say?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
from scipy import stats

from bench.base.errors import BenchError
from bench.base.files import write_atomically
from bench.trials.rows import CELL, TERMS, printable, row_label

FALSE_ALARM = 0.05  # of the whole gate
PAIR = [*TERMS, "variant", "labelled_percent", "seed"]  # not the fingerprint: another machine rounds otherwise
MSE_FLOOR = 0.01  # relative; below it, rounding on another machine
PERFECT_MSE = 1e-12  # voxels of variance 1 in float32 tell no lower one from 0: two such reconstructions are equal


@dataclass(frozen=True)
class Verdict:
    """One method on one set of terms, by one score."""

    name: str
    score: str
    change: float  # mean over the pairs; positive is better; accuracy in points, MSE in %
    tolerance: float  # a mean loss beyond it is a regression
    pairs: int
    failed: int  # trials done in the baseline and failed now

    @property
    def regressed(self) -> bool:
        """Worse than noise explains, or broken."""
        return self.failed > 0 or self.change < -self.tolerance


def compare(new: pd.DataFrame, baseline: pd.DataFrame) -> list[Verdict]:
    """Pair the rows of two runs and judge each method on each set of terms.

    The tolerance is Student's one-sided t quantile (5 % over all verdicts) times the standard error of a mean
    difference between two independent runs, from the spread over the baseline's seeds, pooled over the cells of its
    terms, or from the test set's size where that says more.
    Fractions are judged together: a loss at one percent alone must be that much larger to show.
    Raises BenchError where the runs cannot be compared: no pairs, missing trials, other splits, several data sets of a
    name.
    """
    base = baseline[baseline["status"] == "done"]
    new = new.drop(columns="data", errors="ignore")
    pairs = base.merge(new, on=PAIR, how="left", suffixes=("_base", ""), indicator=True)
    absent = pairs[(pairs["_merge"] == "left_only") | (pairs["status"] == "missing")]
    if pairs.empty:
        raise BenchError("the baseline has no finished trial; nothing to compare with")
    several = pairs[pairs.duplicated(PAIR)]
    if len(several):
        raise BenchError(
            f"{_named(several.iloc[0])} is there with several volumes or test fractions (column data); "
            f"compare runs with one data set of a name"
        )
    if len(absent):
        raise BenchError(
            f"{len(absent)} of the baseline's {len(pairs)} trials were not run (first: {_named(absent.iloc[0])}); "
            f"run bench with the baseline's options"
        )
    other = pairs[(pairs["status"] == "done") & (pairs["split_base"] != pairs["split"])]
    if len(other):
        raise BenchError(f"{len(other)} trials ran on another split than the baseline's; the data or the seeds differ")
    judged = []
    for terms, group in pairs.groupby(TERMS, sort=False):
        of = dict(zip(TERMS, terms))
        for score in ("accuracy", "mse"):
            spread, freedom = _spread(base[(base[TERMS] == list(terms)).all(axis=1)], score)
            for variant, ours in group[group[f"{score}_base"].notna()].groupby("variant", sort=False):
                judged.append((f"{of['data_title']} · {of['protocol']} · {variant}", score, ours, spread, freedom))
    return [_judge(*what, quantile=1 - FALSE_ALARM / len(judged)) for what in judged]


def summary(verdicts: list[Verdict]) -> str:
    """A readable summary, one line a verdict."""
    lines = []
    for v in verdicts:
        unit = "points" if v.score == "accuracy" else "%"
        state = "REGRESSED" if v.regressed else "fine"
        lost = f", {v.failed} trials failed" if v.failed else ""
        lines.append(
            f"{state:9}  {v.name} · {v.score}: {v.change:+.2f} {unit} over {v.pairs} trials "
            f"(tolerated: {-v.tolerance:.2f}){lost}"
        )
    return "\n".join(lines)


def prepare_junit(path: Path) -> None:
    """Make its folder; raises BenchError where a JUnit file cannot or must not be written."""
    if path.suffix != ".xml":
        raise BenchError(f"--junit {path}: JUnit files are XML; name it .xml")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.read_bytes().startswith(b"<?xml"):
            raise BenchError(f"--junit {path}: exists and is no JUnit file; name another")
    except OSError as error:
        raise BenchError(f"--junit {path}: {error.strerror}") from error


def write_junit(verdicts: list[Verdict], path: Path) -> None:
    """The verdicts as a JUnit file, for CI systems."""
    bad = sum(v.regressed for v in verdicts)
    suite = ElementTree.Element("testsuite", name="bench gate", tests=str(len(verdicts)), failures=str(bad))
    for verdict in verdicts:
        case = ElementTree.SubElement(suite, "testcase", classname=printable(verdict.name), name=verdict.score)
        if verdict.regressed:
            ElementTree.SubElement(case, "failure", message=printable(summary([verdict])))
    write_atomically(path, ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True))


def _named(row: pd.Series) -> str:
    return f"{row_label(row)}, {row['data_title']}"


def _log_mse(values: pd.Series) -> pd.Series:
    """Natural logarithm, of a perfect reconstruction too."""
    return values.clip(lower=PERFECT_MSE).map(math.log, na_action="ignore")


def _spread(base: pd.DataFrame, score: str) -> tuple[float, int]:
    """Standard deviation over the seeds of a cell, pooled over cells, with its degrees of freedom (ddof = 1)."""
    values = base[score] if score == "accuracy" else _log_mse(base[score])
    cells = values.dropna().groupby([base[c] for c in CELL], dropna=False)
    freedom = int((cells.count() - 1).clip(lower=0).sum())
    if freedom == 0:
        return 0.0, 0
    squares = float((cells.var(ddof=1).fillna(0) * (cells.count() - 1)).sum())
    return math.sqrt(squares / freedom), freedom


def _judge(name: str, score: str, pairs: pd.DataFrame, spread: float, freedom: int, quantile: float) -> Verdict:
    done = pairs[(pairs["status"] == "done") & pairs[score].notna()]
    old, new = done[f"{score}_base"], done[score]
    change = new - old if score == "accuracy" else _log_mse(old) - _log_mse(new)
    n = max(1, len(done))
    by_seeds = float(stats.t.ppf(quantile, freedom)) * spread if freedom else 0.0
    floor = MSE_FLOOR
    if score == "accuracy":
        p = float(old.mean()) if len(old) else 0.5
        floor = float(stats.norm.ppf(quantile)) * math.sqrt(p * (1 - p) / float(pairs["n_test_base"].iloc[0]))
    tolerance = (
        max(by_seeds, floor) * math.sqrt(2 / n) if score == "accuracy" else max(by_seeds * math.sqrt(2 / n), floor)
    )
    return Verdict(
        name,
        score,
        100 * float(change.mean()) if len(done) else 0.0,
        100 * tolerance,
        len(done),
        len(pairs) - len(done),
    )
