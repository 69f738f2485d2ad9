"""What trials share, and the methods that train an encoder before they fine-tune it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from test_methods import _data, _trainer
from torch import Tensor

from bench.base.arrays import UNLABELLED
from bench.learning.contracts import TrainingData
from bench.learning.training import Trainer
from bench.methods.m2 import M2


@dataclass(frozen=True)
class Maker:
    """Stands for a method; `made` lists the labels that each of its stages was given."""

    strength: float = 1.0

    def stage(self, trainer: Trainer, data: TrainingData, made: list[Tensor]) -> dict[str, Tensor]:
        def make(own: Trainer, given: TrainingData) -> dict[str, Tensor]:
            made.append(torch.cat([given.labels, given.validation_labels]))
            return {"strength": torch.tensor(self.strength)}

        return trainer.shared("maker", self, data, make)


def test_a_shared_stage_is_given_no_label(tmp_path: Path) -> None:
    made: list[Tensor] = []
    Maker().stage(_trainer(tmp_path), _data(), made)
    assert len(made[0]) == 48 + 8
    assert (made[0] == UNLABELLED).all()


def test_a_shared_stage_sees_all_volumes_or_none(tmp_path: Path) -> None:
    """Which volumes are labelled differs between fractions: a stage of those alone is no one else's."""
    with pytest.raises(ValueError, match="maker: what trials share must train on all volumes"):
        Maker().stage(_trainer(tmp_path), _data().labelled(), [])


def test_a_changed_hyperparameter_makes_another_stage_and_an_unchanged_one_is_found(tmp_path: Path) -> None:
    made: list[Tensor] = []
    for strength in (1.0, -5.0, 1.0, -5.0):
        assert Maker(strength).stage(_trainer(tmp_path), _data(), made)["strength"] == strength
    assert len(made) == 2


def test_m1_is_the_same_whatever_m2_weighs(tmp_path: Path) -> None:
    for alpha in (0.1, 5.0):
        M2(alpha).fit(_data(), _trainer(tmp_path, "paper"))
    assert len(list(tmp_path.glob("m1-*/weights.safetensors"))) == 1
