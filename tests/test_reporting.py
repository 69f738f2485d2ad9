"""Tables from rows alone: the paper's order and numbers, and no method that the code of reporting would name."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

import bench.reporting
from bench import registry
from bench.reporting import paper
from bench.reporting.tables import accuracy_table, printed_names, reconstruction_table
from bench.trials.rows import COLUMNS, COSTS, SCORES

SOURCES = [p for p in Path(bench.reporting.__file__).parent.glob("*.py") if p.name != "paper.py"]


def _rows(*lines: tuple[str, str, float | None]) -> pd.DataFrame:
    """A finished row for each (method, variant, labelled %)."""
    common = {column.name: "x" for column in COLUMNS} | dict.fromkeys([*COSTS, "n_test"], 100)
    common |= dict.fromkeys(SCORES, 0.5) | {"protocol": "fair", "status": "done", "seed": 0}
    return pd.DataFrame(
        [
            common | {"method": method, "method_title": _title(method), "variant": variant, "labelled_percent": percent}
            for method, variant, percent in lines
        ]
    )


def _title(method: str) -> str:
    known = method in registry.entries(registry.METHODS)
    return registry.method(method).title if known else method.title()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.name))
def test_no_figure_or_table_knows_a_method(path: Path) -> None:
    source = path.read_text()
    for name in registry.entries(registry.METHODS):
        for word in (name, registry.method(name).title):
            assert not re.search(rf"(?<![\w-]){re.escape(word)}(?!\w)", source), word


def test_rows_stand_in_the_paper_s_order_then_by_name() -> None:
    names = ["zebra", "rim", "autoencoder", "autoencoding", "m2", "supervised", "antelope"]
    rows = _rows(*[(name, name, 5.0) for name in names])
    printed = printed_names(rows)
    order = [*paper.ACCURACY, "autoencoder", "antelope", "rim", "zebra"]
    assert accuracy_table(rows).body["method"].tolist() == [printed[n] for n in order if n in names]
    order = ["autoencoder", "autoencoding", "antelope", "m2", "rim", "supervised", "zebra"]
    assert reconstruction_table(rows).body["method"].tolist() == [f"{printed[n]}, 5 % labelled" for n in order]


def test_a_changed_hyperparameter_is_another_line_without_the_paper_s_number() -> None:
    changed = "autoencoding (beta=0.5)"
    table = accuracy_table(_rows(("autoencoding", changed, 5.0), ("autoencoding", "autoencoding", 5.0))).body
    title = registry.method("autoencoding").title
    assert table["method"].tolist() == [title, f"{title} (beta=0.5)"]
    assert table["paper's real set: 5 %"].tolist() == ["78.21", "–"]


def test_each_line_of_table_3_stands_beside_the_paper_s_of_its_label_fraction() -> None:
    rows = _rows(("autoencoding", "autoencoding", 10.0), ("autoencoding", "autoencoding", 7.0))
    rows = pd.concat([rows, _rows(("autoencoder", "autoencoder", None))])
    table = reconstruction_table(rows).body
    assert table["paper's simulated set"].tolist() == ["1.2464", "–", "0.1491"]
