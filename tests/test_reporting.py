"""Tables and pictures from rows and records alone: the paper's order and numbers, and no method known by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

import bench.reporting
from bench import registry
from bench.learning.tally import ValidationPoint
from bench.reporting import figures, overview, paper, response
from bench.reporting.tables import accuracy_table, all_tables, reconstruction_table
from bench.trials.rows import as_rows
from bench.trials.trial import Costs, Counts, Record, Result, Scores, Status, Trial

SOURCES = [p for p in Path(bench.reporting.__file__).parent.glob("*.py") if p.name != "paper.py"]
NAMES = ["zebra", "rim", "autoencoder", "autoencoding", "m2", "supervised", "antelope"]
Make = Callable[[str, str, float | None], Record]


@pytest.fixture
def record(make_trial: Callable[..., Trial]) -> Make:
    """A finished trial of a method that need not be installed here."""

    def make(method: str, variant: str, percent: float | None) -> Record:
        names = {"method": method, "method_title": f"Title of {method}", "variant": variant}
        trial = replace(make_trial(), **names, labelled_percent=percent)
        counts = Counts(144, 28, 4, 80, 8, "particle", "split")
        return Record(trial.key(), trial, Result(Status.DONE, counts=counts, scores=Scores(accuracy=0.5, mse=0.5)))

    return make


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.name))
def test_no_figure_or_table_knows_a_method(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    for name in registry.entries(registry.METHODS):
        for word in (name, registry.method(name).title):
            assert not re.search(rf"(?<![\w-]){re.escape(word)}(?!\w)", source), word


def test_lines_stand_in_the_paper_s_order_then_by_name_under_their_titles(record: Make) -> None:
    rows = as_rows([record(name, name, 5.0) for name in NAMES])
    order = [*paper.ACCURACY, "autoencoder", "antelope", "rim", "zebra"]
    assert accuracy_table(rows).body["method"].tolist() == [f"Title of {name}" for name in order if name in NAMES]
    order = ["autoencoder", "autoencoding", "antelope", "m2", "rim", "supervised", "zebra"]
    said = reconstruction_table(rows).body["method"].tolist()
    assert said == [f"Title of {name}, 5 % labelled" for name in order]


def test_a_changed_hyperparameter_is_another_line_without_the_paper_s_number(record: Make) -> None:
    changed = record("autoencoding", "autoencoding (beta=0.5)", 5.0)
    table = accuracy_table(as_rows([changed, record("autoencoding", "autoencoding", 5.0)])).body
    assert table["method"].tolist() == ["Title of autoencoding", "Title of autoencoding (beta=0.5)"]
    assert table["paper's real set: 5 %"].tolist() == ["78.21", "–"]


def test_a_line_of_table_3_stands_beside_the_paper_s_of_its_label_fraction(record: Make) -> None:
    records = [record("autoencoding", "autoencoding", percent) for percent in (10.0, 7.0)]
    table = reconstruction_table(as_rows([*records, record("autoencoder", "autoencoder", None)])).body
    assert table["paper's simulated set"].tolist() == ["1.2464", "–", "0.1491"]


def test_no_name_in_a_table_is_a_formula(record: Make, tmp_path: Path) -> None:
    made = record("antelope", "antelope", 5.0)
    made = replace(made, trial=replace(made.trial, method_title="@SUM(A1)"))
    accuracy_table(as_rows([made])).write(tmp_path)
    written = pd.read_csv(tmp_path / "table2.csv")
    assert written["method"].tolist() == ["'@SUM(A1)"]
    assert "| @SUM(A1)" in (tmp_path / "table2.md").read_text(encoding="utf-8")


def test_each_data_set_has_its_tables_and_each_rule_its_columns(record: Make) -> None:
    first = record("antelope", "antelope", 5.0)
    records = [
        replace(first, key=str(i), trial=replace(first.trial, **changes))
        for i, changes in enumerate(
            [{"views": "turns"}, {"views": "rotations"}, {"views": "turns", "data_title": "other", "fingerprint": "f"}]
        )
    ]
    tables = {table.name: table.body for table in all_tables(as_rows(records))}
    assert len(tables) == 4
    (other,) = (name for name in tables if name.startswith("table2-other-"))
    (both,) = (name for name in tables if name.startswith("table2-") and name != other)
    ours = {name: [c for c in tables[name] if "turns" in c or "rotations" in c] for name in (other, both)}
    assert ours == {
        other: ["fair, turns, best weights: 5 %"],
        both: ["fair, rotations, best weights: 5 %", "fair, turns, best weights: 5 %"],
    }


def test_a_picture_has_a_point_for_each_view_and_a_panel_for_each_fraction(record: Make) -> None:
    records = []
    for views, percent, accuracy in [("turns", 5.0, 0.4), ("rotations", 5.0, 0.7), ("rotations", 20.0, 0.8)]:
        made = record("antelope", "antelope", percent)
        trial = replace(made.trial, views=views)
        result = replace(made.result, scores=Scores(accuracy=accuracy))
        records.append(Record(trial.key(), trial, result))
    figure = figures._accuracy(as_rows(records), {"antelope": "Antelope"}, "title")
    assert figure is not None
    shown = [
        {bars.get_label(): [float(x) for x in bars.lines[0].get_xdata()] for bars in axes.containers}
        for axes in figure.axes
    ]
    assert shown[0] == {"turns": [pytest.approx(40)], "rotations": [pytest.approx(70)]}
    assert shown[1]["rotations"] == [pytest.approx(80)]
    assert [axes.get_title() for axes in figure.axes] == ["5 % labelled", "20 % labelled"]
    plt.close(figure)


def test_a_new_stage_starts_a_new_line(record: Make) -> None:
    points = [(4, 0.9, "first"), (8, 0.8, "first"), (12, 2.0, "second"), (16, 1.9, "second")]
    history = [ValidationPoint(step, 1.0, loss, stage) for step, loss, stage in points]
    made = record("antelope", "antelope", 5.0)
    records = {
        str(seed): replace(made, trial=replace(made.trial, seed=seed), result=Result(Status.DONE, history=history))
        for seed in range(2)
    }
    figure = figures._learning(records, {"antelope": "Antelope"}, "title")
    assert figure is not None
    (axes,) = figure.axes
    drawn = [[tuple(xy) for xy in line.get_xydata().tolist()] for line in axes.lines if len(line.get_xydata())]
    assert sorted(drawn) == sorted(2 * [[(4, 0.9), (8, 0.8)], [(12, 2.0), (16, 1.9)]])
    assert axes.get_title() == "Antelope"
    plt.close(figure)


def _scored(record: Make, method: str, seed: int, accuracy: float, **changes: object) -> Record:
    made = record(method, method, 5.0)
    trial = replace(made.trial, seed=seed, **changes)  # type: ignore[arg-type]
    counts = replace(made.result.counts, split=f"split{seed}")  # type: ignore[type-var]
    result = replace(made.result, counts=counts, scores=Scores(accuracy=accuracy))
    return Record(trial.key(), trial, result)


def test_a_series_is_what_differs_by_one_condition_alone(record: Make) -> None:
    """Three noises, the lowest also with wrong labels, and another box: two series and no third."""
    rows = as_rows(
        [
            _scored(record, "antelope", 0, 0.5, data_parameters=(("box", box), ("snr", snr)), conditions=wrong)
            for box, snr, wrong in [
                (8, 0.1, ()),
                (8, 0.5, ()),
                (8, 1.0, ()),
                (8, 0.1, (("wrong_labels", 0.2),)),
                (16, 0.2, ()),
            ]
        ]
    )
    found = {one.condition: sorted(one.rows["at"]) for one in response.series(rows)}
    assert found == {"snr": [0.1, 0.5, 1.0], "wrong_labels": [0.0, 0.2]}


def test_the_gain_is_over_the_baseline_and_bold_where_its_interval_leaves_out_0(record: Make) -> None:
    base = {0.1: [0.50, 0.54, 0.52], 0.5: [0.70, 0.74, 0.72]}
    gains = {0.1: [0.100, 0.101, 0.099], 0.5: [-0.10, 0.10, -0.03]}
    records = []
    for snr, values in base.items():
        for seed, accuracy in enumerate(values):
            of = {"data_parameters": (("snr", snr),), "fingerprint": str(snr)}
            records.append(_scored(record, paper.BASELINE, seed, accuracy, **of))
            for name in ("antelope", "zebra"):  # one stands before the baseline in the alphabet, one after it
                records.append(_scored(record, name, seed, accuracy + gains[snr][seed], **of))
    (found,) = response.series(as_rows(records))
    figure = response.gain(found, {name: name for name in ("antelope", "zebra", paper.BASELINE)})
    assert figure is not None
    for panel in figure.axes[:2]:
        assert {(text.get_text(), text.get_weight()) for text in panel.texts} == {("+10.0", "bold"), ("−1.0", "normal")}
    plt.close(figure)


def test_cost_is_drawn_where_two_methods_may_be_compared(record: Make) -> None:
    records = []
    for method, percent, seconds, accuracy in [
        ("antelope", 5.0, 10.0, 0.4),
        ("zebra", 5.0, 100.0, 0.5),
        ("zebra", 20.0, 100.0, 0.7),
    ]:
        made = record(method, method, percent)
        result = replace(made.result, scores=Scores(accuracy=accuracy), costs=Costs(training_seconds=seconds))
        records.append(replace(made, result=result))
    names = {"antelope": "Antelope", "zebra": "Zebra"}
    figure = overview.cost(as_rows(records), names, "title")
    assert figure is not None
    (axes,) = figure.axes  # one method alone, at 20 %, is no comparison
    points = [tuple(bars.lines[0].get_xydata()[0]) for bars in axes.containers]
    assert points == [pytest.approx((10, 40)), pytest.approx((100, 50))]
    assert [text.get_text() for text in figure.legends[0].texts] == ["Antelope", "Zebra"]
    assert overview.cost(as_rows(records[:1]), names, "title") is None
    plt.close(figure)
