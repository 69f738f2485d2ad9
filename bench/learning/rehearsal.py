"""How long a trial will take: its trainings are timed for two steps each instead of done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook


class OwnLoopError(BaseException):
    """The method steps an optimiser of its own; no Exception, so that its loop cannot catch it and go on."""


@dataclass
class Rehearsal:
    """Trainings timed instead of done: two steps and a validation of each."""

    shared_seconds: dict[str, float] = field(default_factory=dict)  # of what trials share, by its name
    optimizers: list[torch.optim.Optimizer] = field(default_factory=list)  # of the trainings that were started

    @contextmanager
    def only_its_own(self) -> Iterator[None]:
        """Raise OwnLoopError where something else trains: nobody knows how long that goes on."""

        def refuse(optimizer: torch.optim.Optimizer, *_: object) -> None:
            if not any(optimizer is known for known in self.optimizers):
                raise OwnLoopError

        hook = register_optimizer_step_pre_hook(refuse)
        try:
            yield
        finally:
            hook.remove()
