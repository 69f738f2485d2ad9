"""A content-addressed cache of folders, safe under parallel trials and sudden ends."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from bench.base.errors import BenchError
from bench.base.files import file_digest, write_atomically
from bench.base.json_files import TEXT, Schema, read_json, record

MOVES_NO_NUMBER = True

CONTENTS = "contents.json"  # of an entry
_TIMES = slice(2, 4)  # in the mark of a link
_MARK: Schema = {  # of a file, or of a link: size, inode, times in ns
    "oneOf": [
        {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 1},
        {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4},
    ]
}
_SCHEMA = record(entry=TEXT, files={"type": "object", "additionalProperties": _MARK})
# The file behind a link must be older than this when its entry is begun: a change within one tick of a disk's clock
# leaves no trace in its times, and ticks are up to two seconds long.
SETTLED_IN_NS = 2 * 10**9
UNSURE: list[str | int] = ["unsure"]  # in place of the mark of a link to a younger file


class Cache:
    """Entries under `folder`; one that exists is whole: made aside, renamed, checked against a list of its files."""

    def __init__(self, folder: Path, note: Callable[[str], None] = lambda text: None) -> None:
        self.folder = folder
        self.note = note  # told of an entry that is damaged

    def entry(self, kind: str, key: str, make: Callable[[Path], None], resumable: bool = False) -> Path:
        """The folder `kind`-`key`; where there is none, `make` fills it, once, whoever else waits for it.

        One whose files are not those that were made, or not of this entry, is made anew.
        resumable: what an interrupted `make` left is given to the next one; one that raises BenchError leaves nothing.
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
                began_in_ns = time.time_ns()
                try:
                    make(aside)
                except BenchError:  # what cannot be made leaves nothing to go on with
                    shutil.rmtree(aside)
                    raise
                files = {file: _or_unsure(mark, began_in_ns) for file, mark in _contents(aside).items()}
                write_atomically(aside / CONTENTS, json.dumps({"entry": name, "files": files}))
                aside.rename(final)
        return final


def damage(entry: Path, name: str) -> str:
    """What is wrong with a folder that should be the entry `name`; empty if nothing is."""
    try:
        listed = read_json(entry / CONTENTS, _SCHEMA, "make the entry anew")
        now = _contents(entry)
    except (OSError, BenchError) as error:
        return f"has no list of its files ({type(error).__name__})"
    if listed["entry"] != name:
        return f"is a copy of {listed['entry']}"
    if unsure := [file for file, mark in listed["files"].items() if mark == UNSURE]:
        return f"{', '.join(unsure)} may have changed while it was made"
    if changed := [file for file, mark in listed["files"].items() if now.get(file) != mark]:
        return f"{', '.join(changed)} changed since it was made"
    return ""


def _contents(entry: Path) -> dict[str, list[str | int]]:
    """Each file with its SHA-256; a link, which may lead to many gigabytes, with what the system says of its file."""
    files = sorted(p for p in entry.rglob("*") if p.is_file() and p.name != CONTENTS)
    return {path.relative_to(entry).as_posix(): _mark(path) for path in files}


def _or_unsure(mark: list[str | int], began_in_ns: int) -> list[str | int]:
    recent = [when for when in mark[_TIMES] if isinstance(when, int) and when > began_in_ns - SETTLED_IN_NS]
    return UNSURE if recent else mark


def _mark(path: Path) -> list[str | int]:
    if not path.is_symlink():
        return [file_digest(path)]
    with path.open("rb") as file:  # opened, since a network disk may answer from memory about a file that is not
        stat = os.fstat(file.fileno())
    return [stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns]  # nobody can set back the last one
