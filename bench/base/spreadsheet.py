"""Tables → CSV that a spreadsheet opens as the texts and numbers that they are, and back."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

MOVES_NO_NUMBER = True

# A spreadsheet takes a text that begins so for a formula. An apostrophe before it makes it a text.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")


def protected(text: str) -> str:
    """A text as a cell that no spreadsheet runs; `plain` gives it back."""
    return f"'{text}" if _FORMULA.match(text) else text


def plain(cell: str) -> str:
    """The text that `protected` made a cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def as_csv(table: pd.DataFrame, float_format: str | None = None) -> str:
    """A table as CSV: names and texts protected, numbers as they are."""
    return _each_text(table, protected).to_csv(index=False, float_format=float_format)


def read_csv(path: Path) -> pd.DataFrame:
    """The table that `as_csv` wrote."""
    return _each_text(pd.read_csv(path, keep_default_na=False, na_values=[""]), plain)


def _each_text(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    changed = table.rename(columns=change)
    for name in changed:
        if not pd.api.types.is_numeric_dtype(changed[name]):
            changed[name] = [change(cell) if isinstance(cell, str) else cell for cell in changed[name]]
    return changed
