"""Generated cases: whatever is typed and whatever lies in a file, it ends well or with one line, and soon.

`pytest tests/faults/test_cases.py --cases 20000 --first-seed 0` runs more of them, 1,000 of a seed.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import click
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from bench import commands, registry
from bench.base.errors import BenchError
from bench.base.parameters import Range
from bench.cli.main import BAD_INPUT, FAILED, OK
from bench.commands import pick
from faults import material
from faults.called import CRASHED, SILENCE_IN_SECONDS, call, problems, state
from faults.generated import COMMANDS, GOOD, Case, Good, cases

Folders = Callable[[], Path]
CASES_OF_A_SEED = sum(good.cases for good in GOOD.values())
# What the commands import when they need it: here, so that not every case does.
IMPORTED = [
    *(f"bench.commands.{path.stem}" for path in sorted(Path(commands.__path__[0]).glob("[a-z]*.py"))),
    "bench.reporting.figures", "bench.reporting.gate", "jinja2", "matplotlib.backends.backend_agg",
    "PIL.BmpImagePlugin", "rich._emoji_codes", "torch._inductor",
]  # fmt: skip


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed_of_cases" in metafunc.fixturenames:
        first, n = (metafunc.config.getoption(name) for name in ("--first-seed", "--cases"))
        metafunc.parametrize("seed_of_cases", range(first, first + max(1, round(n / CASES_OF_A_SEED))))


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good files, and what the commands make of them."""
    return _material(tmp_path_factory.mktemp("material"))


def _material(folder: Path) -> Path:
    for module in IMPORTED:
        import_module(module)
    material.make(folder)
    for words in (
        "data extract --table particles.star --tomograms tomogram.mrc --box 8 --background 12 --out set",
        "data simulate --structures structures --box 8 --per-class 12 --mode fourier --no-mrc --out made",
        "run --dataset folder --data boxes --methods autoencoding --fractions 50 --seeds 1 --epochs 1 --backend serial "
        "--out runs",
    ):
        done = call(words.split(), folder)
        assert done.code == 0, done.err
    shutil.copy(folder / "runs/rows.csv", folder)
    shutil.copytree(folder / "runs", folder / "submitted")
    (folder / "submitted/submission.toml").write_text(material.SUBMISSION)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Folders:
    """A new working folder for each case."""
    numbers = itertools.count()

    def make() -> Path:
        here = tmp_path / f"case-{next(numbers)}" / "here"
        here.mkdir(parents=True)
        return here

    return make


def _named(files: Path) -> list[Path]:
    """What may stand for an input, by its name among the good files."""
    inside = [path.relative_to(files) for path in sorted(files.iterdir())]
    return [*inside, Path("maps/a.mrc"), Path("structures/a.pdb"), Path("boxes/a")]


def _try(case: Case, files: Path, here: Path, silence_in_seconds: float = SILENCE_IN_SECONDS) -> tuple[int, list[str]]:
    """The exit code of a case, and what is wrong with it; its folder stays only then."""
    arguments, before = case.arguments(files, here), state(here)
    done = call(arguments, here, silence_in_seconds)
    found = problems(done, here, before)
    if not found:
        shutil.rmtree(here.parent)
        return done.code, []
    return done.code, [f"cd {here}; bench {shlex.join(arguments)!a}", *found]


def _try_many(name: str, seed_of_cases: int, files: Path, folder: Folders) -> None:
    @seed(seed_of_cases)
    @settings(
        max_examples=GOOD[name].cases,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(name, _named(files)))
    def run(case: Case) -> None:
        _, found = _try(case, files, folder())
        assert not found, "\n".join(found)

    run()


def test_every_command_has_a_good_case() -> None:
    assert {good.command for good in GOOD.values()} == set(COMMANDS)


@pytest.mark.parametrize("name", GOOD)
def test_a_good_case_ends_well(name: str, files: Path, folder: Folders) -> None:
    assert _try(Case(name), files, folder()) == (0, [])


@pytest.mark.parametrize("name", GOOD)
def test_a_generated_case_ends_well_or_in_one_line(name: str, seed_of_cases: int, files: Path, folder: Folders) -> None:
    before = state(files)
    _try_many(name, seed_of_cases, files, folder)
    assert state(files) == before, "a command wrote into its input"


def _raise(*_: object) -> NoReturn:
    raise KeyError("sigma")


def _say_two_lines(*_: object) -> NoReturn:
    raise BenchError("one\ntwo")


def _write_nan(*_: object) -> int:
    np.save("made.npy", np.array([1.0, np.nan]))
    return 1


def _warn(*_: object) -> int:
    return int(np.array([np.inf]).astype(int)[0])


@pytest.mark.parametrize(
    ("broken", "code", "word"),
    [
        (_raise, CRASHED, "KeyError: 'sigma'"),
        (_say_two_lines, BAD_INPUT, "not one line"),
        (_write_nan, OK, "made.npy: holds numbers that are not finite"),
        (_warn, OK, "RuntimeWarning"),
        (lambda *_: os.kill(os.getpid(), signal.SIGSEGV), -signal.SIGSEGV, "Segmentation fault"),
        (lambda *_: time.sleep(10), -signal.SIGABRT, "not a word"),
        (lambda *_: sys.exit(FAILED), FAILED, "does not say what failed"),
    ],
)
def test_a_broken_command_is_found(
    broken: Callable[..., object], code: int, word: str, files: Path, folder: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pick, "pick", broken)
    ended, found = _try(Case("pick"), files, folder(), 1.0)
    assert (ended, word in "\n".join(found)) == (code, True), found


def test_a_command_that_is_broken_for_some_values_is_found(
    files: Path, folder: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pick_few(request: pick.Request, _: object) -> int:
        return 1 if request.count == 9 else _raise()

    monkeypatch.setattr(pick, "pick", pick_few)
    with pytest.raises(AssertionError, match="sigma"):
        _try_many("pick", 0, files, folder)


def test_a_new_option_and_a_new_parameter_have_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    option = click.Option(["--new-in-angstroms"], type=float)
    monkeypatch.setitem(COMMANDS, "data fresh", click.Command("fresh", params=[option]))
    monkeypatch.setitem(GOOD, "fresh", Good("data fresh", {}))
    parameter = registry.Parameter("fresh", 1.0, "", float, Range(low=0, high=2))
    monkeypatch.setattr(registry, "parameters", lambda *_: [parameter])
    options: set[str] = set()
    values: set[str] = set()

    @seed(0)
    @settings(max_examples=200, database=None, deadline=None, phases=[Phase.generate])
    @given(cases("fresh", [Path("a")]), cases("run-phantoms", [Path("a")]))
    def collect(fresh: Case, run: Case) -> None:
        options.update(fresh.values)
        values.update(text.partition("fresh=")[2] for text in run.values.get("settings", []) if "fresh" in text)

    collect()
    numbers = [float(value) for value in values if re.fullmatch(r"-?[0-9.]+", value)]
    assert "new_in_angstroms" in options
    assert any(number in parameter.range for number in numbers)
    assert any(number not in parameter.range for number in numbers)
    assert len(numbers) < len(values)
