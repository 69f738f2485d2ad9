"""Files from elsewhere are data: nothing in them runs, leads out of its folder, or grows without end."""

from __future__ import annotations

import ast
import gzip
import json
import pickle
import re
import shutil
import tomllib
from collections.abc import Callable
from importlib.metadata import requires, version
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY

from bench import page, registry
from bench.base.errors import BenchError
from bench.data.subtomograms import Subtomograms
from bench.simulation import structure
from bench.trials import predictor as predictors
from bench.trials.run import run
from bench.trials.store import Store
from bench.trials.trial import Result, Runtime, Status, Trial
from faults.conftest import Start, statuses

ROOT = Path(__file__).parents[2]
SOURCES = [p for folder in ("bench", "methods", "datasets") for p in sorted((ROOT / folder).rglob("*.py"))]
EXECUTES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "subprocess"}
MARKUP = "<script>alert(1)</script>"
Call = Callable[..., tuple[int, str, str]]


class Trap:
    """Pickled, it opens a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.fixture
def sprung(tmp_path: Path) -> Path:
    return tmp_path / "sprung"


@pytest.fixture
def trap(sprung: Path) -> bytes:
    content = pickle.dumps(Trap(sprung))
    pickle.loads(content).close()
    assert sprung.exists(), "the trap works"
    sprung.unlink()
    return content


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_source_reads_what_could_run(path: Path) -> None:
    starts_itself = {"subprocess"} if path.name == "sweeper.py" else set()  # this file, with a number; nothing else
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not {alias.name.partition(".")[0] for alias in node.names} & (EXECUTES - starts_itself)
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] not in EXECUTES
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "torch.load", "os.system", "pd.read_pickle", "compile")
            assert not (called == "np.load" and any(k.arg == "allow_pickle" for k in node.keywords))


@pytest.mark.parametrize("name", ["volumes.npy", "labels.npy", "meta.json"])
def test_a_set_with_a_pickle_in_it_is_refused(
    name: str, trap: bytes, sprung: Path, bench: Call, tmp_path: Path
) -> None:
    registry.dataset("phantoms", {"box": 8, "per_class": 3}).load().save(tmp_path)
    for content in (
        trap,
        b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }" + trap,
    ):
        (tmp_path / name).write_bytes(content)
        code, _, err = bench("run", "--dataset", "particles", "--data", tmp_path, "--out", tmp_path / "out")
        assert code == 2, err
        assert len(err.strip().splitlines()) == 1
        assert not sprung.exists()


@pytest.mark.parametrize("name", ["weights.safetensors", "reconstructions.npy", "result.json", "checkpoint"])
def test_a_trial_with_a_pickle_in_it_is_not_believed(
    name: str,
    trap: bytes,
    sprung: Path,
    make_trial: Callable[..., Trial],
    runtime: Runtime,
    tiny_folder: Path,
    tmp_path: Path,
) -> None:
    store, trial = Store.create(tmp_path / "out"), make_trial("autoencoding")
    store.write(trial, run(trial, tiny_folder, runtime), "cpu")
    store.plan([trial])
    home = store.home(trial.key())
    if name == "checkpoint":
        from bench.learning.checkpoint import Checkpoints

        (home / "checkpoint").mkdir()
        (home / "checkpoint" / f"000001-{'0' * 64}.safetensors").write_bytes(trap)
        assert Checkpoints(home / "checkpoint").recall("0 training None") is None
    else:
        (home / name).write_bytes(trap)
        if name != "reconstructions.npy":
            with pytest.raises(BenchError):
                predictors.load(store, trial.key())
        assert name != "reconstructions.npy" or store.reconstructions(trial.key()) is None
        assert name != "result.json" or store.status(trial) == "missing"
    assert not sprung.exists()


def test_a_trial_under_another_s_name_is_not_believed(
    make_trial: Callable[..., Trial],
    runtime: Runtime,
    tiny_folder: Path,
    tmp_path: Path,
) -> None:
    store, ours, other = Store.create(tmp_path / "out"), make_trial(), make_trial(seed=1)
    store.write(ours, run(ours, tiny_folder, runtime), "cpu")
    shutil.copytree(store.home(ours.key()), store.home(other.key()))
    assert (store.status(ours), store.status(other)) == ("done", "missing")


def test_an_error_that_no_terminal_or_file_takes_is_told_all_the_same(
    make_trial: Callable[..., Trial], tmp_path: Path
) -> None:
    store, trial = Store.create(tmp_path / "out"), make_trial()
    store.write(trial, Result(Status.FAILED, "no \udcff, \x1b[2J", "at \udcff"), "cpu")
    store.plan([trial])
    assert store.rows()["error"].tolist() == ["no ?, ?[2J"]
    page.write(store.rows(), store.folder, store)


@pytest.mark.parametrize("key", ["../../../etc", "/etc", "..", "a/b", "", "0123456789abcdeg"])
def test_a_plan_that_leads_out_of_its_folder_is_refused(key: str, tmp_path: Path) -> None:
    store = Store.create(tmp_path / "out")
    (store.folder / "plan.json").write_text(json.dumps({key: {}}))
    with pytest.raises(BenchError, match=r"plan\.json"):
        store.records()


@pytest.mark.parametrize("name", ["..", "../../up", "/etc/cron.d", ".", "...", "a/../../b"])
def test_a_class_cannot_name_a_folder_outside(name: str, tmp_path: Path) -> None:
    from bench.commands import simulate

    volumes = np.random.default_rng(0).normal(size=(2, 8, 8, 8)).astype(np.float32)
    made = Subtomograms(volumes, np.array([0, 1]), (name, "fine"), 10.0, "set")
    out = tmp_path / "a" / "b"
    out.mkdir(parents=True)
    paths = simulate._boxes(made, out)
    assert all((out / p).resolve().is_relative_to((out / "subtomograms").resolve()) for p in paths)
    assert all((out / p).parent != out / "subtomograms" for p in paths)
    assert {p.name for p in tmp_path.iterdir()} == {"a"}


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "two\nlines", "bell\x07", "a\u202eb"])
def test_names_that_command_a_terminal_are_refused(name: str) -> None:
    volumes = np.random.default_rng(0).normal(size=(2, 8, 8, 8)).astype(np.float32)
    for names, title in (((name, "fine"), "set"), (("a", "b"), name)):
        with pytest.raises(BenchError, match="control characters"):
            Subtomograms(volumes, np.array([0, 1]), names, 10.0, title)


def test_markup_in_names_is_text_on_the_page(bench: Call, tmp_path: Path) -> None:
    """Class names, titles, hyperparameters and errors all come from somebody's files."""
    from bench.files import volume

    data = tmp_path / MARKUP.replace("/", "⁄")
    for label in ("<b>a", "b&b"):
        (data / label).mkdir(parents=True)
        for i in range(8):
            voxels = np.random.default_rng(i).normal(size=(8, 8, 8)).astype(np.float32)
            volume.write(data / label / f"{i}.mrc", voxels, 10.0)
    options = ["--dataset", "folder", "--data", data, "--methods", "supervised,autoencoder", "--fractions", "100"]
    code, _, err = bench(
        "run", *options, "--epochs", "1", "--seeds", "1", "--backend", "serial", "--out", tmp_path / "o"
    )
    assert code == 0, err
    page = (tmp_path / "o" / "report.html").read_text()
    assert page.count("<script") == 1  # ours, which tests/test_page.py looks at
    assert "&lt;script&gt;" in page
    assert "<b>a" not in page
    assert "<img" not in page


def test_code_of_other_packages_runs_when_named_only(start: Start, faulty: dict[str, str], tmp_path: Path) -> None:
    """Neither to list, nor to run all, nor to predict or report with a folder that somebody sends."""
    package = tmp_path / "package" / "faulty.py"
    package.write_text(package.read_text() + f"\nopen({str(tmp_path / 'sprung')!r}, 'w').close()\n")
    assert start("list", "methods", extra=faulty).wait() == 0
    options = [*TINY, "--fractions", "40", "--backend", "serial"]
    out = tmp_path / "out"
    assert start("run", *options, "--methods", "all", "--out", out, extra=faulty).wait() == 0
    assert "raises" not in statuses(out)
    assert not (tmp_path / "sprung").exists()
    named = start("run", *options, "--methods", "leaves_a_mess", "--out", tmp_path / "named", extra=faulty)
    assert named.wait() == 0, named.output()
    assert (tmp_path / "sprung").exists()
    (tmp_path / "sprung").unlink()
    for command in (["report", tmp_path / "named"], ["status", tmp_path / "named"]):
        assert start(*command, extra=faulty).wait() == 0
    table = tmp_path / "boxes.csv"
    table.write_text("x,y,z\n1,1,1\n")
    said = start("predict", tmp_path / "named", "--table", table, "--out", tmp_path / "named.csv", extra=faulty)
    assert said.wait() == 2
    assert "no finished classifier" in said.output()
    assert not (tmp_path / "sprung").exists()


def test_a_structure_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure, "LARGEST_IN_BYTES", 2**24)
    bomb = tmp_path / "1ABC.pdb.gz"
    with gzip.open(bomb, "wb", 9) as file:
        for _ in range(64):
            file.write(bytes(2**20))
    assert bomb.stat().st_size < 2**17
    with pytest.raises(BenchError, match="when unpacked"):
        structure.read(bomb)


def test_an_assembly_that_multiplies_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure, "LARGEST_IN_ATOMS", 10)
    lines = ["REMARK 350 BIOMOLECULE: 1", "REMARK 350 APPLY THE FOLLOWING TO CHAINS: A"]
    for i in range(1, 21):
        for row, axis in enumerate(np.eye(3), 1):
            cells = "".join(f"{value:10.6f}" for value in axis)
            lines.append(f"REMARK 350   BIOMT{row} {i:3d}{cells}{10.0 * i:15.5f}")
    lines += ["ATOM      1  CA  ALA A   1      11.000  12.000  13.000  1.00 10.00           C", "END"]
    (tmp_path / "many.pdb").write_text("\n".join(lines) + "\n")
    with pytest.raises(BenchError, match="20 copies"):
        structure.read(tmp_path / "many.pdb", assembly="1")


def test_what_is_installed_is_what_is_pinned() -> None:
    """Offline, for what an audit with a network checks on: SECURITY.md has its command."""
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", line):
            pins[re.sub(r"[-_.]+", "-", match[1]).lower()] = match[2]
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    needed, seen = [re.split(r"[\[<>=!~; ]", text)[0] for text in declared], {"setuptools"}  # comes with Python
    while needed:
        name = re.sub(r"[-_.]+", "-", needed.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = version(name)
        except ImportError:  # of another system
            continue
        assert name in pins, f"{name} {found} is not in constraints.txt"
        assert found.partition("+")[0] == pins[name].partition("+")[0], name
        needed += [re.split(r"[\[<>=!~;( ]", text)[0] for text in requires(name) or [] if "extra ==" not in text]
    assert len(seen) > 20
