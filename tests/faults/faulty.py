"""Methods that do what no method should; a package of somebody else's, as far as bench knows."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.learning.contracts import Batch, TrainingData
from bench.learning.method import Classifier
from bench.learning.trainer import Trainer

BESIDE = Path(__file__).parent  # where a method may leave a note between two attempts


class Plain(Classifier):
    """Supervised learning, as a start for the others."""

    title = "Faulty"


class Raises(Plain):
    def loss(self, network: Any, batch: Batch) -> Tensor:
        raise KeyError("no <such> key")


class GivesNan(Plain):
    def loss(self, network: Any, batch: Batch) -> Tensor:
        return super().loss(network, batch) * float("nan")


class Hangs(Plain):
    """In C, deaf to every signal that Python could handle."""

    def fit(self, data: TrainingData, trainer: Trainer) -> nn.Module:
        if trainer.rehearsal:
            return super().fit(data, trainer)
        ctypes.PyDLL(None).sleep(3600)  # holds the interpreter's lock
        raise AssertionError


class Sleeps(Plain):
    def fit(self, data: TrainingData, trainer: Trainer) -> nn.Module:
        if trainer.rehearsal:
            return super().fit(data, trainer)
        while True:
            time.sleep(0.1)


class GivesNothing(Plain):
    def fit(self, data: TrainingData, trainer: Trainer) -> nn.Module:
        return None  # type: ignore[return-value]


class GivesGarbage(Plain):
    def fit(self, data: TrainingData, trainer: Trainer) -> nn.Module:
        class Garbage(nn.Module):
            def logits(self, volumes: Tensor) -> Any:
                return "ribosome"

        return Garbage()


class Stretches(Plain):
    """A reconstruction of one voxel, which would fit any volume by broadcasting."""

    def fit(self, data: TrainingData, trainer: Trainer) -> nn.Module:
        class Dot(nn.Module):
            def reconstruct(self, volumes: Tensor) -> Tensor:
                return torch.zeros(len(volumes), 1, 1, 1, 1)

        return Dot()


class Exits(Plain):
    def loss(self, network: Any, batch: Batch) -> Tensor:
        sys.exit(0)


class IsKilled(Plain):
    """At every attempt."""

    def loss(self, network: Any, batch: Batch) -> Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class DiesOnce(Plain):
    """A crash in C at the fifth step of the first attempt."""

    def loss(self, network: Any, batch: Batch) -> Tensor:
        steps, died = BESIDE / "steps", BESIDE / "died"
        with steps.open("a") as file:
            file.write(".")
        if not died.exists() and steps.stat().st_size == 5:
            died.touch()
            ctypes.string_at(0)
        return super().loss(network, batch)


class EatsMemory(Plain):
    def loss(self, network: Any, batch: Batch) -> Tensor:
        torch.empty(2**50)
        raise AssertionError


class Grows(Plain):
    """By a quarter of a gigabyte a step, until somebody stops it."""

    def loss(self, network: Any, batch: Batch) -> Tensor:
        if not hasattr(network, "hoard"):
            network.hoard = []
        for _ in range(40):
            network.hoard.append(torch.ones(2**26))
            time.sleep(0.1)
        return super().loss(network, batch)


class LeavesAMess(Plain):
    """Good scores, but global settings changed for whoever comes next in its process."""

    def fit(self, data: TrainingData, trainer: Trainer) -> nn.Module:
        network = super().fit(data, trainer)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.set_num_threads(2)
        torch.manual_seed(1)
        os.chdir(tempfile.gettempdir())
        return network
