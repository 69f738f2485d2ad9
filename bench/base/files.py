"""Files that are whole or not there, and digests."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.base.errors import BenchError

MOVES_NO_NUMBER = True


def digest(*parts: object) -> str:
    """Hash of anything JSON can say: equal parts, equal hash."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """The name under which to write a file or folder that readers of `path` see whole or not at all."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield aside
        aside.replace(path)
    except BaseException:
        if aside.is_dir():
            shutil.rmtree(aside)
        else:
            aside.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file that readers see whole or not at all, also after a crash of the machine."""
    with written_aside(path) as aside, aside.open("wb") as handle:
        handle.write(content.encode() if isinstance(content, str) else content)
        handle.flush()
        os.fsync(handle.fileno())


def check_new(path: Path) -> None:
    """Raise BenchError where --out names a file that exists, or none that can be: before the work, not after."""
    check_name(path)
    if path.exists():
        raise BenchError(f"{path}: exists; choose another --out, or move it")


def odd_letters(name: str) -> str:
    """What in a name would break the lines, names or files that are made of it, and how to mend it; "" where nothing.

    Python has a surrogate for each byte of a file's name that it could not decode; no text file can hold one.
    """
    kinds = {unicodedata.category(letter) for letter in name}
    if "Cs" in kinds:
        return "holds letters that are not UTF-8; rename it, or set PYTHONUTF8=1 if the locale is to blame"
    if kinds & {"Cc", "Zl", "Zp"}:
        return "holds a line break or another control character; rename it"
    return ""


def check_name(name: str | Path) -> None:
    """Raise BenchError for a name with odd letters."""
    if problem := odd_letters(str(name)):
        raise BenchError(f"{str(name)!a}: {problem}")


def bytes_digest(content: bytes) -> str:
    """SHA-256 of some bytes."""
    return hashlib.sha256(content).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
