"""Where a training stood, on disk while it goes on: a process that dies costs seconds of it, and no number changes."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from bench.base.files import bytes_digest, file_digest, write_atomically

MOVES_NO_NUMBER = True  # a training that goes on from a checkpoint ends in the same bits
KEPT = 2  # the last, and the one before it for when the last is damaged
LARGEST_FRACTION = 1 / 20  # of the time that writing may take

Note = Callable[[str], None]


def _say_nothing(_text: str) -> None:
    pass


class State(NamedTuple):
    """All that a training needs to go on: tensors, and what JSON can say."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


@dataclass
class Checkpoints:
    """The states of a trial's trainings, by name, in a folder; without a folder nothing is kept.

    A file is whole or not there, and has the SHA-256 of its content in its name: a damaged one is passed over.
    """

    folder: Path | None = None
    interval_in_seconds: float = 30.0  # 0: whenever there is something new
    note: Note = _say_nothing

    def __post_init__(self) -> None:
        self._states, self._number = self._read()
        self._due = time.monotonic() + self.interval_in_seconds

    def recall(self, name: str) -> State | None:
        """Where the training of that name stood when the process before this one ended."""
        return self._states.get(name)

    def keep(self, name: str, state: Callable[[], State], ended: bool) -> None:
        """Remember the state of one that has ended, and write all states where that is due."""
        due = time.monotonic() >= self._due
        if self.folder is not None and (due or ended):
            self._states[name] = state()
            if due:
                self._write(self.folder)

    def clear(self) -> None:
        """Forget everything."""
        self._states = {}
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, folder: Path) -> None:
        began = time.monotonic()
        tensors: dict[str, Tensor] = {}
        for i, state in enumerate(self._states.values()):
            tensors |= {f"{i}/{k}": v.cpu().contiguous() for k, v in state.tensors.items()}
        content = save(tensors, {"states": json.dumps([(name, s.facts) for name, s in self._states.items()])})
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / f"{self._number + 1:06d}-{bytes_digest(content)}.safetensors", content)
            self._number += 1
            for old in _files(folder)[:-KEPT]:
                old.unlink()
        except OSError as error:  # a full disk must not end a training whose result may still find room
            self._note(f"no checkpoint: {error}")
        now = time.monotonic()
        self._due = now + max(
            self.interval_in_seconds, (now - began) / LARGEST_FRACTION if self.interval_in_seconds else 0
        )

    def _read(self) -> tuple[dict[str, State], int]:
        files = _files(self.folder) if self.folder is not None else []
        last = int(files[-1].stem.partition("-")[0]) if files else 0
        for path in reversed(files):
            with suppress(Exception):  # whatever lies there
                if file_digest(path) == path.stem.partition("-")[2]:
                    return _states(path), last
            self._note(f"checkpoint {path.name} is damaged and passed over")
        return {}, last

    def _note(self, text: str) -> None:
        with suppress(OSError):  # the disk that takes no checkpoint takes no note either
            self.note(text)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*-*.safetensors") if path.stem.partition("-")[0].isdigit())


def _states(path: Path) -> dict[str, State]:
    with safe_open(path, "pt") as file:
        named = [(name, State({}, facts)) for name, facts in json.loads(file.metadata()["states"])]
        for key in list(file.keys()):
            number, _, tensor = key.partition("/")
            named[int(number)][1].tensors[tensor] = file.get_tensor(key)
    return dict(named)


def global_randomness() -> State:
    """The states of those generators."""
    tensors = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors |= {f"cuda{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return State(tensors, {"python": random.getstate(), "numpy": [kind, np.asarray(keys).tolist(), *rest]})


def set_global_randomness(state: State) -> None:
    """The inverse of `global_randomness`, also after JSON."""
    version, words, gauss = state.facts["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, *rest = state.facts["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state.tensors["torch"])
    cuda = sorted(name for name in state.tensors if name.startswith("cuda"))
    if cuda:
        torch.cuda.set_rng_state_all([state.tensors[name] for name in cuda])
