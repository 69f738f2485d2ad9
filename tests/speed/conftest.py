"""Each benchmark runs in two forms, all plain ones first, as PyTorch's user would have them; then the fast ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from bench.base.machine import keep_freed_memory, peak_in_mebibytes, start_peak, usable_cpus

Compare = Callable[..., None]


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
    """

    def run(
        name: str,
        plain: Callable[[], object],
        fast: Callable[[], object],
        gigaflops: float = 0.0,
        pieces: tuple[int, int] = (1, 1),
    ) -> None:
        function = plain if form == "plain" else fast
        start_peak("cpu")
        before = peak_in_mebibytes("cpu")
        function()
        memory = peak_in_mebibytes("cpu") - before
        benchmark.extra_info.update(name=name, form=form, gigaflops=gigaflops, memory_mib=memory)
        benchmark.extra_info["pieces"] = pieces[form == "fast"]
        benchmark.pedantic(function, rounds=3)

    return run
