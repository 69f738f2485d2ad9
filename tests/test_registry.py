"""Found by being there: files of ours, entry points of other packages."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import BENCH, TINY, Bench

from bench import registry
from bench.base.errors import BenchError
from bench.base.parameters import Range

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "nearest-centroid"
version = "1.2"
[project.entry-points."bench.methods"]
nearest_centroid = "nearest_centroid:NearestCentroid"
[tool.setuptools]
py-modules = ["nearest_centroid"]
"""

MODULE = '''
from dataclasses import dataclass

import torch
from torch import nn

from bench.learning.method import Method


class Centroids(nn.Module):
    def __init__(self, centroids):
        super().__init__()
        self.register_buffer("centroids", centroids)

    def logits(self, volumes):
        return -torch.cdist(volumes.flatten(1), self.centroids)


@dataclass(frozen=True)
class NearestCentroid(Method):
    """Name a volume after the nearest class mean."""

    title = "Nearest centroid"
    neighbours: int = 1

    def build(self, backbone):
        return Centroids(torch.zeros(backbone.n_classes, backbone.box**3))

    def loss(self, network, batch):
        return nn.functional.cross_entropy(network.logits(batch.volumes), batch.labels)

    def fit(self, data, trainer):
        known = data.labelled()
        means = [known.volumes[known.labels == c].flatten(1).mean(0) for c in range(trainer.backbone.n_classes)]
        return Centroids(torch.stack(means))
'''


@pytest.mark.parametrize("group", [registry.METHODS, registry.DATASETS])
def test_each_is_listed_with_the_first_line_of_its_docstring(group: str) -> None:
    make = registry.method if group == registry.METHODS else registry.dataset
    for name, entry in registry.entries(group).items():
        said = inspect.getdoc(type(make(name)))
        assert said
        assert entry.summary == said.partition("\n")[0]


def test_a_method_of_another_package_is_listed_and_ranked(tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    (source / "pyproject.toml").write_text(PYPROJECT)
    (source / "nearest_centroid.py").write_text(MODULE)
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*pip, "--target", site, source], check=True, capture_output=True)
    environment = os.environ | {"PYTHONPATH": str(site)}

    def bench(*arguments: object) -> str:
        command = [BENCH, *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=tmp_path)
        return done.stdout

    listed = [" ".join(line.split()) for line in bench("list", "methods").splitlines()]
    assert "nearest_centroid from the package nearest-centroid 1.2" in listed
    assert "nearest_centroid.neighbours" not in bench("list", "methods", "--parameters")  # its code has not run
    assert "nearest_centroid.neighbours  1" in bench("list", "methods", "nearest_centroid", "--parameters")
    options = ["--fractions", "20", "--backend", "serial", "--out", tmp_path / "out"]  # through Ray: faults/
    bench("run", *TINY, "--methods", "nearest_centroid,supervised", *options)
    board = pd.read_csv(tmp_path / "out" / "leaderboard.csv")
    assert set(board["variant"]) == {"nearest_centroid", "supervised"}
    assert board["rank"].notna().all()


def test_our_methods_and_data_sets_are_there() -> None:
    ours = {"autoencoding", "supervised", "self_training", "pretrained", "m2", "autoencoder"}
    assert ours <= set(registry.entries(registry.METHODS))
    assert {"phantoms", "maps", "folder"} <= set(registry.entries(registry.DATASETS))


def test_all_means_the_built_in_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    monkeypatch.setattr(registry, "entry_points", lambda group: [EntryPoint("other", "other:Other", group)])
    assert "other" not in registry.names(registry.METHODS, "all")
    assert {"m2", "rim"} < {*registry.names(registry.METHODS, "paper")} < {*registry.names(registry.METHODS, "all")}
    assert registry.names(registry.METHODS, "supervised,paper,other")[0] == "supervised"
    assert registry.names(registry.METHODS, "all,other")[-1] == "other"


def test_two_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    twin = EntryPoint("m2", "other.package:M2", registry.METHODS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [twin])
    with pytest.raises(BenchError, match="'m2'"):
        registry.entries(registry.METHODS)


def test_an_entry_point_that_is_no_method_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    nothing = r"0 classes .* bench\.Method;"
    for target, message in (
        ("pathlib:Path", nothing),
        ("os:getcwd", nothing),
        ("os:environ", nothing),
        ("pathlib:nothing", "pathlib has no nothing; mend the entry point"),
        ("no_such_package:Method", "cannot be imported"),
    ):
        stray = EntryPoint("stray", target, registry.METHODS)
        monkeypatch.setattr(registry, "entry_points", lambda group, stray=stray: [stray])
        with pytest.raises(BenchError, match=f"{target}: {message}"):
            registry.method("stray")


BROKEN = {
    "no_default": (
        "@dataclass(frozen=True)",
        "weight: float",
        "cannot be made .*weight.*; give each parameter a default",
    ),
    "no_dataclass": ("", "weight: float = 1.0", r"weight would be no parameter; put @dataclass\(frozen=True\) above"),
    "bad_default": (
        "@dataclass(frozen=True)",
        'weight: float = parameter(-1.0, "w", low=0)',
        "weight -1: must be 0 or more",
    ),
    "raises": ("@dataclass(frozen=True)", "def __post_init__(self): raise OSError(5)", "cannot be made .OSError"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_method_of_another_package_is_one_line_before_data_are_made(
    case: str, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.metadata import EntryPoint

    decorator, body, message = BROKEN[case]
    (tmp_path / f"{case}.py").write_text(
        "from dataclasses import dataclass\nfrom bench import Classifier, parameter\n"
        f"{decorator}\nclass Broken(Classifier):\n    title = 'Broken'\n    {body}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    stray = EntryPoint("stray", f"{case}:Broken", registry.METHODS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [stray] if group == registry.METHODS else [])
    code, _, err = bench("run", "--methods", "stray", "--backend", "serial", "--out", tmp_path / "out")
    assert (code, len(err.splitlines())) == (2, 1)
    assert re.search(rf"{case}\.Broken: {message}", err), err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("group", [registry.METHODS, registry.DATASETS])
@pytest.mark.parametrize("code", ["raise RuntimeError('boom\\nmore')", "raise SystemExit", "import no_such_package"])
def test_a_package_that_cannot_be_imported_is_one_line_before_data_are_made(
    code: str, group: str, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.metadata import EntryPoint

    (tmp_path / "broken_package.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    stray = EntryPoint("stray", "broken_package:Broken", group)
    monkeypatch.setattr(registry, "entry_points", lambda group: [stray] if group == stray.group else [])
    named = ["--methods", "stray"] if group == registry.METHODS else ["--dataset", "stray"]
    exit_code, _, err = bench("run", *named, "--backend", "serial", "--out", tmp_path / "out")
    assert (exit_code, len(err.splitlines())) == (2, 1)
    assert "broken_package:Broken: cannot be imported (" in err
    assert not (tmp_path / "out").exists()


def test_a_method_without_a_title_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.methods.supervised import Supervised

    monkeypatch.delattr(Supervised, "title")
    with pytest.raises(BenchError, match=r"Supervised: no title; add"):
        registry.method("supervised")


@pytest.mark.parametrize("group", [registry.METHODS, registry.DATASETS])
def test_each_parameter_has_a_default_a_help_text_and_a_range(group: str) -> None:
    for name in registry.names(group, "all"):
        for parameter in registry.parameters(group, name):
            assert len(parameter.help.split()) >= 3, f"{name}.{parameter.name}"
            assert str(parameter.range) or parameter.kind in (str, bool), f"{name}.{parameter.name}"
    known = {p.name: p for p in registry.parameters(registry.METHODS, "autoencoding")}
    assert list(known) == ["alpha", "beta"]
    assert known["alpha"] == ("alpha", 1.0, "weight of the reconstruction loss", float, Range(0, 1e6))


def test_the_folder_is_no_parameter() -> None:
    assert "folder" not in [p.name for p in registry.parameters(registry.DATASETS, "maps")]
    with pytest.raises(BenchError, match=r"no parameter 'folder'; it has: .*threshold"):
        registry.dataset("maps", {"folder": "."})


def test_settings_take_the_type_of_the_default() -> None:
    assert registry.method("autoencoding", {"beta": "2"}).beta == 2.0
    assert registry.method("self_training", {"thresholds": "(0.5, 0.9)"}).thresholds == (0.5, 0.9)
    assert registry.dataset("phantoms", {"box": "24"}).box == 24
    for given, taken in (("13", 13.0), (13, 13.0), ("None", None), (None, None)):  # the default is None, the type float
        made = registry.dataset("simulated", {"voxel_size_in_angstroms": given})
        assert made.voxel_size_in_angstroms == taken
        assert type(made.voxel_size_in_angstroms) is type(taken)
    with pytest.raises(BenchError, match="not of the type float"):
        registry.dataset("simulated", {"voxel_size_in_angstroms": "True"})
    with pytest.raises(BenchError, match=r"phantoms\.box"):
        registry.dataset("phantoms", {"box": "24.5"})


@pytest.mark.parametrize(
    ("group", "name", "key", "value", "allowed"),
    [
        (registry.DATASETS, "phantoms", "box", "0", "from 8 to 1,024"),
        (registry.DATASETS, "phantoms", "per_class", "9" * 20, "from 1 to 1,000,000"),
        (registry.DATASETS, "phantoms", "per_class", "9" * 400, "from 1 to 1,000,000"),
        (registry.DATASETS, "phantoms", "seed", "-1", "from 0 to"),
        (registry.DATASETS, "phantoms", "snr", "1e-300", "from 1e-12 to"),
        (registry.DATASETS, "phantoms", "test_fraction", "1.0", "from 0.001 to 0.999"),
        (registry.DATASETS, "maps", "threshold", "1e999", "from -1,000,000,000 to"),
        (registry.DATASETS, "simulated", "neighbours", "1000000", "from 0 to 100"),
        (registry.DATASETS, "simulated", "device", "tpu", "cpu or cuda"),
        (registry.DATASETS, "simulated", "assembly", "", "not empty"),
        (registry.METHODS, "autoencoding", "alpha", "-1", "from 0 to 1,000,000"),
        (registry.METHODS, "self_training", "thresholds", "(0.5, 2.0)", "from 0 to 1"),
        (registry.METHODS, "self_training", "thresholds", "('a',)", "from 0 to 1"),
        (registry.METHODS, "self_training", "thresholds", "()", "from 0 to 1"),
        (registry.METHODS, "self_training", "thresholds", "((0.5,),)", "from 0 to 1"),
    ],
)
def test_a_value_out_of_range_is_one_line(group: str, name: str, key: str, value: str, allowed: str) -> None:
    make = registry.method if group == registry.METHODS else registry.dataset
    with pytest.raises(BenchError) as caught:
        make(name, {key: value})
    assert str(caught.value).startswith(f"--set {name}.{key}={value}: must be ")
    assert allowed in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["9" * 400, "-" * 5000 + "1", "{[]: 1}", "(" * 1000, "9" * 5000])
def test_what_python_itself_cannot_read_is_one_line(value: str) -> None:
    with pytest.raises(BenchError, match=r"not a value like 1\.0") as caught:
        registry.method("autoencoding", {"alpha": value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["true", "True", "TRUE", True])
def test_a_switch_takes_true_in_any_writing(value: object) -> None:
    assert registry.method("fixmatch", {"soft": value}) == registry.method("fixmatch", {"soft": True})
    with pytest.raises(BenchError, match="not a value like False"):
        registry.method("fixmatch", {"soft": "yes"})


def test_a_number_of_a_package_that_states_no_range_is_finite() -> None:
    anything = Range()
    assert all(value in anything for value in (0, -1e300, True, "text", (1.0, 2.0)))
    assert not any(value in anything for value in (float("nan"), float("inf"), "", (1.0, float("nan"))))
