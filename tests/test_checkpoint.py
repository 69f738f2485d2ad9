"""A training that is cut off and goes on ends with the bits of one that never was."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bench import registry
from bench.base.seeds import seed_globally
from bench.learning.checkpoint import Checkpoints, State, global_randomness, set_global_randomness
from bench.learning.feed import Feed
from bench.learning.trainer import Trainer
from bench.testing import tiny_data, tiny_trainer


class Cut(BaseException):
    """The process ends here."""


class Failing(Checkpoints):
    """Dies after it has written the n-th checkpoint of this process, in whichever training that is."""

    left = 0

    def _write(self, folder: Path) -> None:
        super()._write(folder)
        Failing.left -= 1
        if Failing.left == 0:
            raise Cut


def _trained(method: str, trainer: Trainer) -> tuple[dict[str, Tensor], list[object]]:
    made, data = registry.method(method), tiny_data()
    network = made.fit(data if made.needs_labels else data.without_labels(), trainer)
    tally = trainer.tally
    return network.state_dict(), [tally.steps, tally.volumes_seen, tally.history]


def _kept(folder: Path, *values: int) -> list[Path]:
    checkpoints = Checkpoints(folder, 0)
    for value in values:
        checkpoints.keep("a", lambda value=value: State({"x": torch.tensor([value])}, {"value": value}), False)
    return sorted(folder.iterdir())


def test_the_last_two_are_kept_and_the_last_is_recalled(tmp_path: Path) -> None:
    assert len(_kept(tmp_path, 1, 2, 3)) == 2
    state = Checkpoints(tmp_path).recall("a")
    assert state is not None
    assert (state.tensors["x"].tolist(), state.facts) == ([3], {"value": 3})
    assert Checkpoints(tmp_path).recall("b") is None


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "foreign"])
def test_a_damaged_one_is_seen_and_the_one_before_it_used(damage: str, tmp_path: Path) -> None:
    before, last = _kept(tmp_path, 1, 2)
    content = bytearray(last.read_bytes())
    if damage == "flip":
        content[-1] ^= 1
    changed = {"cut": content[:-1], "empty": b"", "foreign": before.read_bytes()}.get(damage, content)
    last.write_bytes(changed)
    said: list[str] = []
    checkpoints = Checkpoints(tmp_path, 0, said.append)
    state = checkpoints.recall("a")
    assert state is not None
    assert state.facts == {"value": 1}
    assert last.name in said[0]
    # The next one takes a number of its own, and is the one that counts.
    checkpoints.keep("a", lambda: State({}, {"value": 5}), False)
    again = Checkpoints(tmp_path).recall("a")
    assert again is not None
    assert again.facts == {"value": 5}


def test_with_both_damaged_it_begins_anew(tmp_path: Path) -> None:
    for path in _kept(tmp_path, *range(8)):
        path.write_bytes(b"{}")
    assert Checkpoints(tmp_path).recall("a") is None
    _kept(tmp_path, 9)  # one that comes after them counts
    again = Checkpoints(tmp_path).recall("a")
    assert again is not None
    assert again.facts == {"value": 9}


def test_one_of_another_copy_of_the_volumes_is_passed_over(tmp_path: Path) -> None:
    """On a GPU with room the rows are those of the copy there; without, of the whole file."""
    from bench.learning.contracts import TrainingData

    cut = tiny_trainer(tmp_path / "a", epochs=2)
    cut.checkpoints = Failing(tmp_path / "checkpoint", 0)
    Failing.left = 2
    with pytest.raises(Cut):
        _trained("supervised", cut)
    larger = tiny_trainer(tmp_path / "b", epochs=2)
    larger.checkpoints = Checkpoints(tmp_path / "checkpoint", 0)
    data = tiny_data()
    rows = torch.cat([data.volumes[torch.arange(48)][:, 0]] * 2)
    twice = TrainingData(
        Feed(rows).only(torch.arange(48, 96)), data.labels, data.validation_volumes, data.validation_labels
    )
    method = registry.method("supervised")
    resumed = method.fit(twice, larger).state_dict()
    whole = method.fit(data, tiny_trainer(tmp_path / "c", epochs=2)).state_dict()
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)


def test_a_full_disk_ends_no_training(tmp_path: Path) -> None:
    said: list[str] = []
    checkpoints = Checkpoints(Path("/dev/full/nowhere"), 0, said.append)
    checkpoints.keep("a", lambda: State({}, {}), False)
    assert len(said) == 1


def test_nothing_is_written_before_the_interval_has_passed(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "none", 3600)
    checkpoints.keep("a", lambda: State({}, {}), True)
    assert not (tmp_path / "none").exists()


def test_the_streams_of_foreign_code_go_on_where_they_were() -> None:
    import json

    seed_globally(3)
    state = global_randomness()
    state = State(state.tensors, json.loads(json.dumps(state.facts)))
    drawn = [(random.random(), np.random.random(), torch.rand(1).item()) for _ in range(2)]  # noqa: NPY002
    set_global_randomness(state)
    again = [(random.random(), np.random.random(), torch.rand(1).item()) for _ in range(2)]  # noqa: NPY002
    assert drawn == again
