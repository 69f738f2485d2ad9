"""What a trainer counts, shares and foretells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import UNLABELLED, registry
from bench.base.errors import BenchError
from bench.base.files import bytes_digest
from bench.learning.contracts import Batch, TrainingData
from bench.learning.method import Method
from bench.learning.networks import Backbone, ClassifierNetwork
from bench.learning.recipe import Recipe
from bench.learning.trainer import Trainer
from bench.testing import N_CLASSES, tiny_data, tiny_trainer
from bench.trials.run import rehearse
from bench.trials.trial import Runtime, Trial


def _loss(network: ClassifierNetwork, batch: Batch) -> Tensor:
    return F.cross_entropy(network.logits(batch.volumes), batch.labels)


def _classifier(trainer: Trainer, name: str) -> ClassifierNetwork:
    return trainer.initialise(ClassifierNetwork(trainer.backbone), name)


def test_a_shared_part_keeps_the_curve_of_what_came_before_and_of_another_shared_part(tmp_path: Path) -> None:
    trainer, data = tiny_trainer(tmp_path), tiny_data().labelled()
    trainer.start(_classifier(trainer, "first"), _loss, data, "first").finish()
    own = list(trainer.tally.history)
    assert own
    for name in ("one", "two"):

        def make(shared: Trainer, _: TrainingData, name: str = name) -> dict[str, Tensor]:
            return dict(shared.start(_classifier(shared, name), _loss, data, name).finish().best_weights)

        trainer.shared(name, OwnLoop(), tiny_data(), make)
    history = trainer.tally.history
    assert history[: len(own)] == own
    assert [point.stage for point in history] == ["first"] * len(own) + ["one"] * len(own) + ["two"] * len(own)
    steps = [point.step for point in history]
    assert steps == sorted(set(steps))
    assert steps[-1] == trainer.tally.steps == 3 * own[-1].step


@pytest.mark.parametrize("content", ["[" * 100_000, "{}", '{"seconds": 1', b"\xff"])
def test_a_tally_that_no_training_wrote_is_made_anew_or_one_line(content: str | bytes, tmp_path: Path) -> None:
    made: list[str] = []

    def make(_: Trainer, __: TrainingData) -> dict[str, Tensor]:
        made.append("once more")
        return {"a": torch.ones(1)}

    trainer = tiny_trainer(tmp_path)
    trainer.shared("one", OwnLoop(), tiny_data(), make)
    (path,) = tmp_path.rglob("tally.json")
    whole, listed = path.read_bytes(), path.with_name("contents.json")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    trainer.shared("one", OwnLoop(), tiny_data(), make)
    assert (len(made), path.read_bytes()) == (2, whole)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())  # and its checksum fits
    listed.write_text(listed.read_text().replace(bytes_digest(whole), bytes_digest(path.read_bytes())))
    with pytest.raises(BenchError, match=r"tally\.json: damaged \(.*\); delete .* and run the trial again$"):
        trainer.shared("one", OwnLoop(), tiny_data(), make)


@dataclass(frozen=True)
class OwnLoop(Method):
    """Trains by itself, for as long as it likes."""

    title = "Own loop"

    def build(self, backbone: Backbone) -> nn.Module:
        return ClassifierNetwork(backbone)

    def loss(self, network: ClassifierNetwork, batch: Batch) -> Tensor:
        return _loss(network, batch)

    def fit(self, data: TrainingData, trainer: Trainer) -> nn.Module:
        network, known = _classifier(trainer, "network"), data.labelled()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        for _ in range(100):
            STEPS.append(1)
            optimizer.zero_grad()
            F.cross_entropy(network.logits(known.volumes[torch.arange(8)]), known.labels[:8]).backward()
            try:
                optimizer.step()
            except Exception:
                continue  # a loop that takes errors lightly
        return network.eval()


STEPS: list[int] = []


def test_a_loop_of_its_own_is_not_run_in_the_rehearsal(
    make_trial: Callable[..., Trial], runtime: Runtime, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "method", lambda *_: OwnLoop())
    STEPS.clear()
    assert rehearse(make_trial(), tiny_folder, runtime) is None
    assert len(STEPS) == 1
    network = OwnLoop().fit(tiny_data(), tiny_trainer(runtime.cache_folder))  # outside a rehearsal nothing stops it
    assert len(STEPS) == 101
    assert network.logits(torch.zeros(2, 1, 8, 8, 8)).shape == (2, N_CLASSES)


@pytest.mark.parametrize("method", list(registry.entries(registry.METHODS)))
@pytest.mark.parametrize("protocol", ["fair", "paper"])
def test_every_method_of_ours_is_foretold(
    method: str, protocol: str, make_trial: Callable[..., Trial], runtime: Runtime, tiny_folder: Path
) -> None:
    estimate = rehearse(make_trial(method, protocol=protocol), tiny_folder, runtime)
    assert estimate is not None
    assert estimate.own + sum(estimate.shared.values()) > 0
    assert not (runtime.cache_folder / "autoencoder").exists()


def test_a_loss_knows_the_progress_of_its_training(tmp_path: Path) -> None:
    trainer, seen, after = tiny_trainer(tmp_path, epochs=2), [], []

    def loss(network: ClassifierNetwork, batch: Batch) -> Tensor:
        if network.training:
            seen.append(batch.progress)
        return _loss(network, batch)

    network = _classifier(trainer, "a")
    run = trainer.start(network, loss, tiny_data().labelled(), after_step=lambda _, progress: after.append(progress))
    run.finish()
    assert seen == after == pytest.approx([step / 6 for step in range(1, 7)])


@pytest.mark.parametrize("select", ["best", "last", "average"])
def test_the_weights_that_are_kept(select: str, tmp_path: Path) -> None:
    """The average moves by the largest of 1 / (t + 1) and 10 / T, T the number of steps."""
    trainer = replace(tiny_trainer(tmp_path, epochs=8), select=select)
    weights: list[Tensor] = []
    losses: list[float] = []

    def watch(network: ClassifierNetwork, _: float) -> None:
        weights.append(network.classifier.layers[-1].bias.detach().clone())

    run = trainer.start(_classifier(trainer, "a"), _loss, tiny_data().labelled(), after_step=watch)
    average = run.network.classifier.layers[-1].bias.detach().clone()
    before = []
    while run.advance():
        losses.append(trainer.tally.history[-1].validation_loss)
        before.append(len(weights))
    for t, now in enumerate(weights, 1):
        average = average.lerp(now, max(1 / (t + 1), min(1.0, 10 / len(weights))))
    kept = run.best().classifier.layers[-1].bias
    expected = {"best": weights[before[losses.index(min(losses))] - 1], "last": weights[-1], "average": average}
    assert torch.allclose(kept, expected[select], atol=1e-6)


@pytest.mark.parametrize("wrong", [{"select": "lst"}, {"batch_size": 1}, {"labelled_share": 1.0}])
def test_a_recipe_that_cannot_be_followed_is_refused(wrong: dict[str, float | str]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[0]):
        Recipe(**wrong)  # type: ignore[arg-type]


def test_a_recipe_is_followed(tmp_path: Path) -> None:
    """Each group of the optimiser rises to its own rate and falls to 0; batches have the share that was asked for."""

    def two_rates(network: nn.Module, rate: float) -> torch.optim.Optimizer:
        first, *others = network.parameters()
        return torch.optim.SGD([{"params": [first], "lr": rate / 10}, {"params": others}], lr=rate)

    trainer, labelled = tiny_trainer(tmp_path, epochs=10), []

    def loss(network: ClassifierNetwork, batch: Batch) -> Tensor:
        if network.training:
            labelled.append((int((batch.labels != UNLABELLED).sum()), len(batch.labels)))
        return _loss(network, batch.labelled())

    recipe = Recipe(batch_size=12, labelled_share=1 / 3, learning_rate=0.5, optimizer=two_rates)
    rates: list[list[float]] = []
    run = trainer.start(
        _classifier(trainer, "a"),
        loss,
        tiny_data(),
        after_step=lambda *_: rates.append([group["lr"] for group in run.optimizer.param_groups]),
        recipe=recipe,
    )
    run.finish()
    assert set(labelled) == {(4, 12)}
    assert trainer.tally.volumes_seen == 12 * trainer.tally.steps
    progress = np.arange(1, trainer.tally.steps + 1) / trainer.tally.steps
    wave = np.minimum(10 * progress, 0.5 * (1 + np.cos(np.pi * progress)))
    assert np.allclose(rates, np.outer(wave, [0.05, 0.5]))
