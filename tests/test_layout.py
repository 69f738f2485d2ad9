"""The layout that docs/architecture.md draws, held against the imports."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [p for folder in ("bench", "methods", "datasets") for p in sorted((ROOT / folder).rglob("*.py"))]

# A datum passes down this list; a room imports rooms above it only.
ORDER = [
    "errors",
    "stopping",
    "progress",
    "seeds",
    "cache",
    "checkpoint",
    "memory",
    "volume",
    "particles",
    "crop",
    "dataset",
    "simulation",
    "picking",
    "datasets",
    "split",
    "feed",
    "augment",
    "protocol",
    "layers",
    "networks",
    "training",
    "method",
    "methods",
    "registry",
    "metrics",
    "trial",
    "results",
    "scheduling",
    "statistics",
    "paper",
    "tables",
    "figures",
    "report",
    "check",
    "extract",
    "prediction",
    "inspection",
    "export",
    "suite",
    "cli",
]
ONLY_IN = {
    "ray": "scheduling",
    "starfile": "particles",
    "mrcfile": "volume",
    "seaborn": "figures",
    "tifffile": "volume",
}


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


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    here = _room(path)
    for name in _imports(path):
        head, _, rest = name.partition(".")
        if head in ONLY_IN:
            assert here == ONLY_IN[head], f"{path} imports {head}"
        room = rest.partition(".")[0]
        if head == "bench" and room not in ("__version__", "", here):
            assert ORDER.index(room) < ORDER.index(here), f"{path} imports {name}"
            if room in ("methods", "datasets"):
                assert here == "registry", f"{path} imports {name}"


def test_every_room_is_in_the_order() -> None:
    assert {_room(path) for path in FILES} - {"__init__"} == set(ORDER)
