"""A study: a file that says what is compared. It expands to requests of one results folder."""

from __future__ import annotations

import difflib
import itertools
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import registry
from bench.base.errors import BenchError
from bench.base.json_files import NUMBER, TEXT, Schema, misfit, record, with_optional
from bench.base.toml_files import read_toml
from bench.learning.protocol import PROFILES, PROTOCOLS, SELECTIONS
from bench.learning.views import VIEWS
from bench.trials.plan import Request, RunPlan

MOVES_NO_NUMBER = True

MANY = 10_000  # trials; a study of more has to be meant
LARGEST_IN_BYTES = 2**20


def _several(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1, "uniqueItems": True}


_COUNT: Schema = {"type": "integer", "minimum": 1, "maximum": 1000}
_VALUE: Schema = {"type": ["string", "number", "boolean"]}
_VALUES: Schema = {"type": "object", "additionalProperties": _VALUE}
_OPTIONAL = {
    "question": TEXT,
    "profile": {"enum": [*PROFILES]},
    "protocol": _several({"enum": [*PROTOCOLS]}),
    "views": _several({"enum": [*VIEWS]}),
    "select": _several({"enum": [*SELECTIONS]}),
    "test_views": _COUNT,
    "seeds": _COUNT,
    "epochs": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
    "fractions": _several({**NUMBER, "exclusiveMinimum": 0, "maximum": 100}),
}
STUDY: Schema = with_optional(
    record(
        study=with_optional(record(title=TEXT), **_OPTIONAL),
        data={"type": "array", "minItems": 1, "items": with_optional(record(name=TEXT), folder=TEXT, options=_VALUES)},
        method={"type": "array", "minItems": 1, "items": with_optional(record(name=TEXT), settings=_VALUES)},
    ),
    condition={"type": "array", "items": {"type": "object", "additionalProperties": _several(_VALUE)}},
    exclude={
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"method": TEXT, "data": TEXT, "options": _VALUES},
            "additionalProperties": False,
            "minProperties": 1,
        },
    },
)


@dataclass(frozen=True)
class Study:
    """What a study's file says, checked against STUDY."""

    path: Path
    said: Mapping[str, Any]

    @property
    def title(self) -> str:
        """For people."""
        return str(self.said["study"]["title"])

    @staticmethod
    def read(path: Path) -> Study:
        """Raises BenchError for a file that is no study: where, what was expected, and the nearest name."""
        said = read_toml(path, LARGEST_IN_BYTES)
        if problem := _unknown(said) or misfit(said, STUDY):
            raise BenchError(f"{path}: {problem}; studies/study.schema.json says what a study holds")
        return Study(path, said)

    def requests(self, how: Mapping[str, Any], root: Path | None = None) -> list[Request]:
        """One request for each data set in each condition, and for each further setting of a method in it.

        how: `out`, and options that say where trials run; root: where the folders of the data sets are, beside the
        file by default. Raises BenchError for an unknown name, an option that no data set has, and where all is
        excluded.
        """
        common = {
            name: _joined(value) for name, value in self.said["study"].items() if name not in ("title", "question")
        }
        requests = []
        for data, options in self._blocks():
            folder = data.get("folder")
            given = None if folder is None else str((self.path.parent if root is None else root) / folder)
            for methods in self._together(data["name"], options):
                settings = [(data["name"], options), *((m["name"], m.get("settings", {})) for m in methods)]
                requests.append(
                    Request(
                        **common,
                        **how,
                        dataset=data["name"],
                        data=given,
                        methods=",".join(method["name"] for method in methods),
                        settings=tuple(
                            f"{name}.{key}={_as_text(value)}" for name, some in settings for key, value in some.items()
                        ),
                    )
                )
        if not requests:
            raise BenchError(f"{self.path}: [[exclude]] leaves no trial; take a line out")
        return requests

    def _blocks(self) -> Iterator[tuple[Mapping[str, Any], dict[str, Any]]]:
        """Each data set with the options of each condition; a condition's options that it lacks do not touch it."""
        self._check_names()
        grids = self.said.get("condition", []) or [{}]
        parameters = {
            one["name"]: {parameter.name for parameter in registry.parameters(registry.DATASETS, one["name"])}
            for one in self.said["data"]
        }
        known = set().union(*parameters.values())
        for grid in grids:
            if unknown := [name for name in grid if name not in known]:
                raise BenchError(f"{self.path}: [[condition]] {unknown[0]}: {_none_has(unknown[0], known)}")
        seen = []
        for data in self.said["data"]:
            for grid in grids:
                own = {name: values for name, values in grid.items() if name in parameters[data["name"]]}
                for values in itertools.product(*own.values()):
                    block = (data, {**data.get("options", {}), **dict(zip(own, values))})
                    if block not in seen:
                        seen.append(block)
                        yield block

    def _check_names(self) -> None:
        """Raise BenchError for an unknown name, several in one table, or an exclusion of what is not there."""
        for group, table in ((registry.DATASETS, "data"), (registry.METHODS, "method")):
            named = [one["name"] for one in self.said[table]]
            for name in named:
                if registry.names(group, name) != [name]:
                    raise BenchError(f"{self.path}: [[{table}]] {name}: names several; write a table for each")
            for rule in self.said.get("exclude", []):
                if table in rule and rule[table] not in named:
                    raise BenchError(f"{self.path}: [[exclude]] {rule[table]}: {_none_has(rule[table], named)}")

    def _together(self, data: str, options: Mapping[str, Any]) -> Iterator[list[Mapping[str, Any]]]:
        """The methods of a block that are not excluded, in groups that name none twice: a request has one setting."""
        left = [m for m in self.said["method"] if not self._excluded(m["name"], data, options)]
        while left:
            group: dict[str, Mapping[str, Any]] = {}
            rest = []
            for method in left:
                if method["name"] in group:
                    rest.append(method)
                else:
                    group[method["name"]] = method
            yield [*group.values()]
            left = rest

    def _excluded(self, method: str, data: str, options: Mapping[str, Any]) -> bool:
        return any(
            rule.get("method", method) == method
            and rule.get("data", data) == data
            and all(options.get(name) == value for name, value in rule.get("options", {}).items())
            for rule in self.said.get("exclude", [])
        )


def count(plan: RunPlan) -> int:
    """How many trials a plan comes to."""
    rules = sum(len(plan.views[p.name]) * len(plan.selects[p.name]) for p in plan.protocols)
    fractions = sum(len(plan.percents) if registry.method(name).needs_labels else 1 for name in plan.methods)
    return rules * fractions * plan.seeds


def as_toml(title: str, requests: Sequence[Mapping[str, Any]]) -> str:
    """The study that asks for these stored requests; raises BenchError where no one study does."""
    if not requests:
        raise BenchError("no run is kept there; start one first")
    common = {name: requests[0][name] for name in _OPTIONAL if name != "question"}
    lines = ["[study]", f"title = {_quoted(title)}"]
    for request in requests:
        other = [name for name in common if request[name] != common[name]]
        if other:
            raise BenchError(f"the runs differ in {', '.join(other)}; a study has one of each: write it from one run")
    for name, value in common.items():
        if value is not None and (name, value) != ("test_views", 1):
            lines.append(f"{name} = {_listed(name, value)}")
    compared: dict[tuple[str, ...], list[list[str]]] = {}  # a data set's table → those of its methods
    for request in requests:
        settings: dict[str, list[str]] = {}
        for text in request["settings"]:
            name, _, assignment = text.partition(".")
            key, _, value = assignment.partition("=")
            settings.setdefault(name, []).append(f"{_quoted(key)} = {_literal(value)}")
        data, names = request["dataset"], registry.names(registry.METHODS, request["methods"])
        folder = [] if request["data"] is None else [f"folder = {_quoted(request['data'])}"]
        table = ("[[data]]", f"name = {_quoted(data)}", *folder, *_table("options", settings, data))
        compared.setdefault(table, []).extend(
            ["[[method]]", f"name = {_quoted(name)}", *_table("settings", settings, name)] for name in names
        )
    methods = [_once(some) for some in compared.values()]
    if any(sorted(some) != sorted(methods[0]) for some in methods):
        raise BenchError(
            "the data sets were run with different methods; a study has the same for all: write it yourself"
        )
    return "\n\n".join("\n".join(part) for part in [lines, *compared, *methods[0]]) + "\n"


def _once(parts: list[list[str]]) -> list[list[str]]:
    return [part for i, part in enumerate(parts) if part not in parts[:i]]


def _table(key: str, settings: Mapping[str, list[str]], name: str) -> list[str]:
    return [f"{key} = {{ {', '.join(settings[name])} }}"] if name in settings else []


def _listed(name: str, value: Any) -> str:
    """A stored option as TOML: names and numbers with commas are lists in a study."""
    if name == "fractions":
        return f"[{', '.join(part.strip() for part in str(value).split(','))}]"
    if name in ("protocol", "views", "select"):
        return f"[{', '.join(_quoted(part.strip()) for part in str(value).split(','))}]"
    return _quoted(value) if isinstance(value, str) else str(value)


def _literal(text: str) -> str:
    """A value of --set as TOML: numbers and switches as such."""
    try:
        return text if isinstance(tomllib.loads(f"value = {text}")["value"], int | float) else _quoted(text)
    except tomllib.TOMLDecodeError:
        return _quoted(text)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _joined(value: Any) -> Any:
    return ",".join(_as_text(part) for part in value) if isinstance(value, list) else value


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unknown(said: Mapping[str, Any]) -> str:
    """What is wrong about the first key that no study has, with the nearest one that it has; empty where none is."""
    places: list[tuple[str, Any, Schema]] = [("", said, STUDY)]
    for name in ("study", "data", "method", "exclude"):
        schema = STUDY["properties"][name]
        tables = said.get(name, [])
        for table in tables if isinstance(tables, list) else [tables]:
            places.append((f"[{name}] " if name == "study" else f"[[{name}]] ", table, schema.get("items", schema)))
    for where, table, schema in places:
        for key in table if isinstance(table, Mapping) else ():
            if key not in schema["properties"]:
                return f"{where}{key}: {_none_has(key, schema['properties'])}"
    return ""


def _none_has(name: str, known: Sequence[str] | set[str] | Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"
    return f"there is no such name; {hint}"
