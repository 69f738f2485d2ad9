"""`parameter`: a value that a person may set, declared once with its help text and its range."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from numbers import Real
from typing import Any, TypeVar

from bench.base.errors import BenchError

MOVES_NO_NUMBER = True

T = TypeVar("T")
Said = Callable[[str, Any], str]  # a parameter's name and value → as an error message names them


@dataclass(frozen=True)
class Range:
    """The values that a parameter may have; a number must be finite in any case."""

    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()

    def __str__(self) -> str:
        """For a person: "from 8 to 1,024"; empty where nothing is said."""
        if self.choices:
            return " or ".join(self.choices)
        if self.low > -math.inf and self.high < math.inf:
            return f"from {self.low:,.15g} to {self.high:,.15g}"
        if self.low > -math.inf:
            return f"{self.low:,.15g} or more"
        return f"at most {self.high:,.15g}" if self.high < math.inf else ""

    def __contains__(self, value: Any) -> bool:
        """Whether a value, or each of a tuple's, is allowed; an empty text or tuple is not."""
        if self.choices:
            return value in self.choices
        if isinstance(value, tuple | list):
            return len(value) > 0 and all(not isinstance(one, tuple | list) and one in self for one in value)
        if isinstance(value, bool) or not isinstance(value, Real):
            return self == Range() and value != ""
        number: Any = value  # an integer may be too large for a float
        return bool(self.low <= number <= self.high and abs(number) < math.inf)

    def check(self, where: str, value: Any, default: Any = None) -> None:
        """Raise BenchError, which names `where`, for a value out of range; a default that says "not set" is allowed."""
        unset = (value is None and default is None) or (value == "" == default)
        if not unset and value not in self:
            needed = str(self) or ("a finite number" if isinstance(value, Real) else "a text that is not empty")
            raise BenchError(f"{where}: must be {needed}")


def parameter(
    default: T = MISSING,  # type: ignore[assignment]
    help: str = "",
    *,
    low: float = -math.inf,
    high: float = math.inf,
    choices: tuple[str, ...] = (),
    **more: Any,
) -> T:
    """A field of a frozen dataclass: `alpha: float = parameter(1.0, "weight of the reconstruction loss", low=0)`.

    low, high: the smallest and the largest value allowed, of a tuple's each. choices: the texts allowed.
    Without a default the value must be given. more: further metadata of the field.
    """
    return field(default=default, metadata={"help": help, "range": Range(low, high, choices), **more})


def same(kind: type, name: str, **changed: Any) -> Any:
    """A parameter of another dataclass, declared again: `snr: float = same(Imaging, "snr", default=0.03)`."""
    declared = next(f for f in fields(kind) if f.name == name)
    return field(default=changed.get("default", declared.default), metadata=declared.metadata)


def plain(name: str, value: Any) -> str:
    """A parameter in Python: "snr 0.1"."""
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value if value != '' else repr(value)}"


def option(name: str, value: Any) -> str:
    """A parameter as an option of a command: "--snr 0.1"."""
    return f"--{plain(name.replace('_', '-'), value)}"


def check(made: Any, said: Said = plain) -> None:
    """Raise BenchError for the first parameter of a dataclass that is out of its range: for `__post_init__`."""
    for f in fields(made):
        if "range" in f.metadata:
            value = getattr(made, f.name)
            f.metadata["range"].check(said(f.name, value), value, f.default)
