"""Name → method or data set: a file in the folder or an entry point of another package; found by being there."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib.metadata import entry_points
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, NamedTuple, get_args, get_type_hints

from bench.base.errors import BenchError, first_line
from bench.base.parameters import Range, Said

if TYPE_CHECKING:
    from bench.data.dataset import Dataset
    from bench.learning.method import Method

BUILT_IN = "built in"
METHODS, DATASETS = "bench.methods", "bench.datasets"  # folders, and the entry-point groups of other packages


@dataclass(frozen=True)
class Entry:
    """A method or data set that can be named, not yet imported."""

    name: str
    summary: str
    origin: str  # "built in" or the package that brings it
    target: str  # "module:Class", or "module" for a file of our own


class Parameter(NamedTuple):
    """One parameter of a method or data set."""

    name: str
    default: Any
    help: str  # empty for a field that is declared without `parameter`
    kind: type  # of its values
    range: Range


def entries(group: str) -> dict[str, Entry]:
    """All entries of `group`, sorted by name, without importing one.

    Raises BenchError where two have one name.
    """
    found: list[Entry] = []
    for name, path in _ours(group).items():
        found.append(Entry(name, _summary(path), BUILT_IN, f"{group}.{name}"))
    for point in entry_points(group=group):
        package = f"{point.dist.name} {point.dist.version}" if point.dist else point.module
        found.append(Entry(point.name, f"from the package {package}", package, point.value))
    known: dict[str, Entry] = {}
    for entry in sorted(found, key=lambda e: e.name):
        if entry.name in known:
            raise BenchError(
                f"two {_plural(group)} are called '{entry.name}' ({known[entry.name].origin}; {entry.origin}); "
                f"uninstall or rename one"
            )
        known[entry.name] = entry
    return known


def built_in(group: str) -> list[str]:
    """The names of this project's own entries, sorted, whatever else is installed."""
    return sorted(_ours(group))


def _ours(group: str) -> dict[str, Path]:
    """Name → file."""
    return {
        module.name: Path(package_path) / f"{module.name}.py"
        for package_path in importlib.import_module(group).__path__
        for module in pkgutil.iter_modules([package_path])
        if not module.name.startswith("_")
    }


def names(group: str, wanted: str) -> list[str]:
    """The entries of a comma-separated list, of groups too; raises BenchError for an unknown name.

    The groups are "all", each built-in one, and those of the folder's GROUPS. Code of another package runs only when
    it is named.
    """
    known = entries(group)
    groups = {"all": [e.name for e in known.values() if e.origin == BUILT_IN]}
    groups |= getattr(importlib.import_module(group), "GROUPS", {})
    given = [name.strip() for name in wanted.split(",") if name.strip()]
    chosen = [name for one in given for name in groups.get(one, [one])]
    for name in chosen:
        if name not in known:
            what = _plural(group)[:-1]
            raise BenchError(f"unknown {what} '{name}'; known: {', '.join(known)} (bench list {_plural(group)})")
    if not chosen:
        raise BenchError(f"no {_plural(group)} named; known: {', '.join(known)}")
    return list(dict.fromkeys(chosen))


def method(name: str, settings: Mapping[str, Any] | None = None) -> Method:
    """The method called `name` with its hyperparameters, those in `settings` changed from their defaults."""
    from bench.learning.method import Method

    kind = _load(METHODS, name, Method)
    if not getattr(kind, "title", ""):
        raise BenchError(f'{kind.__module__}.{kind.__name__}: no title; add `title = "..."`, its name in tables')
    made: Method = _with_settings(name, _made(kind), settings or {})
    return made


def dataset(name: str, settings: Mapping[str, Any] | None = None, said: Said | None = None) -> Dataset:
    """The data set called `name` with its parameters, those in `settings` changed from their defaults.

    said: how an error message names a setting; None: as --set does.
    """
    from bench.data.dataset import Dataset

    made: Dataset = _with_settings(name, _made(_load(DATASETS, name, Dataset)), settings or {}, said)
    return made


def parameters(group: str, name: str) -> list[Parameter]:
    """What --set can change of a method or data set, in the order of its declaration; what all sets have comes last."""
    if group == METHODS:
        return _parameters(method(name))
    from bench.data.dataset import OF_TRIALS

    return sorted(_parameters(dataset(name)), key=lambda parameter: parameter.name in OF_TRIALS)


def _parameters(made: Any) -> list[Parameter]:
    found = []
    for f in fields(made):
        if f.name != "folder":  # a data set's, which --data names
            default = getattr(made, f.name)
            help, allowed = f.metadata.get("help", ""), f.metadata.get("range", Range())
            found.append(Parameter(f.name, default, help, _kind(made, f.name, default), allowed))
    return found


def _kind(made: Any, name: str, default: Any) -> type:
    """The type of a parameter's values: its default's; where that is None, what the annotation names beside None."""
    if default is not None:
        return type(default)
    kinds = [kind for kind in get_args(get_type_hints(type(made))[name]) if isinstance(kind, type)]
    return next((kind for kind in kinds if kind is not NoneType), object)


def _load(group: str, name: str, contract: type) -> Any:
    target = entries(group)[names(group, name)[0]].target
    module_name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # anybody's code
        raise BenchError(f"{target}: cannot be imported ({first_line(error)}); mend or remove it") from error
    if attribute and not hasattr(module, attribute):
        raise BenchError(f"{target}: {module_name} has no {attribute}; mend the entry point of its package")
    found = [getattr(module, attribute)] if attribute else vars(module).values()
    chosen = [
        kind
        for kind in found
        if inspect.isclass(kind)
        and issubclass(kind, contract)
        and not inspect.isabstract(kind)
        and (attribute or kind.__module__ == module_name)
    ]
    if len(chosen) != 1:
        raise BenchError(
            f"{target}: {len(chosen)} classes that are complete and derive from bench.{contract.__name__}; "
            f"must be one, see 'Add a method' and 'Add a data set' in the README"
        )
    return chosen[0]


def _made(kind: type) -> Any:
    """A method or data set with its defaults; raises BenchError where it cannot be made or hides a parameter."""
    where = f"{kind.__module__}.{kind.__name__}"
    try:
        made = kind()
    except BenchError as error:
        raise BenchError(f"{where}: {error}") from error
    except (Exception, SystemExit) as error:  # anybody's code
        raise BenchError(f"{where}: cannot be made ({first_line(error)}); give each parameter a default") from error
    own = {name for name, kind_of in inspect.get_annotations(kind).items() if "ClassVar" not in str(kind_of)}
    if hidden := sorted(own - {f.name for f in fields(made)}):
        raise BenchError(f"{where}: {', '.join(hidden)} would be no parameter; put @dataclass(frozen=True) above it")
    return made


def _with_settings(name: str, default: Any, settings: Mapping[str, Any], said: Said | None = None) -> Any:
    known = {parameter.name: parameter for parameter in _parameters(default)}
    changed = {}
    for key, value in settings.items():
        if key not in known:
            options = ", ".join(known) or "none"
            raise BenchError(f"'{name}' has no parameter '{key}'; it has: {options}")
        where = said(key, value) if said else f"--set {name}.{key}={value}"
        changed[key] = _cast(where, value, known[key])
        known[key].range.check(where, changed[key], known[key].default)
    return replace(default, **changed)


def _cast(where: str, value: Any, parameter: Parameter) -> Any:
    """`value`, a string if it comes from the command line, in the type of the parameter."""
    default, kind = parameter.default, parameter.kind
    wanted = f"of the type {kind.__name__}" if default is None else f"a value like {default!r}"
    try:
        if isinstance(value, str) and kind is not str:
            value = ast.literal_eval(value.capitalize() if kind is bool else value)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, OverflowError) as error:
        raise BenchError(f"{where}: not {wanted}") from error
    if value is None and default is None:
        return None
    if kind is tuple and isinstance(value, list | tuple | int | float):
        value = tuple(value) if isinstance(value, list | tuple) else (value,)
    if type(value) is not kind and kind is not object:
        raise BenchError(f"{where}: not {wanted}")
    return value


def _summary(path: Path) -> str:
    """First docstring line of the file's class, read without running the file."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        return f"(does not parse: {error.msg}, line {error.lineno})"
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.bases and "dataclass" in map(_called, node.decorator_list):
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""


def _called(decorator: ast.expr) -> str:
    return ast.unparse(decorator).partition("(")[0].rpartition(".")[2]


def _plural(group: str) -> str:
    return group.removeprefix("bench.")
