"""What differs between machines: the unit of the peak, the faults that only Linux can have, real input."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.base.machine import peak_in_mebibytes, start_peak

TESTS = Path(__file__).parent


@pytest.mark.parametrize(("platform", "unit_in_bytes"), [("linux", 1024), ("darwin", 1)])
def test_the_peak_is_in_mebibytes_where_there_is_no_proc(
    platform: str, unit_in_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(path: Path, **_: object) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", none)
    monkeypatch.setattr(sys, "platform", platform)
    used = SimpleNamespace(ru_maxrss=300 * 2**20 // unit_in_bytes)
    monkeypatch.setattr(resource, "getrusage", lambda who: used)
    assert peak_in_mebibytes("cpu") == 300


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak does not start anew")
def test_the_peak_since_the_start_has_what_was_taken() -> None:
    start_peak("cpu")
    before = peak_in_mebibytes("cpu")
    block = b"x" * (200 * 2**20)
    assert peak_in_mebibytes("cpu") - before == pytest.approx(200, abs=20)
    del block


def _pytest(folder: Path, first: str, **environment: str) -> str:
    """What pytest says of the tests in a folder, in a process of its own that has run `first`."""
    script = f"import sys, pytest; {first}; sys.exit(pytest.main(sys.argv[1:]))"
    command = [sys.executable, "-c", script, "-q", "-rs", "-p", "no:cacheprovider", str(folder)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SUBTOMOBENCH", "PYTEST"))}
    done = subprocess.run(command, cwd=folder.parent, env=kept | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_faults_are_skipped_with_a_reason_on_macos() -> None:
    faults = TESTS / "faults"
    # The libraries are imported first, as on this machine; the folder's own modules once more, as on another.
    first = f"pytest.main(['--collect-only', '-q', {str(faults)!r}]); "
    first += "[sys.modules.pop(name) for name in [*sys.modules] if name.startswith('faults')]; sys.platform = 'darwin'"
    said = _pytest(faults, first)
    assert "the faults are made with Linux's /proc and signals" in said
    assert "skipped" in said.splitlines()[-1]
    assert not {"passed", "failed", "error", "errors"} & {*said.splitlines()[-1].split()}


@pytest.mark.parametrize("named", [True, False])
def test_real_input_is_where_the_variable_says_and_nowhere_else(named: bool, tmp_path: Path) -> None:
    data, tests = tmp_path / "shared" / "data", tmp_path / "checkout" / "tests"
    data.mkdir(parents=True)
    tests.mkdir(parents=True)
    shutil.copy(TESTS / "conftest.py", tests)
    (tests / "test_real.py").write_text("from conftest import needs_data\n\n\n@needs_data\ndef test_it(): pass\n")
    said = _pytest(tests, "pass", **({"SUBTOMOBENCH_DATA": str(data)} if named else {}))
    assert ("1 passed" if named else "1 skipped") in said
    assert named or "SUBTOMOBENCH_DATA" in said
