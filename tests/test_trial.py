"""A trial from data to row: repeatable, blind to what it must not see, and never the end of the others."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import registry
from bench.data.subtomograms import Subtomograms
from bench.learning import trainer
from bench.learning.checkpoint import Checkpoints
from bench.learning.contracts import Batch, TrainingData
from bench.learning.feed import Feed
from bench.learning.method import Classifier
from bench.learning.networks import AutoencodingNetwork
from bench.learning.protocol import Budget
from bench.learning.trainer import Trainer
from bench.methods.autoencoding import Autoencoding
from bench.trials.prepare import prepare, split_of
from bench.trials.run import run
from bench.trials.trial import Result, Runtime, Scores, Trial

MakeTrial = Callable[..., Trial]


def _numbers(result: Result) -> dict[str, object]:
    timeless = result.costs.optimiser_steps
    return {"scores": result.scores, "confusion": result.confusion, "history": result.history, "costs": timeless}


@pytest.mark.parametrize("method", list(registry.entries(registry.METHODS)))
def test_the_same_trial_twice_gives_the_same_row(
    method: str,
    make_trial: MakeTrial,
    runtime: Runtime,
    tiny_folder: Path,
) -> None:
    ours = make_trial(method)
    first = run(ours, tiny_folder, runtime)
    assert first.status == "done", first.traceback
    fresh = replace(runtime, cache_folder=runtime.cache_folder / "fresh")
    assert _numbers(run(ours, tiny_folder, fresh)) == _numbers(first)


def test_the_global_random_state_does_not_matter(make_trial: MakeTrial, runtime: Runtime, tiny_folder: Path) -> None:
    first = run(make_trial("autoencoding"), tiny_folder, runtime)
    torch.manual_seed(12345)
    assert _numbers(run(make_trial("autoencoding"), tiny_folder, runtime)) == _numbers(first)


def test_seeds_differ(make_trial: MakeTrial, runtime: Runtime, tiny_folder: Path) -> None:
    assert run(make_trial(seed=0), tiny_folder, runtime).scores != run(make_trial(seed=1), tiny_folder, runtime).scores


def test_a_key_names_every_setting_and_survives_json(make_trial: MakeTrial) -> None:
    ours = make_trial("autoencoding")
    assert Trial.from_dict(json.loads(json.dumps(asdict(ours)))).key() == ours.key()
    assert replace(ours, data_title="x", method_title="y", variant="z").key() == ours.key()  # for people only
    others = [
        replace(ours, labelled_percent=10.0),
        replace(ours, code="other"),
        replace(ours, data_parameters=(("box", 16),)),
        replace(ours, seed=1),
        replace(ours, protocol="paper"),
        replace(ours, budget=Budget(2, 16, 4)),
        replace(ours, settings=(("alpha", 1.0), ("beta", 0.5))),
        replace(ours, fingerprint="other"),
    ]
    assert len({t.key() for t in [ours, *others]}) == len(others) + 1


@pytest.mark.parametrize(
    ("loss", "word"),
    [
        (lambda *_: 1 / 0, "ZeroDivisionError"),
        (lambda _, network, batch: network.logits(batch.volumes).sum() * float("nan"), "FloatingPointError"),
        (lambda *_: None, "AttributeError"),
    ],
)
def test_a_method_that_breaks_is_a_row(
    loss: object,
    word: str,
    make_trial: MakeTrial,
    runtime: Runtime,
    tiny_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from bench.methods.supervised import Supervised

    monkeypatch.setattr(Supervised, "loss", loss)
    result = run(make_trial(), tiny_folder, runtime)
    assert result.status == "failed"
    assert word in result.error
    assert "Traceback" in result.traceback
    assert result.scores == Scores()


def test_a_full_disk_is_not_the_method_s_failure(
    make_trial: MakeTrial,
    runtime: Runtime,
    tiny_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The shared autoencoder finds no room; recorded as failed it would never run again by itself."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(trainer, "write_atomically", full)
    with pytest.raises(OSError, match="space"):
        run(make_trial("autoencoder"), tiny_folder, runtime)


def test_probabilities_that_are_not_numbers_fail_the_trial(
    make_trial: MakeTrial,
    runtime: Runtime,
    tiny_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from bench.methods.supervised import Supervised

    class Broken(torch.nn.Module):
        def logits(self, volumes: Tensor) -> Tensor:
            return torch.full((len(volumes), 8), float("nan"))

    monkeypatch.setattr(Supervised, "fit", lambda *_: Broken())
    assert run(make_trial(), tiny_folder, runtime).status == "failed"


def test_no_door_leads_a_method_to_a_test_volume(
    make_trial: MakeTrial,
    runtime: Runtime,
    tiny_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every row that any index of any feed gives, and every tensor that reaches `fit`, against every test volume."""
    from bench.methods.supervised import Supervised

    shown: list[Tensor] = []
    fit = Supervised.fit

    def watch(self: object, data: TrainingData, trainer: Trainer) -> object:
        for feed in (data.volumes, data.validation_volumes, data.labelled().volumes, data.without_labels().volumes):
            shown.append(feed.at(torch.arange(feed.n_rows))[torch.arange(feed.n_rows)])
            for beyond in (feed.n_rows, len(everything.labels) - 1):
                with pytest.raises(IndexError):
                    feed.at(torch.tensor([beyond]))[torch.tensor([0])]
        assert not [v for v in vars(trainer).values() if isinstance(v, Tensor | Feed)]
        return fit(self, data, trainer)  # type: ignore[arg-type]

    monkeypatch.setattr(Supervised, "fit", watch)
    ours, everything = make_trial(), Subtomograms.open(tiny_folder)
    assert run(ours, tiny_folder, runtime).status == "done"
    split = split_of(ours, everything)
    assert len(shown[0]) == len(split.train)
    test = torch.from_numpy(everything.volumes[split.test])
    # Normalised volumes correlate with themselves only.
    joined = torch.cat(shown)[:, 0].flatten(1)
    flat = [(v - v.mean(1, keepdim=True)) / v.std(1, keepdim=True) for v in (joined, test.flatten(1))]
    assert (flat[0] @ flat[1].T / 512).max() < 0.9


def test_the_deterministic_option_changes_nothing_on_a_cpu(
    make_trial: MakeTrial,
    runtime: Runtime,
    tiny_folder: Path,
    tmp_path: Path,
) -> None:
    ours, strict = make_trial("m2"), replace(runtime, deterministic=True, cache_folder=tmp_path / "strict")
    try:
        assert run(ours, tiny_folder, strict).scores == run(ours, tiny_folder, runtime).scores
    finally:
        torch.use_deterministic_algorithms(False)


class _OwnLoop(Classifier):
    """Trains as it likes, and hands back what it likes."""

    title = "Own loop"
    steps = 7
    renamed = False

    def fit(self, data: TrainingData, trainer: Trainer) -> nn.Module:
        network = trainer.initialise(self.build(trainer.backbone))
        optimizer = torch.optim.SGD(network.parameters(), 0.01)
        known = data.labelled()
        network.train()
        for _ in range(self.steps):
            optimizer.zero_grad()
            batch = Batch(known.volumes[torch.arange(8)], known.labels[:8], torch.Generator())
            self.loss(network, batch).backward()
            optimizer.step()
        if self.renamed:
            network.other = nn.Linear(1, 1)  # not what build() makes
        return network  # in training mode


@pytest.fixture
def own_loop(monkeypatch: pytest.MonkeyPatch) -> type[_OwnLoop]:
    kind = type("Fresh", (_OwnLoop,), {})
    method = registry.method
    monkeypatch.setattr(
        registry, "method", lambda name, settings=None: kind() if name == "own" else method(name, settings)
    )
    return kind


def test_steps_of_a_loop_of_the_method_s_own_are_counted(
    own_loop: type[_OwnLoop], make_trial: MakeTrial, runtime: Runtime, tiny_folder: Path
) -> None:
    result = run(replace(make_trial(), method="own"), tiny_folder, runtime)
    assert result.status == "done", result.traceback
    assert result.costs.optimiser_steps == own_loop.steps


def test_a_network_is_scored_as_for_evaluation(
    own_loop: type[_OwnLoop], make_trial: MakeTrial, runtime: Runtime, tiny_folder: Path
) -> None:
    """BatchNorm in training mode would make a volume's score depend on its neighbours."""
    trained = run(replace(make_trial(), method="own"), tiny_folder, runtime)
    prepared = prepare(make_trial(), tiny_folder, runtime)
    network = Classifier.restore(own_loop(), prepared.trainer.backbone, trained.weights or {}).eval()
    with torch.inference_mode():
        logits = torch.cat([network.logits(prepared.test[one]) for one in torch.arange(len(prepared.test)).split(1)])
    right = logits.argmax(1).numpy() == prepared.subtomograms.labels[prepared.split.test]
    assert trained.scores.accuracy == pytest.approx(right.mean())


def test_what_fit_returns_must_be_what_restore_takes(
    own_loop: type[_OwnLoop], make_trial: MakeTrial, runtime: Runtime, tiny_folder: Path
) -> None:
    own_loop.renamed = True
    result = run(replace(make_trial(), method="own"), tiny_folder, runtime)
    assert result.status == "failed"
    assert "fit returned a network whose weights restore() does not take" in result.error


def test_pseudo_labels_are_compared_with_the_truth(
    make_trial: MakeTrial, runtime: Runtime, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method that guesses class 2 for everything and uses it where a coin says so is right once in eight times."""
    loss = Autoencoding.loss

    def guessing(self: Autoencoding, network: AutoencodingNetwork, batch: Batch) -> Tensor:
        hidden = batch.unlabelled()
        hidden.guess(torch.full_like(hidden.labels, 2), hidden.indices % 2 == 0)  # type: ignore[operator]
        return loss(self, network, batch)

    monkeypatch.setattr(Autoencoding, "loss", guessing)
    result = run(make_trial("autoencoding"), tiny_folder, runtime)
    assert result.guesses is not None
    assert result.guesses.used == pytest.approx(0.5, abs=0.25)
    split = split_of(make_trial("autoencoding"), Subtomograms.open(tiny_folder))
    labels = Subtomograms.open(tiny_folder).labels[split.train]
    possible = np.flatnonzero(np.isin(split.train, split.labelled, invert=True) & (np.arange(len(labels)) % 2 == 0))
    assert result.guesses.accuracy == pytest.approx((labels[possible] == 2).mean(), abs=0.15)


def test_a_tilt_range_that_nobody_knows_is_measured_and_said(
    make_trial: MakeTrial, runtime: Runtime, tiny: Subtomograms, tmp_path: Path
) -> None:
    said: list[str] = []
    replace(tiny, tilt_range_in_degrees=None).save(tmp_path)
    prepare(make_trial(), tmp_path, runtime, Checkpoints(note=said.append))
    assert len(said) == 1
    low, high = map(float, re.findall(r"(-?\d+)°", said[0]))
    assert (low, high) == pytest.approx((-60, 60), abs=12)  # 8³ boxes show it coarsely
