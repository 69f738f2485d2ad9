"""The rooms and their order stand in docs/architecture.md; the imports are held against that list."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import bench

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
    "jsonschema": "bench/base/json_files.py",
}
ONCE = {"sched_getaffinity": "bench/base/machine.py", "hashlib.file_digest": "bench/base/files.py"}
FACE = ROOT / "bench" / "__init__.py"


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _room(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] != "bench" else parts[1]


def _faces() -> dict[str, tuple[str, str]]:
    """Name → (module, name there) of what `bench` itself gives, as a type checker reads it."""
    nodes = [n for n in ast.walk(ast.parse(FACE.read_text())) if isinstance(n, ast.ImportFrom)]
    pairs = [(str(n.module), alias) for n in nodes if str(n.module).startswith("bench.") for alias in n.names]
    return {alias.asname or alias.name: (module, alias.name) for module, alias in pairs}


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "bench":
            found |= {FACES.get(alias.name, (f"bench.{alias.name}", ""))[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


FACES = _faces()


@pytest.mark.parametrize("path", [path for path in FILES if path != FACE], ids=_name)
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


@pytest.mark.parametrize(("call", "home"), ONCE.items())
def test_what_the_base_has_is_written_once(call: str, home: str) -> None:
    assert [_name(path) for path in FILES if call in path.read_text()] == [home]


def test_the_face_gives_what_a_type_checker_reads() -> None:
    assert set(bench.__all__) == set(FACES) - {"VERSION"}
    assert set(bench.__all__) <= set(dir(bench))
    for name in bench.__all__:
        module, name_there = FACES[name]
        assert getattr(bench, name) is getattr(import_module(module), name_there)
        assert bench.home_of(name) == module
    assert bench.home_of("__version__") == "bench"
    with pytest.raises(AttributeError, match="module 'bench' has no attribute 'nonsense'"):
        bench.nonsense  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'nonsense'"):
        from bench import nonsense  # noqa: F401


def test_every_room_is_in_the_list() -> None:
    assert {_room(path) for path in FILES} - {"__init__"} == set(ROOMS)
    assert len(ROOMS) == len(set(ROOMS)) <= 16


def test_every_package_is_installed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "bench").rglob("__init__.py")}
    assert set(listed) == found | {"bench.methods", "bench.datasets"}
