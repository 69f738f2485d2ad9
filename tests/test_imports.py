"""What can be imported, from a checkout and from an installation."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bench
from bench import registry
from bench.files import volume

ROOT = Path(__file__).parents[1]
SCRIPT = """
import json, site, sys
from importlib.util import find_spec
for folder in sys.argv[1:]:
    site.addsitedir(folder)  # unlike PYTHONPATH, with the finders of `pip install -e`
names = ["bench", "bench.methods.rim", "bench.datasets.phantoms", "bench.base.errors"]
names += ["bench.tests", "bench.docs", "bench.examples", "bench.bench", "bench.results", "bench.conftest"]
print(json.dumps({name: spec.origin for name in names if (spec := find_spec(name))}))
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout."""
    copy = tmp_path_factory.mktemp("copy") / "checkout"
    unwanted = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "runs")
    shutil.copytree(ROOT, copy, ignore=unwanted)
    return copy


@pytest.mark.parametrize("how", ["first on the path", "editable", "wheel"])
def test_methods_and_data_sets_are_found_and_nothing_else_beside_them(how: str, checkout: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    sites: list[str] = []
    if how == "first on the path":
        environment["PYTHONPATH"] = str(checkout)
    else:
        pytest.importorskip("setuptools", minversion="77")  # as pyproject.toml has it
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
        pip += ["--ignore-installed", "--prefix", str(tmp_path / "prefix"), *["--editable"] * (how == "editable")]
        subprocess.run([*pip, str(checkout)], check=True, capture_output=True)
        sites = [str(path) for path in (tmp_path / "prefix").rglob("site-packages")]
    # -S: without the installation that these tests run in.
    command = [sys.executable, "-S", "-c", SCRIPT, *sites]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    if how == "wheel":
        home = Path(sites[0]) / "bench"
        methods, datasets = home / "methods", home / "datasets"
    else:
        home, methods, datasets = (checkout / name for name in ("bench", "methods", "datasets"))
    assert found == {
        "bench": str(home / "__init__.py"),
        "bench.base.errors": str(home / "base/errors.py"),
        "bench.methods.rim": str(methods / "rim.py"),
        "bench.datasets.phantoms": str(datasets / "phantoms.py"),
    }


def test_a_checkout_has_its_own_methods_where_another_is_installed(checkout: Path, tmp_path: Path) -> None:
    script = "import bench.methods, bench.datasets; print(bench.methods.__file__, bench.datasets.__file__)"
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(checkout / name / "__init__.py") for name in ("methods", "datasets")]


def test_the_package_alone_imports_nothing_heavy() -> None:
    script = "import bench, sys; print({'numpy', 'pandas', 'ray', 'torch'} & {*sys.modules}, bench.Batch.__name__)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set() Batch\n"


def test_a_script_runs_and_predicts_with_names_of_bench(tmp_path: Path) -> None:
    rng, boxes = np.random.default_rng(0), tmp_path / "boxes"
    boxes.mkdir()
    voxel_size = registry.dataset("phantoms", {"box": 8, "per_class": 1}).load().voxel_size_in_angstroms
    for i in range(3):
        volume.write(boxes / f"{i}.mrc", rng.normal(size=(12, 12, 12)).astype(np.float32), voxel_size)
    (tmp_path / "table.star").write_text(
        "data_\n\nloop_\n_rlnImageName #1\n" + "".join(f"{boxes}/{i}.mrc\n" for i in range(3))
    )
    tiny = ("phantoms.box=8", "phantoms.per_class=30")
    options = {"methods": "supervised", "fractions": "40", "seeds": 1, "epochs": 1, "backend": "serial"}
    out, table = tmp_path / "runs", tmp_path / "named.star"
    assert bench.run([bench.RunRequest(out=str(out), settings=tiny, **options)], bench.Console())
    said = bench.predict(bench.PredictRequest(out, str(tmp_path / "table.star"), table), bench.Console())
    assert sum(said.counts.values()) == 3
    assert table.is_file()


@pytest.mark.parametrize("folder", ["methods", "datasets"])
def test_the_folders_refuse_to_be_imported_under_another_name(folder: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"import {folder}"], cwd=ROOT, capture_output=True, text=True)
    assert f"import this folder as `bench.{folder}`" in done.stderr


def test_a_library_that_asks_for_another_datasets_hears_that_it_is_not_there() -> None:
    script = "try: import datasets\nexcept ImportError: print('absent')"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "absent\n"
