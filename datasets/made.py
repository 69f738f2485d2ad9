"""A set that `bench data simulate` made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.base.errors import BenchError
from bench.base.json_files import read_json
from bench.base.parameters import parameter
from bench.data.dataset import MANIFEST, Saved


@dataclass(frozen=True)
class Made(Saved):
    """A set made by bench data simulate: --data DIR, its --out; used in place, nothing is simulated again."""

    folder_hint = "add --data DIR, the --out of bench data simulate"

    test_fraction: float | None = parameter(
        0.6, "part held out for the scores; the paper's 4,800 of 8,000", low=0.001, high=0.999
    )

    def made(self) -> Path:
        """In --data, the folder named after the hash of its recipe."""
        folder = self.required_folder()
        unfinished = f"{folder}: no finished set of bench data simulate; run it again, it continues"
        manifest = folder / "manifest.json"
        if not manifest.is_file():
            raise BenchError(unfinished)
        hash_of_recipe = read_json(manifest, MANIFEST, "run bench data simulate again").get("recipe_hash", "none")
        made = folder / "cache" / f"data-{hash_of_recipe}"
        if not (made / "meta.json").is_file():
            raise BenchError(unfinished)
        return made
