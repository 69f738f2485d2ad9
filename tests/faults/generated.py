"""Cases from what the commands declare: a good command, in which one to three values are replaced.

What a value may be follows from its option's type and, where the field of the command's request has one, its `Range`.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

import click
import damage
import numpy as np
from hypothesis import strategies as st

from bench import registry
from bench.base.parameters import Range
from bench.cli.main import bench
from bench.commands import match, pick
from bench.extraction import Cutting
from bench.trials import plan

Text = str | Path  # a Path is one of the good files, by its name among them


@dataclass(frozen=True)
class Good:
    """A command that ends well; written: the folder among its files that it changes, which each case has a copy of."""

    command: str
    values: Mapping[str, Any]  # parameter → Text, list of Texts, or True for a switch
    written: str = ""

    @property
    def cases(self) -> int:
        """How many cases are made of it, of about 1,000: fewer where the command takes its time."""
        slow = {"run", "report", "study run", "study report", "study merge", "submit check", "data extract"}
        slow |= {"data simulate", "data simulate-tomogram", "study plan"}
        return 8 if self.command in slow else 46


TRAINED = {"epochs": "1", "seeds": "1", "fractions": "50", "backend": "serial", "methods": "supervised", "out": "out"}
TOMOGRAM, OUT = Path("tomogram.mrc"), "out"
SMALL = {"box": "8", "per_class": "2", "mode": "fourier", "out": OUT}
GOOD = {
    "run": Good("run", TRAINED | {"dataset": "particles", "data": Path("set")}),
    "run-folder": Good(
        "run",
        TRAINED | {"dataset": "folder", "data": Path("boxes"), "methods": "rim", "protocol": "paper"},
    ),
    "run-made": Good("run", TRAINED | {"dataset": "made", "data": Path("made"), "methods": "self_training"}),
    "run-maps": Good(
        "run",
        TRAINED | {"dataset": "maps", "data": Path("maps"), "settings": ["maps.box=8", "maps.per_class=9"]},
    ),
    "run-simulated": Good(
        "run",
        TRAINED
        | {
            "dataset": "simulated",
            "data": Path("structures"),
            "methods": "pretrained",
            "settings": ["simulated.box=8", "simulated.per_class=9", "simulated.mode=fourier"],
        },
    ),
    "run-phantoms": Good(
        "run",
        TRAINED
        | {"methods": "m2", "settings": ["phantoms.box=8", "phantoms.per_class=6", "phantoms.wrong_labels=0.2"]},
    ),
    "run-resume": Good("run", {"resume": True, "backend": "serial", "out": Path("runs")}, written="out"),
    "list": Good("list", {"what": "methods", "parameters": True}),
    "list-named": Good("list", {"what": "datasets", "names": "maps,made", "parameters": True}),
    "status": Good("status", {"out": Path("runs")}, written="out"),
    "report": Good("report", {"runs": [Path("runs")]}, written="runs"),
    "report-several": Good("report", {"runs": [Path("runs"), Path("rows.csv")], "out": OUT}),
    "study-plan": Good("study plan", {"file": Path("study.toml")}),
    "study-run": Good("study run", {"file": Path("study.toml"), "backend": "serial", "out": OUT}),
    "study-status": Good("study status", {"file": Path("study.toml"), "out": Path("runs")}, written="out"),
    "study-report": Good("study report", {"file": Path("study.toml"), "out": Path("runs")}, written="out"),
    "study-from": Good("study from", {"runs": Path("runs"), "out": "study.toml"}),
    "study-merge": Good("study merge", {"runs": [Path("runs"), Path("submitted")], "out": OUT}),
    "submit-form": Good("submit form", {"folder": Path("runs")}, written="folder"),
    "submit-check": Good("submit check", {"folder": Path("submitted"), "data": Path("boxes")}),
    "gate": Good("gate", {"new": Path("runs"), "baseline": Path("rows.csv"), "junit": "gate.xml"}),
    "extract": Good(
        "data extract",
        {"tables": [Path("particles.star")], "tomograms": TOMOGRAM, "box": "8", "background": "3", "out": OUT},
    ),
    "extract-csv": Good(
        "data extract",
        {"tables": [Path("particles.csv")], "tomograms": Path("tomograms"), "class_column": "class", "box": "8",
         "keep": Path("keep.txt"), "out": OUT},
    ),
    "extract-boxes": Good("data extract", {"tables": [Path("boxes/a"), Path("boxes/b")], "box": "8", "out": OUT}),
    "extract-dynamo": Good(
        "data extract", {"tables": [Path("particles.tbl")], "tomograms": Path("tomogram.em"), "box": "8", "out": OUT}
    ),
    "extract-shrec": Good(
        "data extract",
        {"tables": [Path("shrec.txt"), Path("picks.json")], "tomograms": TOMOGRAM, "box": "8", "out": OUT,
         "voxel_size_in_angstroms": "12", "contrast": "bright"},
    ),
    "pick": Good("data pick", {"tomogram": TOMOGRAM, "diameter_in_angstroms": "60", "count": "9", "out": "p.star"}),
    "pick-csv": Good(
        "data pick",
        {"tomogram": Path("tomogram.tif"), "diameter_in_angstroms": "60", "min_distance_in_angstroms": "40",
         "tomogram_voxel_size_in_angstroms": "10", "out": "p.csv"},
    ),
    "match": Good(
        "data match",
        {"tomogram": TOMOGRAM, "template": Path("maps/a.mrc"), "step_in_degrees": "90", "count": "9", "out": "m.star"},
    ),
    "match-structure": Good(
        "data match",
        {"tomogram": TOMOGRAM, "template": Path("structures/a.pdb"), "step_in_degrees": "90", "out": "m.csv",
         "near": Path("particles.star"), "low_pass_in_angstroms": "40", "assembly": "none"},
    ),
    "inspect": Good("data inspect", {"folder": Path("set"), "out": "i.png"}),
    "inspect-folder": Good("data inspect", {"dataset": "folder", "folder": Path("boxes"), "out": "i.png"}),
    "inspect-noble": Good("data inspect", {"dataset": "noble", "folder": Path("noble"), "out": "i.png"}),
    "fetch": Good("data fetch", {"pdb": "1ABC", "out": Path("fetched")}, written="out"),
    "simulate": Good("data simulate", SMALL | {"structures": Path("structures")}),
    "simulate-tilt-series": Good(
        "data simulate",
        SMALL | {"structures": Path("structures"), "mode": "tilt_series", "tilt_step_in_degrees": "20", "mrc": False,
                 "neighbours": "1", "dose_in_electrons_per_square_angstrom": "100", "contrast": "dark"},
    ),
    "simulate-tomogram": Good(
        "data simulate-tomogram",
        {"structures": Path("structures"), "shape": "16,24,24", "per_class": "2", "mode": "fourier", "out": OUT},
    ),
    "predict": Good(
        "predict",
        {"results": Path("runs"), "table": Path("particles.star"), "tomograms": TOMOGRAM, "out": "c.star"},
    ),
    "predict-csv": Good(
        "predict",
        {"results": Path("runs"), "table": Path("particles.csv"), "tomograms": Path("tomograms"), "out": "c.csv",
         "method": "autoencoding", "fraction": "50", "seed": "0", "protocol": "fair"},
    ),
    "predict-boxes": Good("predict", {"results": Path("runs"), "table": Path("boxes/a"), "out": "c.csv"}),
}  # fmt: skip
REQUESTS: dict[str, tuple[type, ...]] = {  # where an option's Range is declared
    "run": (plan.Request,),
    "data extract": (Cutting,),
    "data pick": (pick.Request,),
    "data match": (match.Request,),
    "predict": (Cutting,),
}
RANGES = {"shape": Range(8, 4096)}  # of options without a field
FILES = {"table", "tables", "data", "folder", "out"}  # options that are files by what they say, not by their type
OUTPUTS = {"out", "junit"}
AFFORDABLE: dict[str, tuple[float, float]] = {  # what work is large only because it may be
    "box": (0, 16),
    "per_class": (0, 9),
    "neighbours": (0, 3),
    "epochs": (0, 2),
    "seeds": (0, 2),
    "background": (0, 50),
    "step_in_degrees": (45, math.inf),
    "tilt_step_in_degrees": (5, math.inf),
    "shape": (0, 24),
}
WORDS = [
    "", " ", "nan", "NaN", "inf", "-inf", "1e308", "1e309", "-1e308", "1e-300", "5e-324", "-0", "-0.0", "0", "-1",
    "1", "9" * 20, "-" + "9" * 20, "1" + "0" * 400, "9" * 5000, "0x10", "1_0", "1,5", "5,5,10", "٣", "½", "True",
    "None", "none", "auto", "all", "word", "Å³", "日本", "\ud800", "\udcff", "a\0b", "a\nb", "a\x1b[2J", "\u2028",
    "\u202e", "..", ".", "~", "-", "--", "--help", "a" * 300, "a" * 5000, "{}", "[]", "()", "(1,)", "((((", "[" * 300,
    "%s", "'", '"', "$HOME", "*", "=", "a=b", "a.b=c", ";", ",", "1e400", "1j", "b'a'", "()()",
    "nowhere/a.star", "a.star", "a.csv.gz", "HOST:1", "1FNT", "paper,1abc", "://",
    "http://127.0.0.1:9/",
]  # fmt: skip


def commands(group: click.Group = bench, above: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command of `bench`, by what a user writes."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


COMMANDS = dict(commands())


@dataclass(frozen=True)
class Case:
    """A command to call."""

    good: str  # the name of the good one
    values: Mapping[str, Any] = field(default_factory=dict)  # those that are other: Text, Damaged, True, or lists

    def arguments(self, files: Path, folder: Path) -> list[str]:
        """The command line; what is damaged, or changed by the command, is copied into `folder`."""
        good = GOOD[self.good]
        words, values = good.command.split(), {**good.values, **self.values}
        for option in parameters(good.command):
            if (value := values.get(str(option.name))) is None:
                continue
            written = option.name == good.written
            texts = [_as_text(v, files, folder, written) for v in (value if isinstance(value, list) else [value])]
            if isinstance(option, click.Argument):
                words += texts
            elif option.is_flag:  # type: ignore[attr-defined]
                words += (option.opts if value else option.secondary_opts)[:1]
            else:
                words += [word for text in texts for word in (option.opts[-1], text)]
        return words


@dataclass(frozen=True)
class Damaged:
    """A good file or folder, damaged."""

    name: Path
    seed: int

    def within(self, files: Path, folder: Path) -> Path:
        """The damaged copy."""
        copy = _copied(self.name, files, folder)
        rng = np.random.default_rng(self.seed)
        if copy.is_dir():
            damage.of_folder(copy, rng)
        elif rng.random() < 0.05:
            copy.unlink()
            copy.mkdir()
        else:
            damage.of_file(copy, rng)
        return copy


def _as_text(value: Any, files: Path, folder: Path, written: bool) -> str:
    if isinstance(value, Damaged):
        return str(value.within(files, folder))
    if isinstance(value, Path):
        return str(_copied(value, files, folder) if written else files / value)
    return str(value)


def _copied(name: Path, files: Path, folder: Path) -> Path:
    copy = folder / "copies" / name
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (files / name).is_dir() else shutil.copy)(files / name, copy)
    return copy


@cache
def parameters(command: str) -> list[click.Parameter]:
    """What a command declares, but for --help."""
    found = COMMANDS[command]
    return [p for p in found.get_params(click.Context(found)) if "--help" not in p.opts]


def cases(name: str, files: list[Path]) -> st.SearchStrategy[Case]:
    """A good command with one to three other values; files: the good ones."""
    good = GOOD[name]
    declared = {str(p.name): p for p in parameters(good.command)}
    others = sorted(declared.keys() - {"resume"} if "resume" in good.values else declared)
    given = sorted(good.values.keys() & set(others))  # what it has already is worth more cases
    replaced = st.lists(st.sampled_from(others + given), min_size=1, max_size=3, unique=True)
    values = {n: _values(good, option, files) for n, option in declared.items()}
    some = replaced.flatmap(lambda names: st.fixed_dictionaries({n: values[n] for n in names}))
    return some.map(lambda changed: Case(name, changed))


def _values(good: Good, option: click.Parameter, files: list[Path]) -> st.SearchStrategy[Any]:
    """What may stand for an option: values of its kind, wild words, files."""
    name, value = str(option.name), good.values.get(str(option.name))
    if getattr(option, "is_flag", False):
        return st.booleans()
    if name in OUTPUTS and name != good.written:
        return _outputs(files)
    if isinstance(option.type, click.Path) or name in FILES:
        given = value[0] if isinstance(value, list) else value
        one = _inputs(given if isinstance(given, Path) else None, files)
        return st.lists(one, min_size=1, max_size=2) if option.multiple else one  # type: ignore[attr-defined]
    if name == "settings":
        named = str(good.values.get("methods", "supervised")).split(",") + [str(good.values.get("dataset", "phantoms"))]
        kept = list(good.values.get("settings", []))
        return st.lists(_settings(named), min_size=1, max_size=2).map(lambda more: kept + more)
    one = _words(name, *_kind(good.command, option))
    if isinstance(value, str) and "," in value + {"fractions": ","}.get(name, ""):
        parts = st.lists(st.sampled_from(value.split(",")) | one, min_size=1, max_size=3).map(",".join)
        one = one | parts
    return one


def _kind(command: str, option: click.Parameter) -> tuple[type, Range]:
    """The type of an option's values and the range that is declared for them."""
    for request in REQUESTS.get(command, ()):
        for f in fields(request):
            if f.name == option.name and "range" in f.metadata:
                return _python(option.type), f.metadata["range"]
    if command.startswith("data simulate"):
        for parameter in registry.parameters(registry.DATASETS, "simulated"):
            if parameter.name == option.name:
                return parameter.kind, parameter.range
    choices = tuple(map(str, option.type.choices)) if isinstance(option.type, click.Choice) else ()
    return _python(option.type), RANGES.get(str(option.name), Range(choices=choices))


def _python(kind: click.ParamType) -> type:
    return {click.INT: int, click.FLOAT: float, click.BOOL: bool}.get(kind, str)


def _settings(names: list[str]) -> st.SearchStrategy[str]:
    """--set: each parameter of the methods and data sets that take part, with values of its own kind."""
    known = []
    for name in names:
        group = registry.METHODS if name in registry.entries(registry.METHODS) else registry.DATASETS
        known += [_words(p.name, p.kind, p.range).map(f"{name}.{p.name}={{}}".format)
                  for p in registry.parameters(group, name)]  # fmt: skip
    return st.one_of(*known, st.sampled_from(WORDS))


def _words(name: str, kind: type, allowed: Range) -> st.SearchStrategy[str]:
    """Texts for a value: within its range and at its edges, beyond them, and of no kind at all."""
    low, high = AFFORDABLE.get(name, (-math.inf, math.inf))
    wild = st.sampled_from(WORDS) | st.text(st.characters(codec=None), max_size=5)
    if allowed.choices:
        kinds = st.sampled_from([c for c in allowed.choices if c != "ray"])
    elif kind in (int, float, tuple):
        kinds = _numbers(kind, allowed, max(low, allowed.low), min(high, allowed.high))
    elif kind is bool:
        kinds = st.sampled_from(["True", "False", "1", "0"])
    else:
        kinds = wild

    def affordable(text: str) -> bool:
        try:
            numbers = [float(part) for part in text.strip("()[] ").split(",") if part]
        except ValueError:
            return text != "ray"
        return not any(number in allowed and not low <= number <= high for number in numbers)

    return st.one_of(kinds, kinds, wild).filter(affordable)


def _numbers(kind: type, allowed: Range, low: float, high: float) -> st.SearchStrategy[str]:
    """Numbers from low to high, both ends, and what lies beyond what is allowed."""
    edges = [x for x in (low, high) if math.isfinite(x)]
    beyond = [math.nextafter(x, to) for x, to in ((allowed.low, -math.inf), (allowed.high, math.inf))]
    beyond += [allowed.low - 1, allowed.high + 1, 10 * allowed.high, -allowed.high]
    bounds = {"min_value": max(low, -1e12), "max_value": min(high, 1e12)}
    if kind is int:
        inside: Any = st.integers(math.ceil(bounds["min_value"]), math.floor(bounds["max_value"])).map(str)
        edges = [int(x) for x in edges]
    else:
        inside = st.floats(**bounds, allow_nan=False).map(repr)
    outside = [str(int(x)) if kind is int and x == int(x) else repr(x) for x in beyond if math.isfinite(x)]
    one = st.one_of(inside, st.sampled_from([repr(x) for x in edges] + outside) if edges or outside else inside)
    if kind is not tuple:
        return one
    return st.lists(one, max_size=3).map(lambda parts: f"({','.join(parts)}{',' if parts else ''})")


def _inputs(good: Path | None, files: list[Path]) -> st.SearchStrategy[Any]:
    """A file: damaged, one of another kind, or a word that names none."""
    others = st.sampled_from(files)
    seeds = st.integers(0, 2**32 - 1)
    damaged = st.builds(Damaged, others if good is None else st.just(good), seeds)
    return st.one_of(damaged, damaged, st.builds(Damaged, others, seeds), others, st.sampled_from(WORDS))


def _outputs(files: list[Path]) -> st.SearchStrategy[Any]:
    """A place to write to: a word below the working folder, or a damaged copy of what is there already."""
    endings = st.sampled_from(["", ".star", ".csv", ".png", ".CSV", ".csv.gz", "/", "/a/b.star", ".json"])
    words = st.builds("{}{}".format, st.sampled_from(WORDS), endings)
    below = words.filter(lambda word: ".." not in word and not word.startswith("/"))
    return st.one_of(below, below, st.builds(Damaged, st.sampled_from(files), st.integers(0, 2**32 - 1)))
