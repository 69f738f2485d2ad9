"""A content-addressed cache of folders, safe under parallel trials and sudden ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from bench.base.files import file_digest, write_atomically

MOVES_NO_NUMBER = True

CONTENTS = "contents.json"  # of an entry


class Cache:
    """Entries under `folder`; one that exists is whole: made aside, renamed, checked against a list of its files."""

    def __init__(self, folder: Path, note: Callable[[str], None] = lambda text: None) -> None:
        self.folder = folder
        self.note = note  # told of an entry that is damaged

    def entry(self, kind: str, key: str, make: Callable[[Path], None], resumable: bool = False) -> Path:
        """The folder `kind`-`key`; where there is none, `make` fills it, once, whoever else waits for it.

        One whose files are not those that were made, or not of this entry, is made anew.
        resumable: what an interrupted `make` left is given to the next one.
        """
        name = f"{kind}-{key}"
        final, aside = self.folder / name, self.folder / f".{name}.partial"
        if final.is_dir() and not damage(final, name):
            return final
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(str(final) + ".lock"):
            if final.is_dir() and (why := damage(final, name)):
                self.note(f"{final}: {why}; made anew")
                shutil.rmtree(final)
            if not final.is_dir():
                if not resumable:
                    shutil.rmtree(aside, ignore_errors=True)
                aside.mkdir(exist_ok=True)
                make(aside)
                write_atomically(aside / CONTENTS, json.dumps({"entry": name, "files": _contents(aside)}))
                aside.rename(final)
        return final


def damage(entry: Path, name: str) -> str:
    """What is wrong with a folder that should be the entry `name`; empty if nothing is."""
    try:
        listed = json.loads((entry / CONTENTS).read_text(encoding="utf-8"))
        if listed["entry"] != name:
            return f"is a copy of {listed['entry']}"
        now = _contents(entry)
        changed = [file for file, mark in listed["files"].items() if now.get(file) != mark]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"has no list of its files ({type(error).__name__})"
    return f"{', '.join(changed)} changed since it was made" if changed else ""


def _contents(entry: Path) -> dict[str, list[str | int]]:
    """Each file with its SHA-256; a link, which may lead to many gigabytes, with the size and time of what it names."""
    found: dict[str, list[str | int]] = {}
    for path in sorted(p for p in entry.rglob("*") if p.is_file() and p.name != CONTENTS):
        name = path.relative_to(entry).as_posix()
        found[name] = [path.stat().st_size, path.stat().st_mtime_ns] if path.is_symlink() else [file_digest(path)]
    return found
