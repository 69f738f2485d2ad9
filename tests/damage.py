"""Damaged files: bytes, cells of a text, values of a JSON file, folders."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.base.files import digest

EXTREMES = [-(2**31), -1, 0, 1, 2, 3, 4, 101, 256, 401, 65535, 65536, 2**31 - 1]
SIZES = np.array([0, -1, np.nan, np.inf, 1e-40, 1e30, 10, 13, 3e38], np.float32).view(np.int32)
CELLS = ["", "nan", "inf", "-inf", "1e308", "1e-300", "-0", "-1", "0", "9" * 20, "word", "ä", "1,5", '"', "'", "#", "-"]
VALUES = [None, True, -1, 0, 10**20, 1e308, 1e-300, -0.0, float("nan"), "", "word", "nan", "../up", "\ud800", [], {}]

Mutation = Callable[[bytearray, np.random.Generator], bytearray]


def _at(rng: np.random.Generator, content: bytearray) -> int:
    """A place in the header or, one time in four, anywhere."""
    return int(rng.integers(len(content) if rng.random() < 0.25 else min(len(content), 260)))


def _flip(content: bytearray, rng: np.random.Generator) -> bytearray:
    for _ in range(rng.integers(1, 6)):
        content[_at(rng, content)] ^= 1 << int(rng.integers(8))
    return content


def _extreme(content: bytearray, rng: np.random.Generator) -> bytearray:
    """A word becomes an extreme or random number, in either byte order."""
    for _ in range(rng.integers(1, 4)):
        word = rng.choice([*EXTREMES, *SIZES, rng.integers(-(2**31), 2**31)])
        at = min(_at(rng, content) // 4 * 4, len(content) - 4)
        content[at : at + 4] = struct.pack(rng.choice(["<i", ">i"]), int(word))
    return content


def _cut(content: bytearray, rng: np.random.Generator) -> bytearray:
    return content[: int(rng.integers(len(content)))]


def _insert(content: bytearray, rng: np.random.Generator) -> bytearray:
    at = _at(rng, content)
    return content[:at] + bytearray(rng.bytes(int(rng.integers(1, 40)))) + content[at:]


def _double(content: bytearray, rng: np.random.Generator) -> bytearray:
    at = _at(rng, content)
    end = at + int(rng.integers(1, 2000))
    return content[:end] + content[at:end] + content[end:]


def _swap(content: bytearray, rng: np.random.Generator) -> bytearray:
    """The words of the header in the other byte order, up to some place."""
    words = int(rng.integers(1, 57))
    return bytearray(struct.pack(f">{words}i", *struct.unpack_from(f"<{words}i", content))) + content[4 * words :]


MUTATIONS: list[Mutation] = [_flip, _extreme, _cut, _insert, _double, _swap]


def of_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """One to three kinds of damage; what is shorter than a header stays."""
    damaged = bytearray(content)
    for i in rng.choice(len(MUTATIONS), size=rng.integers(1, 4)):
        if len(damaged) >= 256:
            damaged = MUTATIONS[i](damaged, rng)
    return bytes(damaged)


def of_cells(content: bytes, rng: np.random.Generator) -> bytes:
    """One to three cells of a text, or of its spaces, become something else; or a line is lost or stands twice."""
    parts = re.split(r"(\s+|,)", content.decode("utf-8", "surrogateescape"))
    for i in rng.integers(len(parts), size=rng.integers(1, 4)):
        parts[i] = str(rng.choice(CELLS))
    lines = "".join(parts).splitlines(keepends=True)
    if lines and rng.random() < 0.3:
        i = int(rng.integers(len(lines)))
        lines[i : i + 1] = [lines[i]] * int(rng.choice([0, 2]))
    return "".join(lines).encode("utf-8", "surrogateescape")


def of_json(content: bytes, rng: np.random.Generator) -> bytes:
    """One value anywhere becomes another, or is lost; a checksum over the whole is renewed one time in two."""
    try:
        found: Any = json.loads(content)
        holder, key = _spots(found)[int(rng.integers(len(_spots(found))))]
    except ValueError:  # no JSON, or nothing in it
        return of_cells(content, rng)
    if rng.random() < 0.2:
        del holder[key]
    else:
        holder[key] = VALUES[int(rng.integers(len(VALUES)))]
    if isinstance(found, dict) and "checksum" in found and rng.random() < 0.5:
        found["checksum"] = digest({k: v for k, v in found.items() if k != "checksum"})
    return json.dumps(found).encode()


def _spots(found: Any) -> list[tuple[Any, Any]]:
    """Every place in a JSON value: (object or list, key)."""
    keys = list(found) if isinstance(found, dict) else list(range(len(found))) if isinstance(found, list) else []
    return [(found, key) for key in keys] + [spot for key in keys for spot in _spots(found[key])]


def of_file(path: Path, rng: np.random.Generator) -> None:
    """Damage a file in place: as what it is, as bytes, or whole."""
    content, kind = path.read_bytes(), path.suffix
    packed = kind == ".gz" and rng.random() < 0.7
    if packed:
        content, kind = gzip.decompress(content), Path(path.stem).suffix
    way, chance = of_bytes, rng.random()
    if chance < 0.1:
        path.write_bytes(b"")
        return
    if kind == ".json" and chance < 0.8:
        way = of_json
    elif kind not in (".mrc", ".em", ".tif", ".npy", ".gz", ".safetensors", ".png") and chance < 0.8:
        way = of_cells
    damaged = way(content, rng)
    path.write_bytes(gzip.compress(damaged) if packed else damaged)


def of_folder(folder: Path, rng: np.random.Generator) -> None:
    """Damage one thing in a folder: a file is changed, lost, a folder, or a folder is emptied."""
    chance, inside = rng.random(), sorted(path for path in folder.rglob("*") if path.is_file())
    if chance < 0.1 or not inside:
        shutil.rmtree(folder)
        folder.mkdir()
        return
    path = inside[int(rng.integers(len(inside)))]
    if chance < 0.8:
        of_file(path, rng)
    else:
        path.unlink()
        if chance > 0.9:
            path.mkdir()
