"""A set that `bench data extract` made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.base.errors import BenchError
from bench.data.dataset import Saved


@dataclass(frozen=True)
class Particles(Saved):
    """Your particles, cut by bench data extract: --data DIR, its --out; split by tomogram if there are several."""

    folder_hint = "add --data DIR, the --out of bench data extract"

    def made(self) -> Path:
        """--data itself."""
        folder = self.required_folder()
        if not (folder / "meta.json").is_file():
            raise BenchError(f"{folder}: no finished set of bench data extract; run it, or run it again")
        return folder
