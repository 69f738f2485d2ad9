"""Seeds derived by name from one run seed, so that no two uses share a stream of random numbers."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the use called `names`, fixed by the run's `seed`."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """An explicit NumPy generator for the use called `names`."""
    return np.random.default_rng(derive(seed, *names))


def torch_generator(seed: int, *names: str | int) -> torch.Generator:
    """An explicit torch generator (on the CPU) for the use called `names`."""
    import torch

    return torch.Generator().manual_seed(derive(seed, *names))


def seed_globally(seed: int) -> None:
    """Seed the generators that other people's code may draw from; ours has explicit ones."""
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)
