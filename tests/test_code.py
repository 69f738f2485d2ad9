"""What a trial's identity covers: each change of code that can move its numbers, and no other."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOVES = [  # (file, text, what takes its place): a number of `supervised` may move
    ("bench/data/split.py", "VALIDATION_FRACTION = 0.1", "VALIDATION_FRACTION = 0.2"),
    ("bench/learning/feed.py", ".div_(self._std)", ".div_(self._std + 1)"),
    ("bench/data/subtomograms.py", 'mmap_mode="r"', "mmap_mode=None"),
    ("bench/base/seeds.py", ">> 1", ">> 2"),
    ("bench/base/arrays.py", "UNLABELLED = -1", "UNLABELLED = -2"),
    ("bench/learning/recipe.py", "betas=(0.9, 0.99)", "betas=(0.9, 0.999)"),
    ("bench/trials/prepare.py", "set_grad_enabled(True)", "set_grad_enabled(False)"),
    ("methods/supervised.py", "import dataclass", "import dataclass as dataclass"),
]
MOVES_NOTHING = [
    ("bench/learning/checkpoint.py", "KEPT = 2", "KEPT = 3"),
    ("bench/learning/trainer.py", "class Trainer(", "class Trainer(  # a comment\n   "),
    ("bench/data/split.py", '"""Split a data set', '"""Divide a data set'),
    ("bench/base/errors.py", '"""One line', '"""A line'),
    ("bench/base/console.py", "LOG_INTERVAL_IN_SECONDS = 20.0", "LOG_INTERVAL_IN_SECONDS = 10.0"),
    ("bench/trials/trial.py", 'MISSING = "missing"', 'MISSING = "absent"'),
    ("methods/supervised.py", "Supervised 3D-CNN", "Something else"),
    ("datasets/phantoms.py", "default=0.5", "default=0.6"),
    ("methods/m2.py", "LATENT_SIZE = 50", "LATENT_SIZE = 40"),
    ("bench/base/parameters.py", '"help": help', '"help": help.upper()'),
]
METRIC = ("bench/trials/metrics.py", "ECE_BINS = 15", "ECE_BINS = 10")
ASK = """
import json, sys
from pathlib import Path
from bench.base.code import _read
from bench.trials.run import scoring_code, training_code

def ask():
    _read.cache_clear()
    return [training_code("supervised"), scoring_code()]

found = [ask()]
for path, old, new in json.load(sys.stdin):
    before = Path(path).read_text()
    assert old in before, (path, old)
    Path(path).write_text(before.replace(old, new, 1))
    found.append(ask())
    Path(path).write_text(before)
print(json.dumps(found))
"""
Change = tuple[str, str, str]


@pytest.fixture(scope="module")
def digests(tmp_path_factory: pytest.TempPathFactory) -> dict[Change | None, list[str]]:
    """[training, scoring] hash for `supervised` after each change in a copy of the code; None: unchanged."""
    root = tmp_path_factory.mktemp("checkout")
    for folder in ("bench", "methods", "datasets"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    changes = [*MOVES, *MOVES_NOTHING, METRIC]
    command = [sys.executable, "-B", "-c", ASK]
    done = subprocess.run(command, cwd=root, input=json.dumps(changes), capture_output=True, text=True, check=True)
    return dict(zip([None, *changes], json.loads(done.stdout)))


@pytest.mark.parametrize("change", MOVES, ids=lambda change: change[0])
def test_what_moves_a_number_is_another_trial(change: Change, digests: dict[Change | None, list[str]]) -> None:
    assert digests[change][0] != digests[None][0]


@pytest.mark.parametrize("change", MOVES_NOTHING, ids=lambda change: change[0])
def test_what_moves_no_number_is_the_same_trial(change: Change, digests: dict[Change | None, list[str]]) -> None:
    assert digests[change] == digests[None]


def test_a_metric_moves_the_scores_alone(digests: dict[Change | None, list[str]]) -> None:
    assert digests[METRIC][0] == digests[None][0]
    assert digests[METRIC][1] != digests[None][1]


def test_help_text_and_range_of_a_parameter_do_not_count_but_its_default_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.base.code import _read, code_digest

    monkeypatch.syspath_prepend(tmp_path)
    made = {}
    for i, call in enumerate(('1.0, "weight"', '1.0, "weight of the loss", low=0', '2.0, "weight"')):
        (tmp_path / "declares.py").write_text(f"class Method:\n    alpha: float = parameter({call})\n")
        _read.cache_clear()
        importlib.invalidate_caches()
        made[i] = code_digest("declares")
    assert made[0] == made[1] != made[2]


def test_a_method_s_own_package_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module that a method of another package imports, relative or by name, is part of its trials too."""
    from bench.base.code import _read, code_digest

    package = tmp_path / "somebody"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "method.py").write_text("from . import parts\nfrom somebody.more import x\nimport json\n")
    (package / "parts.py").write_text("A = 1\n")
    (package / "more.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)

    def ask() -> str:
        _read.cache_clear()
        importlib.invalidate_caches()
        return code_digest("somebody.method")

    before = ask()
    (package / "parts.py").write_text("A = 1  # the same\n")
    assert ask() == before
    (package / "hidden.py").write_text("B = 1\n")
    before = ask()
    for name, text in (("parts.py", "A = 2\n"), ("more.py", "x = 2\n"), ("hidden.py", "B = 2\n")):
        (package / name).write_text(text)
        assert ask() != before
        before = ask()


def test_a_name_taken_from_bench_counts_as_the_module_that_defines_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import bench
    from bench.base.code import code_digest

    (tmp_path / "taker.py").write_text("from bench import UNLABELLED, __version__\n")
    monkeypatch.syspath_prepend(tmp_path)
    whole = code_digest("taker")
    monkeypatch.setattr(bench, "home_of", lambda name: "bench")
    assert code_digest("taker") != whole
