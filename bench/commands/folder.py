"""A folder that holds the files of one recipe, and no other's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.base.errors import BenchError
from bench.base.files import check_name
from bench.base.json_files import read_json
from bench.data.dataset import MANIFEST


def claim(out: Path, recipe: dict[str, Any]) -> None:
    """Make the folder `out` for a recipe; raises BenchError for an odd name, or where its manifest tells of another."""
    check_name(out)
    manifest = out / "manifest.json"
    if manifest.exists():
        before = read_json(manifest, MANIFEST, "choose another --out")["recipe"]
        if before != json.loads(json.dumps(recipe, default=str)):
            raise BenchError(f"{out}: holds another recipe's files ({manifest.name}); choose another --out")
    out.mkdir(parents=True, exist_ok=True)
