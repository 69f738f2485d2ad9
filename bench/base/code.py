"""Hash of the code that a result depends on: what the modules do, not how they are written down."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.base.files import digest

MOVES_NO_NUMBER = True
_MARK = "MOVES_NO_NUMBER"  # a module that defines this name as True is no part of any hash


def code_digest(*modules: str) -> str:
    """Hash of these modules and of all that they import from their own packages and from this one.

    Of another package all modules count: what it imports, and how, is its own affair. Comments, docstrings, titles,
    help texts and layout do not count. Modules that set MOVES_NO_NUMBER do not count either, nor what they import:
    progress, errors, caches and checkpoints change no result.
    """
    packages = {"bench", *(name.partition(".")[0] for name in modules)}
    seen = {f"{of}/{path}": content for of in packages - {"bench"} for path, content in _files_of(of)}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in seen or name == "bench":  # the face of the package only hands names on
            continue
        source, imports, moves_no_number = _read(name)
        if moves_no_number:
            continue
        seen[name] = hashlib.sha256(source.encode()).hexdigest()
        waiting += [used for used in _homes(imports) if used.partition(".")[0] in packages]
    return digest(seen)


def _files_of(package: str) -> Iterator[tuple[Path, str]]:
    """Every module of a package as a path below it, with the hash of its code; none is imported for that."""
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations or []) if spec is not None else []:
        for path in sorted(Path(place).rglob("*.py")):
            content = path.read_bytes()
            with suppress(SyntaxError, ValueError):  # a file that nobody can import
                content = _code(ast.parse(content)).encode()
            yield path.relative_to(place), hashlib.sha256(content).hexdigest()


@functools.cache
def _read(name: str) -> tuple[str, tuple[tuple[str, str], ...], bool]:
    """A module's code without comments and docstrings, its imports as (module, name), and whether it is marked."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return "", (), False
    with open(spec.origin, encoding="utf-8") as file:  # noqa: PTH123
        tree = ast.parse(file.read())
    package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
    imports = tuple(_imports(tree, package))
    marked = any(isinstance(node, ast.Assign) and ast.unparse(node) == f"{_MARK} = True" for node in tree.body)
    return _code(tree), imports, marked


def _code(tree: ast.Module) -> str:
    """What it does, without the words."""
    return ast.unparse(_WithoutWords().visit(tree))


class _WithoutWords(ast.NodeTransformer):
    """Takes away what is there for people: docstrings, titles, help texts."""

    def visit(self, node: ast.AST) -> Any:
        self.generic_visit(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "parameter":
            node.args, node.keywords = node.args[:1], []
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            titles = [part for part in node.body if isinstance(node, ast.ClassDef) and _sets(part, "title")]
            words = titles + node.body[:1] if ast.get_docstring(node, clean=False) is not None else titles
            node.body = [part for part in node.body if part not in words] or [ast.Pass()]
        return node


def _sets(node: ast.stmt, name: str) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def _imports(tree: ast.Module, package: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            module = importlib.util.resolve_name(relative, package) if node.level else relative
            yield from ((module, alias.name) for alias in node.names)


def _homes(imports: tuple[tuple[str, str], ...]) -> Iterator[str]:
    """The modules that these imports lead to: the one named, and the imported name where that is a module itself."""
    for module, name in imports:
        if module == "bench":  # a room of it, or a name that is defined in one
            yield f"bench.{name}" if _is_module(module, name) else sys.modules[module].home_of(name)
            continue
        yield module
        if name and _is_module(module, name):
            yield f"{module}.{name}"


@functools.cache
def _is_module(package: str, name: str) -> bool:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        return False
    return importlib.util.find_spec(f"{package}.{name}") is not None
