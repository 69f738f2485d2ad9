"""What the tests share: a tiny data set, a way to call the command, the folder of real input."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # as many workers as cores: one thread each, for what they start too
    os.environ["OMP_NUM_THREADS"] = "1"

from bench import registry
from bench.cli.main import main
from bench.data.subtomograms import Subtomograms
from bench.learning.protocol import Budget
from bench.trials.trial import Runtime, Trial

DATA = Path(os.environ.get("SUBTOMOBENCH_DATA") or os.devnull)  # real input; without the variable none
NO_DATA = "no real input: SUBTOMOBENCH_DATA does not name a folder of it"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=NO_DATA)
BENCH = Path(sys.executable).with_name("bench")
Bench = Callable[..., tuple[int, str, str]]
TINY = ["--set", "phantoms.box=8", "--set", "phantoms.per_class=30", "--epochs", "1", "--seeds", "1"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cases", type=int, default=1000, help="generated cases of faults/test_cases.py")
    parser.addoption("--first-seed", type=int, default=0, help="seed of the first 1,000 of them")


@pytest.fixture(scope="session")
def structures() -> Path:
    """The folder of real PDB entries."""
    if not (DATA / "structures").is_dir():
        pytest.skip(NO_DATA)
    return DATA / "structures"


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 phantoms of 8³ on disk."""
    folder = tmp_path_factory.mktemp("tiny")
    registry.dataset("phantoms", {"box": 8, "per_class": 30}).load().save(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Subtomograms:
    return Subtomograms.open(tiny_folder)


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return Runtime(tmp_path / "cache", "cpu", 1)


@pytest.fixture
def make_trial(tiny: Subtomograms) -> Callable[..., Trial]:
    """A trial on the tiny data set; keyword arguments replace its settings."""

    def make(method: str = "supervised", **changes: object) -> Trial:
        from dataclasses import asdict, replace

        made = registry.method(method)
        trial = Trial(
            dataset="phantoms",
            data_parameters=(("box", 8), ("per_class", 30)),
            fingerprint="tiny",
            test_fraction=1 / 3,
            protocol="fair",
            views="turns",
            select="best",
            test_views=1,
            method=method,
            settings=tuple(sorted(asdict(made).items())),
            labelled_percent=20.0 if made.needs_labels else None,
            seed=0,
            budget=Budget(epochs=1, batch_size=16, filters=4),
            code="",
            data_title=tiny.title,
            method_title=made.title,
            variant=method,
        )
        return replace(trial, **changes)  # type: ignore[arg-type]

    return make


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bench:
    """Call the command in this process: (exit code, standard output, standard error)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [str(BENCH), *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
