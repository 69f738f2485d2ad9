"""The README's two examples as a user takes them: a package of their own, installed, listed and run."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pandas as pd
from conftest import BENCH

PAGE = (Path(__file__).parents[1] / "README.md").read_text()
POINTS = "[bench.methods]\nsmoothed = my_method:Smoothed\n[bench.datasets]\nblobs = my_data:Blobs\n"


def _code(heading: str) -> str:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0], re.DOTALL)
    return str(code)


def test_the_examples_run_as_they_stand(tmp_path: Path) -> None:
    info = tmp_path / "site" / "mine-1.0.dist-info"
    info.mkdir(parents=True)
    (info.parent / "my_method.py").write_text(_code("Add a method"))
    (info.parent / "my_data.py").write_text(_code("Add a data set"))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    path = os.pathsep.join([str(info.parent), *filter(None, [os.environ.get("PYTHONPATH")])])

    def bench(*arguments: object) -> str:
        command, environment = [BENCH, *map(str, arguments)], os.environ | {"PYTHONPATH": path}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert re.search(r"smoothed\.smoothing +0\.1 +\w+", bench("list", "methods", "smoothed", "--parameters"))
    assert re.search(r"blobs\.per_class +200 +\w+", bench("list", "datasets", "blobs", "--parameters"))
    options = ["--methods", "smoothed,supervised", "--dataset", "blobs", "--fractions", "40", "--seeds", "1"]
    options += ["--epochs", "1", "--backend", "serial", "--set", "blobs.per_class=40"]
    assert "Supervised, smoothed labels" in bench("run", *options, "--out", "out")
    rows = pd.read_csv(tmp_path / "out" / "rows.csv").set_index("method")
    assert rows["status"].to_dict() == {"smoothed": "done", "supervised": "done"}
    assert rows.loc["smoothed", "accuracy"] >= 0
