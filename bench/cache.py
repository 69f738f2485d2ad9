"""A content-addressed cache of folders, safe under parallel trials and sudden ends."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from filelock import FileLock


def digest(*parts: object) -> str:
    """Hash of anything JSON can say: equal parts, equal hash."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file that readers see whole or not at all."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as handle:
            handle.write(content.encode() if isinstance(content, str) else content)
            handle.flush()
            os.fsync(handle.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def bytes_digest(content: bytes) -> str:
    """SHA-256 of some bytes."""
    return hashlib.sha256(content).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def code_digest(module: ModuleType) -> str:
    """Hash of a module's source and of all of this project's that it uses, so that changed code is a changed result."""
    seen: dict[str, str] = {}
    waiting = [module]
    while waiting:
        current = waiting.pop()
        if current.__name__ in seen or not (source := getattr(current, "__file__", None)):
            continue
        seen[current.__name__] = hashlib.sha256(Path(source).read_bytes()).hexdigest()
        for value in vars(current).values():
            used = value if isinstance(value, ModuleType) else sys.modules.get(getattr(value, "__module__", None) or "")
            if used is not None and used.__name__.startswith("bench."):
                waiting.append(used)
    return digest(seen)


class Cache:
    """Entries under `folder`; one that exists is whole, because it is made aside and renamed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def entry(self, kind: str, key: str, make: Callable[[Path], None], resumable: bool = False) -> Path:
        """The folder `kind`-`key`; where there is none, `make` fills it, once, whoever else waits for it.

        resumable: what an interrupted `make` left is given to the next one.
        """
        final, aside = self.folder / f"{kind}-{key}", self.folder / f".{kind}-{key}.partial"
        if final.is_dir():
            return final
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(str(final) + ".lock"):
            if not final.is_dir():
                if not resumable:
                    shutil.rmtree(aside, ignore_errors=True)
                aside.mkdir(exist_ok=True)
                make(aside)
                aside.rename(final)
        return final
