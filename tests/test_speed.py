"""The benchmarks' own tools: the gate fails where it should, the single step runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

SPEED = Path(__file__).with_name("speed")


def _pair(
    name: str, plain: float, fast: float, mib: tuple[float, float] = (100, 50), gated: bool = True
) -> list[dict[str, object]]:
    """Both forms of a benchmark as pytest-benchmark writes them; seconds."""
    info = {"name": name, "gigaflops": 0.0, "pieces": 1, "memory_part": 0.6, "gated": gated}
    return [
        {"extra_info": info | {"form": form, "memory_mib": memory}, "stats": {"min": seconds}}
        for form, seconds, memory in (("plain", plain, mib[0]), ("fast", fast, mib[1]))
    ]


def _law(takes: float) -> list[dict[str, object]]:
    return [{"extra_info": {"name": "twice the data", "takes": takes, "law": [1.5, 2.7]}, "stats": {"min": 1.0}}]


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (_pair("step", 4.0, 1.0) + _law(2.0), "no ratio has fallen, no law is broken"),
        (_pair("step", 3.0, 1.0) + _law(2.0), "no ratio has fallen, no law is broken"),
        (_pair("step", 2.0, 1.0) + _law(2.0), "step: 2.0× now, 4.0× before"),
        (_law(2.0), "step: 0.0× now, 4.0× before"),
        (_pair("step", 4.0, 1.0) + _pair("new", 4.0, 1.0), "new: no stored ratio"),
        (_pair("step", 4.0, 1.0) + _pair("SGEMM", 4.0, 4.0, gated=False), "no ratio has fallen, no law is broken"),
        (_pair("step", 4.0, 1.0, mib=(100, 70)), "step: 70 MiB, more than 0.6 of the plain form's"),
        (_pair("step", 4.0, 1.0) + _law(4.0), "twice the data: takes 4.00× the time, not 1.5 to 2.7×"),
        (_pair("step", 4.0, 1.0) + _law(1.0), "twice the data: takes 1.00× the time, not 1.5 to 2.7×"),
    ],
)
def test_the_gate_of_the_benchmarks(runs: list[dict[str, object]], said: str, tmp_path: Path) -> None:
    (tmp_path / "speed.json").write_text(json.dumps({"benchmarks": runs}))
    (tmp_path / "ratios.json").write_text(json.dumps({"step": 4.0}))
    command = [sys.executable, SPEED / "ratios.py", tmp_path / "speed.json", tmp_path / "ratios.json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert said in done.stdout
    assert done.returncode == (0 if said.startswith("no ratio") else 1), done.stdout + done.stderr


@pytest.mark.parametrize("form", ["plain", "fast"])
def test_one_step_runs_by_itself(form: str) -> None:
    command = [sys.executable, SPEED / "one_step.py", form, "8", "4", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert re.match(form + r" 8³ batch 4: [\d.]+ s, [\d.]+ volumes/s, peak \d+ MiB\n", done.stdout), done.stderr
