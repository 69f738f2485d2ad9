"""A set that `bench data simulate` made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bench.base.errors import BenchError
from bench.base.parameters import parameter
from bench.data.dataset import Saved


@dataclass(frozen=True)
class Made(Saved):
    """A set made by bench data simulate: --data DIR, its --out; used in place, nothing is simulated again."""

    folder_hint = "add --data DIR, the --out of bench data simulate"

    test_fraction: float | None = parameter(0.6, "part held out for the scores; the paper's 4,800 of 8,000")

    def made(self) -> Path:
        """In --data, the folder named after the hash of its recipe."""
        folder = self.required_folder()
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            made = folder / "cache" / f"data-{manifest['recipe_hash']}"
        except (OSError, ValueError, KeyError, TypeError):
            made = folder / "none"
        if not (made / "meta.json").is_file():
            raise BenchError(f"{folder}: no finished set of bench data simulate; run it again, it continues")
        return made
