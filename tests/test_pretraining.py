"""What trials share, and the methods that train an encoder before they fine-tune it."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from test_methods import _filled
from torch import Tensor, nn

from bench import registry
from bench.base.arrays import UNLABELLED
from bench.learning.contracts import Batch, TrainingData
from bench.learning.feed import Feed
from bench.learning.networks import AutoencoderNetwork, Backbone
from bench.learning.protocol import Budget
from bench.learning.trainer import Trainer
from bench.learning.views import Views
from bench.methods.m2 import M2
from bench.methods.masked_autoencoder import MaskedAutoencoder
from bench.methods.simclr import Contrast, SimCLR
from bench.testing import N_CLASSES, tiny_data, tiny_trainer


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
    Maker().stage(tiny_trainer(tmp_path), tiny_data(), made)
    assert len(made[0]) == 48 + 8
    assert (made[0] == UNLABELLED).all()


def test_a_shared_stage_sees_all_volumes_or_none(tmp_path: Path) -> None:
    """Which volumes are labelled differs between fractions: a stage of those alone is no one else's."""
    with pytest.raises(ValueError, match="maker: what trials share must train on all volumes"):
        Maker().stage(tiny_trainer(tmp_path), tiny_data().labelled(), [])


def test_a_changed_hyperparameter_makes_another_stage_and_an_unchanged_one_is_found(tmp_path: Path) -> None:
    made: list[Tensor] = []
    for strength in (1.0, -5.0, 1.0, -5.0):
        assert Maker(strength).stage(tiny_trainer(tmp_path), tiny_data(), made)["strength"] == strength
    assert len(made) == 2


def test_m1_is_the_same_whatever_m2_weighs(tmp_path: Path) -> None:
    for alpha in (0.1, 5.0):
        M2(alpha).fit(tiny_data(), tiny_trainer(tmp_path, "paper"))
    assert len(list(tmp_path.glob("m1-*/weights.safetensors"))) == 1


# Pre-training, then fine-tuning

NAMES = ("pretrained", "simclr", "masked_autoencoder")


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Started(NamedTuple):
    """A training as it was started."""

    stage: str
    data: TrainingData
    weights: dict[str, Tensor]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Started]:
    """Every training that a trainer starts."""
    found: list[Started] = []
    start = Trainer.start

    def watch(
        self: Trainer, network: nn.Module, loss: Any, data: TrainingData, stage: str, *more: Any, **named: Any
    ) -> Any:
        found.append(Started(stage, data, {k: v.clone() for k, v in network.state_dict().items()}))
        return start(self, network, loss, data, stage, *more, **named)

    monkeypatch.setattr(Trainer, "start", watch)
    return found


def _with_labels(places: list[int]) -> TrainingData:
    """The data with labels at these places alone, and each another than it was."""
    data = tiny_data()
    labels = torch.full_like(data.labels, UNLABELLED)
    labels[places] = (torch.tensor(places) + 1) % N_CLASSES
    return replace(data, labels=labels)


def test_the_first_stage_is_trained_once_for_all_fractions_and_labels(
    name: str, tmp_path: Path, started: list[Started]
) -> None:
    for places in ([0, 1, 2, 3], list(range(24)), list(range(24, 48))):
        registry.method(name).fit(_with_labels(places), tiny_trainer(tmp_path, epochs=2))
    first, *fine_tunings = started
    assert [training.stage for training in fine_tunings] == ["fine-tuning"] * 3
    assert (first.data.labels == UNLABELLED).all()
    assert (first.data.validation_labels == UNLABELLED).all()
    assert [len(training.data.labels) for training in started] == [48, 4, 24, 24]
    convolutions = [k for k in first.weights if k.startswith("encoder.convolutions")]
    assert len(convolutions) == 4
    for key in convolutions:
        tuned = [training.weights[key] for training in fine_tunings]
        assert all(torch.equal(weight, tuned[0]) for weight in tuned)
        assert not torch.equal(tuned[0], first.weights[key])  # it was trained


def test_a_trial_pays_for_its_first_stage_wherever_it_was_trained(name: str, tmp_path: Path) -> None:
    trainers = [tiny_trainer(tmp_path, epochs=2) for _ in range(2)]
    for trainer in trainers:
        registry.method(name).fit(tiny_data(), trainer)
    paid = [[t.tally.steps, t.tally.volumes_seen, [p.step for p in t.tally.history]] for t in trainers]
    assert paid[0] == paid[1]
    assert paid[0][:2] == [6, 3 * 16 + 3 * 8]  # the first stage fills its batches; there are 8 labelled volumes in one


@pytest.mark.parametrize(
    ("name", "setting"), [("simclr", ("temperature", 0.5)), ("masked_autoencoder", ("hidden", 0.5))]
)
def test_another_hyperparameter_is_another_first_stage(
    name: str, setting: tuple[str, float], tmp_path: Path, started: list[Started]
) -> None:
    for settings in ({}, dict([setting]), {}, dict([setting])):
        registry.method(name, settings).fit(tiny_data(), tiny_trainer(tmp_path))
    assert [training.stage for training in started].count(name) == 2


# SimCLR


def _batch(n: int = 5, views: Views | None = None) -> Batch:
    volumes = torch.randn(n, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    return Batch(volumes, torch.full((n,), UNLABELLED), torch.Generator().manual_seed(2), views=views)


def _views(name: str) -> Views:
    return Views.of(name, Feed(torch.randn(32, 8, 8, 8, generator=torch.Generator().manual_seed(3))), (-60.0, 60.0))


@pytest.mark.parametrize("views", ["turns", "none"])
def test_contrast_is_nt_xent_pair_by_pair(views: str) -> None:
    """Chen et al. 2020, Eq. 1 and Algorithm 1: the mean over both orders of each pair."""
    network, drawn = _filled(Contrast(Backbone(8, N_CLASSES, 4))), _batch(views=_views(views))
    rows = [network(x[None])[0] for pair in (drawn.strong(), drawn.strong()) for x in pair]
    assert torch.equal(rows[0], rows[5]) == (views == "none")

    def similarity(i: int, j: int) -> float:
        return math.exp(float(rows[i] @ rows[j] / (rows[i].norm() * rows[j].norm())) / 0.3)

    total = 0.0
    for i in range(10):
        j = (i + 5) % 10
        total -= math.log(similarity(i, j) / sum(similarity(i, k) for k in range(10) if k != i))
    loss = SimCLR(temperature=0.3).contrast(network, _batch(views=_views(views)))
    assert float(loss) == pytest.approx(total / 10, rel=1e-5)


def test_contrast_of_one_volume_is_nothing_to_learn() -> None:
    network = _filled(Contrast(Backbone(8, N_CLASSES, 4))).requires_grad_(True)
    loss = SimCLR().contrast(network, _batch(1))
    loss.backward()
    assert loss.detach() == 0
    assert all((p.grad == 0).all() for p in network.parameters())


# Masked autoencoder


@pytest.mark.parametrize(("box", "hidden"), [(8, 0.75), (28, 0.75), (28, 0.3), (64, 0.75)])
def test_whole_cubes_are_hidden_equally_many_in_each_volume(box: int, hidden: float) -> None:
    batch = replace(_batch(3), as_they_are=torch.zeros(3, 1, box, box, box))
    method, edge = MaskedAutoencoder(hidden=hidden), box // 4
    mask = method.mask(batch)
    assert mask.shape == batch.volumes.shape
    assert (mask.flatten(1).sum(1) == round(64 * hidden) * edge**3).all()
    corners = mask[..., ::edge, ::edge, ::edge]
    for offset in itertools.product((0, edge // 2, edge - 1), repeat=3):
        z, y, x = offset
        assert torch.equal(mask[..., z::edge, y::edge, x::edge], corners)
    assert not torch.equal(mask[0], mask[1])
    assert not torch.equal(method.mask(batch), mask)  # drawn anew


def test_filling_in_is_the_error_of_the_low_passed_volume_at_hidden_voxels() -> None:
    network, method, batch = _filled(AutoencoderNetwork(Backbone(8, N_CLASSES, 4))), MaskedAutoencoder(), _batch(3)
    hidden = method.mask(_batch(3))
    along = np.fft.fftfreq(8, 1 / 8)
    distance = np.sqrt(along[:, None, None] ** 2 + along[:, None] ** 2 + along**2)
    total, count = 0.0, 0
    for volume, mask in zip(batch.volumes, hidden):
        seen = torch.where(mask, 0.0, volume)
        rebuilt = network.reconstruct(seen[None])[0, 0].numpy()
        target = np.fft.ifftn(np.fft.fftn(volume[0].numpy()) * 0.5 ** ((distance / 2) ** 2)).real
        total += float(((rebuilt - target)[mask[0].numpy()] ** 2).sum())
        count += int(mask.sum())
    assert count == 3 * 48 * 8
    assert float(method.filling_in(network, batch)) == pytest.approx(total / count, rel=1e-5)


def test_a_wave_of_half_the_nyquist_frequency_is_halved() -> None:
    wave = torch.cos(2 * math.pi * 4 * torch.arange(16) / 16).expand(1, 1, 16, 16, 16)
    assert torch.allclose(MaskedAutoencoder().smooth(wave), wave / 2, atol=1e-5)
    assert torch.allclose(MaskedAutoencoder().smooth(torch.ones(1, 1, 28, 28, 28)), torch.tensor(1.0), atol=1e-5)


# All methods that mix or pre-train

OURS = [("supervised", {"mixup": 0.2}), ("mixmatch", {}), ("simclr", {}), ("masked_autoencoder", {})]


@pytest.mark.parametrize("box", [28, 64])
@pytest.mark.parametrize(("name", "settings"), OURS)
@pytest.mark.parametrize("protocol", ["fair", "paper"])
def test_one_label_a_class_and_boxes_of_the_paper(
    name: str, settings: dict[str, float], protocol: str, box: int, tmp_path: Path
) -> None:
    generator = torch.Generator().manual_seed(0)
    feed, labels = Feed(torch.randn(16, box, box, box, generator=generator)), torch.full((16,), UNLABELLED)
    labels[:N_CLASSES] = torch.arange(N_CLASSES)
    data = TrainingData(feed, labels, feed.only(torch.arange(N_CLASSES)), torch.arange(N_CLASSES))
    trainer = replace(
        tiny_trainer(tmp_path, protocol),
        backbone=Backbone(box, N_CLASSES, filters=2),
        budget=Budget(epochs=1, batch_size=8, filters=2),
        n_train=16,
        views=Views.of("turns", feed, (-60.0, 60.0)) if protocol == "fair" else None,
    )
    network = registry.method(name, settings).fit(data, trainer)
    with torch.inference_mode():
        assert network.logits(feed[torch.arange(2)]).isfinite().all()
    assert all(math.isfinite(point.training_loss) for point in trainer.tally.history)
