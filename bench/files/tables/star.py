"""RELION's STAR files, line by line, so that a row can get more columns and keep every byte; writes by starfile."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import starfile

from bench.base.errors import BenchError

_TOKEN = re.compile(r"'[^']*'(?=\s|$)|\"[^\"]*\"(?=\s|$)|\S+")


@dataclass(frozen=True)
class Block:
    """A `data_` block of a STAR file: its loop, or its pairs as a loop of one row."""

    name: str
    labels: list[str]  # without the underscore
    label_lines: list[int]
    row_lines: list[int]  # one a row; empty for pairs
    pairs: dict[str, str]


def tokens(line: str) -> list[str]:
    """The values of a row, quotes kept."""
    return line.split() if "'" not in line and '"' not in line else _TOKEN.findall(line)


def unquoted(token: str) -> str:
    """A value without its quotes."""
    return token[1:-1] if len(token) > 1 and token[0] == token[-1] and token[0] in "'\"" else token


def blocks(path: Path, lines: list[str]) -> list[Block]:
    """The blocks of a STAR file; raises BenchError for a row whose values do not fit the columns, or a label twice."""
    found: list[Block] = []
    in_loop = False
    for i, line in enumerate(lines):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        word = text.split(None, 1)[0]
        if word.lower().startswith("data_") and text.partition("#")[0].strip() == word:
            found.append(Block(word[5:], [], [], [], {}))
            in_loop = False
        elif not found:
            raise BenchError(f"{path}: line {i + 1} stands before any data_ block; this is not a STAR file")
        elif word.lower() == "loop_":
            if found[-1].labels:  # a second loop under one name
                found.append(Block(found[-1].name, [], [], [], {}))
            in_loop = True
        elif word.startswith("_") and not (in_loop and found[-1].row_lines):
            if word[1:] in (found[-1].labels if in_loop else found[-1].pairs):
                raise BenchError(f"{path}: line {i + 1}: {word} stands twice in one block; rename or remove one")
            if in_loop:
                found[-1].labels.append(word[1:])
                found[-1].label_lines.append(i)
            else:
                found[-1].pairs[word[1:]] = unquoted(text[len(word) :].strip())
        elif in_loop:
            n, expected = len(tokens(line)), len(found[-1].labels)
            if n != expected:
                raise BenchError(
                    f"{path}: line {i + 1} has {n} values for {expected} columns; cut short? mend or remove that line"
                )
            found[-1].row_lines.append(i)
        else:
            raise BenchError(f"{path}: line {i + 1} belongs to no loop; this is not a STAR file that RELION writes")
    return found


def column(path: Path, lines: list[str], block: Block, label: str) -> list[str] | None:
    """The values of a loop's column, unquoted; None where it has none of that label."""
    if label not in block.labels:
        return None
    at = block.labels.index(label)
    return [unquoted(tokens(lines[i])[at]) for i in block.row_lines]


def with_columns(lines: list[str], block: Block, added: dict[str, Sequence[str]]) -> str:
    """The file's text with columns added to a loop; no other byte changes."""
    after = dict.fromkeys(block.row_lines, "")
    for values in added.values():
        for i, value in zip(block.row_lines, values):
            after[i] += " " + _quoted(value)
    last = block.label_lines[-1]
    out = []
    for i, line in enumerate(lines):
        body, end = _ending(line)
        out.append(body.rstrip(" \t") + after[i] + body[len(body.rstrip(" \t")) :] + end if i in after else line)
        if i == last:
            first = len(block.labels) + 1
            out += [f"_{label} #{first + k} {end or chr(10)}" for k, label in enumerate(added)]
    return "".join(out)


def _quoted(value: str) -> str:
    """A value as one token; where it holds both kinds of quotes, the double ones become single."""
    if value and not re.search(r"[\s'\"#]", value):
        return value
    if '"' not in value:
        return f'"{value}"'
    return f"'{value}'" if "'" not in value else '"' + value.replace('"', "'") + '"'


def _ending(line: str) -> tuple[str, str]:
    body = line.rstrip("\r\n")
    return body, line[len(body) :]


def write_star(written: dict[str, pd.DataFrame], path: Path) -> None:
    """Without the library's first line, which tells the hour: the same table is the same bytes."""
    path.write_text(starfile.to_string(written).partition("\n")[2], encoding="utf-8")
