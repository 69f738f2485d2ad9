"""TOML files that people write: bounded before they are parsed."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from bench.base.errors import BenchError

MOVES_NO_NUMBER = True


def read_toml(path: Path, largest_in_bytes: int) -> dict[str, Any]:
    """What a TOML file says; raises BenchError where it is none, or too large."""
    try:
        content = path.read_bytes()
        if len(content) > largest_in_bytes:
            raise BenchError(f"{path}: has {len(content)} bytes, at most {largest_in_bytes} are expected; mend it")
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path}: is no TOML ({error}); mend the file") from error
