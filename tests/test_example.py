"""The example goes the whole way, and what comes out is far better than guessing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BENCH

SCRIPT = Path(__file__).parents[1] / "examples" / "simulated_tomogram.py"


@pytest.mark.timeout(900)
def test_from_a_tomogram_to_named_particles(structures: Path, tmp_path: Path) -> None:
    three = tmp_path / "three"
    three.mkdir()
    for name in ("4v5a_assembly1_from_mmtf.cif.gz", "1ryp_from_gro.cif.gz", "1mnf.pdb.gz"):
        (three / name).symlink_to(structures / name)
    small = ["--shape", "48,224,224", "--per-class", "20", "--epochs", "12", "--step-in-degrees", "40"]
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), str(three), str(tmp_path / "out"), *small],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PATH": f"{BENCH.parent}:{os.environ['PATH']}"},
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    ribosome = re.search(r"F1 ([0-9.]+)  4v5a", ended.stdout)
    assert ribosome is not None
    assert float(ribosome[1]) > 0.7  # the best guess, every pick a ribosome, has 2 · 20 / (80 + 20) = 0.4
