"""How a long piece of work says how far it is, to whoever listens."""

from __future__ import annotations

from collections.abc import Callable

MOVES_NO_NUMBER = True

Progress = Callable[[int, int], None]  # (done, of)


def silent(_done: int, _of: int) -> None:
    """A Progress that says nothing."""
