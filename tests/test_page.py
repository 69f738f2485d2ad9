"""The page: one file that asks for no other, all rows in it, names as text, and looks bound to methods."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import page, registry
from bench.page.charts import Dot, Mark, Panel, dot_chart, nice_ticks
from bench.page.content import differences, mark
from bench.reporting.statistics import paired_differences
from bench.trials.rows import as_rows
from bench.trials.trial import Costs, Counts, Record, Result, Scores, Status, Trial

HOSTILE = '</script><img src=x onerror="alert(1)">'
ASSETS = files("bench.page") / "assets"


class Reader(HTMLParser):
    """What a browser would ask for, and the cells of each table by its place."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.policy = ""
        self._cell: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "href", "action", "data") and not (value or "").startswith("#"):
                self.asked.append(f"{tag} {name}={value}")
            if name.startswith("on"):
                self.handlers.append(name)
        if ("http-equiv", "Content-Security-Policy") in attrs:
            self.policy = dict(attrs)["content"] or ""
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._cell = []

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self.tables[-1][-1].append("".join(self._cell).strip())
            self._cell = None


@pytest.fixture
def rows(make_trial: Callable[..., Trial]) -> pd.DataFrame:
    """Two methods × two fractions × three seeds, and a failure; names come from somebody's files."""
    records = []
    for method, base in (("supervised", 0.5), ("fixmatch", 0.6)):
        for percent in (5.0, 20.0):
            for seed in range(3):
                trial = make_trial(method, seed=seed, labelled_percent=percent, data_title=HOSTILE)
                accuracy = base + 0.01 * seed + percent / 200
                scores = Scores(accuracy, accuracy, accuracy, 1.0, 0.1, 0.1)
                counts = Counts(144, 28, 4, 80, 8, "particle", f"split {seed}")
                result = Result(Status.DONE, counts=counts, scores=scores, costs=Costs(3.0, 4.0, 9, 144))
                records.append(Record(trial.key(), trial, result))
    trial = make_trial("vat", data_title=HOSTILE, method_title=HOSTILE)
    records.append(Record(trial.key(), trial, Result(Status.FAILED, error=HOSTILE)))
    return as_rows(records)


@pytest.fixture
def read(rows: pd.DataFrame) -> tuple[str, Reader]:
    """The page of these rows, and what a browser sees of it."""
    text = page.html(rows)
    reader = Reader()
    reader.feed(text)
    return text, reader


def test_the_page_asks_for_no_other_file(read: tuple[str, Reader]) -> None:
    text, reader = read
    assert reader.asked == []
    assert not re.search(r"https?:|@import|url\(", text)
    assert "default-src 'none'" in reader.policy


def test_its_one_script_is_the_one_that_its_policy_allows(read: tuple[str, Reader]) -> None:
    text, reader = read
    assert reader.tags.count("script") == 1
    script = text.partition("<script>")[2].rpartition("</script>")[0]
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{allowed}'" in reader.policy
    assert script == (ASSETS / "page.js").read_text(encoding="utf-8")


def test_names_from_somebody_s_files_are_text(read: tuple[str, Reader]) -> None:
    text, reader = read
    assert "img" not in reader.tags
    assert reader.handlers == []
    assert "onerror=" in text  # as text, it is there


def test_methods_on_data_of_their_own_have_a_page(rows: pd.DataFrame, tmp_path: Path) -> None:
    apart = rows.assign(data_title=rows["method"], data=rows["method"])
    page.write(apart, tmp_path)
    board = pd.read_csv(tmp_path / "overall.csv")
    assert set(board["blocks"]) == {2}
    assert "is best" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_style_and_script_are_small() -> None:
    assert sum(len((ASSETS / name).read_bytes()) for name in ("page.css", "page.js")) <= 80_000


def test_every_cell_of_the_leaderboard_is_in_the_page(rows: pd.DataFrame, read: tuple[str, Reader]) -> None:
    head, *lines = read[1].tables[0]
    shown = [dict(zip(head, line)) for line in lines]
    board = page.cell_board(rows)
    assert len(shown) == len(board)
    for line, cell in zip(shown, board.to_dict("records")):
        assert line["Data"] == HOSTILE
        assert line["Labelled, %"] == f"{cell['labelled_percent']:g}"
        if cell["complete"]:
            assert line["Accuracy, %"] == f"{100 * cell['accuracy']:.1f}"
            assert line["Rank"] == str(cell["rank"])
        else:
            assert (line["Accuracy, %"], line["Rank"], line["Seeds"]) == ("–", "–", "0 of 1")


def test_differences_are_those_of_the_file_and_their_negatives(rows: pd.DataFrame) -> None:
    pairs = paired_differences(rows)
    matrices = differences(rows)
    assert len(matrices) == len(pairs) == 2
    for matrix, pair in zip(matrices, pairs.to_dict("records")):
        titles = [name for name, _ in matrix.methods]
        assert titles == ["FixMatch", "Supervised 3D-CNN"]  # the better one first
        sign = 1 if pair["method"] == "fixmatch" else -1
        (own, first), (second, other) = matrix.rows
        assert own.text == other.text == ""
        assert float(first.text) == pytest.approx(100 * sign * pair["difference"], abs=0.05)
        assert float(second.text) == -float(first.text)
        ends = [float(end) for end in first.interval.split(" to ")]
        assert ends == pytest.approx(sorted(100 * sign * pair[c] for c in ("low", "high")), abs=0.051)
        assert (first.side, second.side) == ("above", "below")
    assert differences(rows[rows["method"] == "supervised"]) == []


def test_what_is_said_stands_with_its_picture(read: tuple[str, Reader]) -> None:
    text, _ = read
    figure = text.partition("<figure>")[2].partition("</figure>")[0]
    assert "5 % labelled: FixMatch is best; Supervised 3D-CNN is" in figure
    assert figure.count('class="mark') == 4


def test_a_method_looks_the_same_whatever_else_is_there() -> None:
    names = registry.built_in(registry.METHODS)
    looks = {name: mark(name, name) for name in names}
    assert len(set(looks.values())) == len(names)
    assert mark("vat", "vat (epsilon=1)").colour == looks["vat"].colour
    assert mark("somebody's", "somebody's") == mark("somebody's", "somebody's")


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_round_and_hold_what_is_drawn(low: float, span: float) -> None:
    ticks = nice_ticks(low, low + span)
    step = ticks[1] - ticks[0]
    slack = 1e-6 * (abs(low) + span)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + span - slack
    assert 2 <= len(ticks) <= 8
    digits = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(digits - d) for d in (1, 2, 5, 10)) < 1e-3


def test_dots_stand_where_their_values_are() -> None:
    look = Mark(0, 0)
    dots = [Dot(i, v, v - 5, v + 5, look, "") for i, v in enumerate((20.0, 50.0, 95.0))]
    svg = dot_chart(["a", "b", "<c>"], [Panel("p", dots)], "in %", 12.5, "chance")
    ticks = {float(t): float(x) for x, t in re.findall(r'<text x="([\d.]+)"[^>]*class="tick">([\d.]+)<', svg)}
    (low, x_low), (high, x_high) = min(ticks.items()), max(ticks.items())
    drawn = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', svg)]
    expected = [x_low + (x_high - x_low) * (dot.value - low) / (high - low) for dot in dots]
    assert drawn == pytest.approx(expected, abs=0.1)
    bars = [(float(a), float(b)) for a, b in re.findall(r'class="bar c0" d="M([\d.]+) [\d.]+H([\d.]+)"', svg)]
    width = (x_high - x_low) * 10 / (high - low)
    assert [b - a for a, b in bars] == pytest.approx(3 * [width], abs=0.2)
    assert "&lt;c&gt;" in svg
    unknown = dot_chart(["a"], [Panel("p", [replace(dots[0], low=math.nan, high=math.nan)])], "in %", 12.5, "chance")
    assert 'class="bar' not in unknown


def test_a_picture_from_a_file_keeps_its_style_to_itself(rows: pd.DataFrame, tmp_path: Path) -> None:
    picture = tmp_path / "ranks.svg"
    picture.write_text("<svg><style>path{stroke:#222}</style></svg>")
    six = pd.concat([rows.assign(labelled_percent=rows["labelled_percent"] + i) for i in range(3)])
    text = page.html(six, [("Ranks", picture)])
    reader = Reader()
    reader.feed(text)
    assert reader.tags.count("style") == 1
    (source,) = reader.asked
    kind, _, content = source.partition(";base64,")
    assert kind == "img src=data:image/svg+xml"
    assert base64.b64decode(content) == picture.read_bytes()
