"""Around a method's training: what else than the loop trains, and how long a trial will take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook


class OwnLoopError(BaseException):
    """The method steps an optimiser of its own; no Exception, so that its loop cannot catch it and go on."""


@contextmanager
def watched(optimizers: list[torch.optim.Optimizer], on_step: Callable[[], None]) -> Iterator[None]:
    """Call `on_step` before each step of an optimiser that is not among these: one of a loop of the method's own."""

    def notice(optimizer: torch.optim.Optimizer, *_: object) -> None:
        if not any(optimizer is known for known in optimizers):
            on_step()

    hook = register_optimizer_step_pre_hook(notice)
    try:
        yield
    finally:
        hook.remove()


@dataclass
class Rehearsal:
    """Trainings timed instead of done: two steps and a validation of each."""

    shared_seconds: dict[str, float] = field(default_factory=dict)  # of what trials share, by its name
