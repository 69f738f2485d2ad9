"""A command called in a copy of this process: what it did there stays there, and it may hang or crash."""

from __future__ import annotations

import csv
import faulthandler
import gc
import io
import json
import os
import re
import resource
import signal
import socket
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import mrcfile
import numpy as np
import safetensors.numpy
import starfile
from conftest import BENCH

from bench.cli.main import BAD_INPUT, FAILED, OK, main

SILENCE_IN_SECONDS = 20.0
MEMORY_IN_BYTES = 4 << 30  # beyond what this process has
FILE_IN_BYTES = 1 << 30
CRASHED = 70  # an exception that the command let through
NAMES = {"class", "tomogram", "source", "reason", "error", "name", "variant"}  # columns whose texts may be "nan"


@dataclass(frozen=True)
class Called:
    """What came of a call."""

    code: int  # negative: the signal that ended it
    out: str
    err: str
    silent: bool  # ended after SILENCE_IN_SECONDS without a word


def call(arguments: Sequence[str], folder: Path, silence_in_seconds: float = SILENCE_IN_SECONDS) -> Called:
    """Call `bench` in a copy of this process whose working folder is `folder`, without a network."""
    streams = [folder.with_name(f"{folder.name}.{name}") for name in ("out", "err")]
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of threads, which pytest-xdist has; the copy uses none
        child = os.fork()
    if not child:
        _be(arguments, folder, streams)
    code, silent = _wait(child, streams, silence_in_seconds)
    out, err = (path.read_text(encoding="utf-8", errors="replace") for path in streams)
    for path in streams:
        path.unlink()
    return Called(code, out, err, silent)


def _be(arguments: Sequence[str], folder: Path, streams: list[Path]) -> NoReturn:
    """The copy's life: the command, its exit code, the end."""
    code = CRASHED
    gc.freeze()  # a collection would copy every page that the two share
    try:
        for number, path in enumerate(streams, 1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115
        sys.stdout, sys.stderr = (os.fdopen(n, "w", encoding="utf-8", closefd=False) for n in (1, 2))
        faulthandler.enable(sys.stderr)
        os.chdir(folder)
        tempfile.tempdir = str(folder)
        _bounded()
        _as_a_user_has_it()
        sys.argv = [str(BENCH), *arguments]
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else CRASHED
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        os.write(2, traceback.format_exc().encode(errors="replace"))
        code = CRASHED
    finally:
        os._exit(code)


def _bounded() -> None:
    """Memory, files and network, so that no case harms the machine."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    most = pages * resource.getpagesize() + MEMORY_IN_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_IN_BYTES, FILE_IN_BYTES))

    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(101, "the network is not touched")

    socket.socket.connect = refuse  # type: ignore[method-assign,assignment]
    socket.getaddrinfo = refuse


def _as_a_user_has_it() -> None:
    """Warnings as Python shows them; small pictures and no second attempt to reach a server, for speed."""
    from matplotlib.figure import Figure

    from bench.simulation import fetch

    fetch.ATTEMPTS = 1
    write = Figure.savefig
    Figure.savefig = lambda figure, path, **options: write(figure, path, **options | {"dpi": 20})
    warnings.resetwarnings()
    warnings.showwarning = _show
    for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", kind)


def _show(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
    sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))


def _wait(child: int, streams: list[Path], silence_in_seconds: float) -> tuple[int, bool]:
    """The exit code, and whether it was silent for so long that it had to be ended.

    The time that it waits for a core, on a machine with other work, does not count.
    """
    said, since, queued, pause = 0, time.monotonic(), 0.0, 0.001
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), False
        now = sum(path.stat().st_size for path in streams if path.exists())
        if now > said:
            said, since, queued = now, time.monotonic(), _queued_seconds(child)
        elif time.monotonic() - since > silence_in_seconds + max(0.0, _queued_seconds(child) - queued):
            os.kill(child, signal.SIGABRT)  # faulthandler says where it is
            time.sleep(0.2)
            os.kill(child, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), True
        time.sleep(pause)
        pause = min(1.3 * pause, 0.02)


def _queued_seconds(process: int) -> float:
    """How long the threads of a process have waited for a core since they began."""
    found = 0
    for path in Path(f"/proc/{process}/task").glob("*/schedstat"):
        with suppress(OSError):  # that thread has ended
            found += int(path.read_text(encoding="utf-8").split()[1])
    return found / 1e9


def state(folder: Path) -> dict[Path, tuple[int, int]]:
    """Every file in a folder, and what tells that it was written again."""
    found = {path: path.stat() for path in sorted(folder.rglob("*")) if path.is_file()}
    return {path: (stat.st_mtime_ns, stat.st_ino) for path, stat in found.items()}


def problems(called: Called, folder: Path, before: Mapping[Path, object]) -> list[str]:
    """What a user would complain about; before: the folder's state before the call."""
    if called.silent:
        return [f"not a word for {SILENCE_IN_SECONDS:g} s\n{called.err}"]
    if called.code not in (OK, FAILED, BAD_INPUT) or "Traceback" in called.out + called.err:
        return [f"ended with {called.code}\n{called.err}"]
    if called.code == BAD_INPUT:
        one_line = called.err.startswith("bench: ") and called.err.count("\n") == 1
        return [] if one_line else [f"bad input, but not one line:\n{called.err}"]
    found = [f"ended with {called.code}, but says:\n{called.err}"] if called.err else []
    if called.code == FAILED and not re.search("failed|killed|timed out|regressed", called.out):
        found.append(f"ended with {FAILED}, and does not say what failed:\n{called.out}")
    written = [path for path, stamp in state(folder).items() if before.get(path) != stamp]
    return found + [problem for path in written for problem in _of_file(path)]


def _of_file(path: Path) -> Iterator[str]:
    """What is wrong with a file that a command wrote."""
    reader = READERS.get(path.suffix)
    if reader is None or path.stat().st_size == 0:
        return
    try:
        numbers = reader(path)
    except Exception as error:  # any library's
        yield f"{path.name}: not readable: {error!r}"
    else:
        if not np.isfinite(numbers).all():
            yield f"{path.name}: holds numbers that are not finite"


def _npy(path: Path) -> Any:
    array = np.load(path)
    return array if array.dtype.kind == "f" else [0]


def _mrc(path: Path) -> Any:
    with mrcfile.open(path) as handle:
        return np.append(handle.data.astype(np.float32).ravel(), handle.voxel_size.tolist())


def _csv(path: Path) -> Any:
    header, *rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8")))
    assert all(len(row) == len(header) for row in rows), "rows of other lengths"
    predicted = "predicted_class" in header  # the other columns are the user's
    wanted = {"predicted_probability", "predicted_confidence"} if predicted else {*header} - NAMES
    return _floats(cell for row in rows for name, cell in zip(header, row) if name in wanted)


def _star(path: Path) -> Any:
    tables = starfile.read(path, always_dict=True, parse_as_string=["subtomobenchClass"])
    cells = []
    for table in tables.values():
        names = [name for name in table if name.startswith("subtomobench")] or list(table)
        cells += [str(cell) for name in names if not name.endswith(("Name", "Class")) for cell in table[name]]
    return _floats(cells)


def _json(path: Path) -> Any:
    def refuse(name: str) -> NoReturn:
        raise ValueError(name)

    json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    return [0]


def _safetensors(path: Path) -> Any:
    return np.concatenate([a.astype(np.float64).ravel() for a in safetensors.numpy.load_file(path).values()] or [[0]])


def _floats(cells: Any) -> Any:
    """The cells that are numbers, or would be."""
    found = []
    for cell in cells:
        try:
            found.append(float(cell))
        except ValueError:
            continue
    return np.array(found or [0.0])


READERS = {
    ".npy": _npy, ".mrc": _mrc, ".csv": _csv, ".star": _star, ".json": _json, ".safetensors": _safetensors,
}  # fmt: skip
