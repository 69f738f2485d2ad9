"""`bench data fetch`: structures of the Protein Data Bank into a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.simulation import fetch as fetching


def fetch(ids: str, out: Path, mirror: str | None, say: Callable[[str], None]) -> None:
    """Download the entries of a comma-separated list of ids, in which `paper` stands for the eight of its Table 1."""
    named = [part.strip().upper() for part in ids.split(",") if part.strip()]
    every = [one for part in named for one in (fetching.PAPER if part == "PAPER" else [part])]
    fetching.fetch(every, out, say, mirror or fetching.MIRROR)
