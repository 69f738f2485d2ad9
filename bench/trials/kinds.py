"""What a cell of `rows.csv` may hold: a text or a number, and its range."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
LARGEST_WHOLE = 10**12  # below it, every whole number has a float of its own


@dataclass(frozen=True)
class Text:
    """A text in one line; one of a few where `among` names them."""

    required: bool = False
    among: tuple[str, ...] = ()

    @property
    def dtype(self) -> str:
        """Of the column in a table."""
        return "object"

    def __str__(self) -> str:
        if self.among:
            return f"one of {', '.join(self.among)}"
        return "a text of one line" + (" that is not empty" if self.required else "")

    def read(self, cell: str) -> str:
        """The cell's text; raises ValueError for another than `str(self)` says."""
        if not cell.isprintable() or (self.required and not cell) or (self.among and cell not in self.among):
            raise ValueError(cell)
        return cell


@dataclass(frozen=True)
class Number:
    """A finite number from `low` to `high`."""

    low: float = 0.0
    high: float = math.inf
    required: bool = False
    whole: bool = False
    above: bool = False  # `low` itself is outside

    @property
    def dtype(self) -> str:
        """Of the column in a table."""
        if self.whole:
            return "int64" if self.required else "Int64"
        return "float64"

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a finite number"
        if self.high == math.inf:
            bounds = f"of {self.low:g} or more"
        elif self.above:
            bounds = f"above {self.low:g}, at most {self.high:g}"
        else:
            bounds = f"from {self.low:g} to {self.high:g}"
        return f"{kind} {bounds}" + ("" if self.required else ", or empty")

    def read(self, cell: str) -> float | int | None:
        """The cell's number, None for an empty one; raises ValueError for another than `str(self)` says."""
        if not cell and not self.required:
            return None
        if not _NUMBER.fullmatch(cell):
            raise ValueError(cell)
        value = float(cell)
        inside = self.low <= value <= self.high and math.isfinite(value) and not (self.above and value == self.low)
        if not inside or (self.whole and not (value.is_integer() and value <= LARGEST_WHOLE)):
            raise ValueError(cell)
        return int(value) if self.whole else value
