"""The rooms and their order stand in docs/architecture.md; the imports are held against that list."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [p for folder in ("bench", "methods", "datasets") for p in sorted((ROOT / folder).rglob("*.py"))]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
ROOMS = re.findall(r"^\| `(\w+)/?` \|", PAGE.partition("\n## Rooms\n")[2].partition("\n## ")[0], re.MULTILINE)
ONLY_IN = {
    "ray": "bench/trials/backends/ray_tune.py",
    "starfile": "bench/files/tables/",
    "mrcfile": "bench/files/volume.py",
    "tifffile": "bench/files/volume.py",
    "seaborn": "bench/reporting/figures.py",
    "click": "bench/cli/",
}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _room(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] != "bench" else parts[1]


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "bench":
            found |= {f"bench.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_imports_point_down_the_list(path: Path) -> None:
    here = _room(path)
    for name in _imports(path):
        head, _, rest = name.partition(".")
        if head in ONLY_IN:
            assert _name(path).startswith(ONLY_IN[head]), f"{path} imports {head}"
        room = rest.partition(".")[0]
        if head == "bench" and room not in ("__version__", "", here):
            assert ROOMS.index(room) > ROOMS.index(here), f"{path} imports {name}"
            if room in ("methods", "datasets"):
                assert here == "registry", f"{path} imports {name}"


def test_every_room_is_in_the_list() -> None:
    assert {_room(path) for path in FILES} - {"__init__"} == set(ROOMS)
    assert len(ROOMS) == len(set(ROOMS)) <= 16
