"""Each benchmark runs in two forms, all plain ones first, as PyTorch's user would have them; then the fast ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from bench.base.machine import keep_freed_memory, peak_in_mebibytes, start_peak, usable_cpus

Compare = Callable[..., None]
InTurns = Callable[..., None]


@pytest.fixture(scope="session", params=["plain", "fast"])
def form(request: pytest.FixtureRequest) -> str:
    if request.param == "fast":
        keep_freed_memory()
    return str(request.param)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(usable_cpus())
    yield
    torch.set_num_threads(before)


@pytest.fixture
def compare(benchmark: Any, form: str) -> Compare:
    """Time the one of two functions whose turn it is; `gigaflops` are those of the reduced arithmetic.

    pieces: of work that each of the two does, where they differ; times are then those of one piece.
    memory: the largest part of the plain form's memory that `ratios.py` lets the fast one take; None: any.
    gated: whether `ratios.py` holds the ratio of the times against the stored one.
    """

    def run(
        name: str,
        plain: Callable[[], object],
        fast: Callable[[], object],
        gigaflops: float = 0.0,
        pieces: tuple[int, int] = (1, 1),
        memory: float | None = None,
        gated: bool = True,
    ) -> None:
        function = plain if form == "plain" else fast
        start_peak("cpu")
        before = peak_in_mebibytes("cpu")
        function()
        taken = peak_in_mebibytes("cpu") - before
        benchmark.extra_info.update(name=name, form=form, gigaflops=gigaflops, memory_mib=taken)
        benchmark.extra_info.update(memory_part=memory, gated=gated)
        benchmark.extra_info["pieces"] = pieces[form == "fast"]
        benchmark.pedantic(function, rounds=3)

    return run


@pytest.fixture
def in_turns(benchmark: Any, form: str) -> InTurns:
    """Measure what one function costs beside another, where both run with the same allocator.

    law: the least and the largest that `ratios.py` lets pass, of seconds of `function` / seconds of `beside`. They are
    seconds of the processor on one thread, the least of some rounds in turn: other work on the cores, and a machine
    that drifts, change them little.
    """

    def run(name: str, function: Callable[[], object], beside: Callable[[], object], law: tuple[float, float]) -> None:
        torch.set_num_threads(1)
        seconds: tuple[list[float], list[float]] = ([], [])

        def both() -> None:
            for one, measured in zip((function, beside), seconds):
                began = time.process_time()
                one()
                measured.append(time.process_time() - began)

        benchmark.pedantic(both, rounds=4)
        benchmark.extra_info.update(name=name, takes=min(seconds[0]) / min(seconds[1]), law=law)

    return run
