"""JSON files that are read back: bounded before they are parsed, then held against a schema."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from bench.base.errors import BenchError

MOVES_NO_NUMBER = True

LARGEST_IN_BYTES = 2**28  # a set of a million boxes, each with the name of its tomogram, takes 40 MB
DEEPEST = 32  # objects and lists in one another; the deepest file of ours has 7
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

Schema = Mapping[str, Any]  # as jsonschema reads it
TEXT: Schema = {"type": "string"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
NUMBER: Schema = {"type": "number"}
NUMBER_OR_NULL: Schema = {"type": ["number", "null"]}
WHOLE: Schema = {"type": "integer", "minimum": 0}
WHOLE_OR_NULL: Schema = {"type": ["integer", "null"], "minimum": 0}
SWITCH: Schema = {"type": "boolean"}
KEY: Schema = {"type": "string", "pattern": r"\A[0-9a-f]{16}\Z"}  # a hash of `files.digest`; it may become a path


def record(**properties: Schema) -> Schema:
    """Schema of an object with these properties and no others."""
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def with_optional(schema: Schema, **properties: Schema) -> Schema:
    """Schema of the same object, which may have these properties too."""
    return {**schema, "properties": {**schema["properties"], **properties}}


def listing(items: Schema) -> Schema:
    """Schema of a list."""
    return {"type": "array", "items": items}


def or_null(schema: Schema) -> Schema:
    """Schema of what may be missing."""
    return {"anyOf": [{"type": "null"}, schema]}


def read_json(path: Path, schema: Schema, mend: str) -> Any:
    """What a file of ours says; raises BenchError, which ends in `mend`, where it does not fit its schema."""
    if (size := path.stat().st_size) > LARGEST_IN_BYTES:
        raise BenchError(f"{path}: damaged ({size} bytes, at most {LARGEST_IN_BYTES} are expected); {mend}")
    try:
        content = path.read_bytes()
        if _depth(content) > DEEPEST:
            raise ValueError(f"lists or objects in one another, more than {DEEPEST} deep")
        found = json.loads(content.decode())  # other encodings would have other strings
    except ValueError as error:
        raise BenchError(f"{path}: damaged ({error}); {mend}") from error
    if problem := misfit(found, schema):
        raise BenchError(f"{path}: damaged ({problem}); {mend}")
    return found


def misfit(found: Any, schema: Schema) -> str:
    """Where and how a JSON value does not fit a schema, in one line; empty where it fits."""
    error = next(_validator(json.dumps(schema)).iter_errors(found), None)
    if error is None:
        return ""
    line = textwrap.shorten(error.message, 120) if len(error.message) <= 1000 else f"no {error.validator_value}"
    return "".join(c if c.isprintable() else "?" for c in f"{error.json_path}: {line}")


@cache
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(schema))


def _depth(content: bytes) -> int:
    """The most brackets that are open at a time, outside strings; where there are few, how many there are."""
    if (opening := content.count(b"[") + content.count(b"{")) <= DEEPEST:
        return opening
    brackets = _STRING.sub(b"", content).translate(None, _NO_BRACKETS)
    return max(accumulate((1 if bracket in b"[{" else -1 for bracket in brackets), initial=0))
