"""A trial from data to row: repeatable, blind to what it must not see, and never the end of the others."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench import registry
from bench.learning import training
from bench.learning.protocol import Budget
from bench.trials import trial
from bench.trials.trial import Result, Runtime, Trial, run

MakeTrial = Callable[..., Trial]


def _numbers(result: Result) -> dict[str, object]:
    timeless = {k: v for k, v in result.costs.items() if k == "optimiser_steps"}
    return {"scores": result.scores, "confusion": result.confusion, "history": result.history, "costs": timeless}


@pytest.mark.parametrize("method", list(registry.entries(registry.METHODS)))
def test_the_same_trial_twice_gives_the_same_row(method: str, make_trial: MakeTrial, runtime: Runtime) -> None:
    ours = make_trial(method)
    first = run(ours, runtime)
    assert first.status == "done", first.traceback
    fresh = replace(runtime, cache_folder=runtime.cache_folder / "fresh")
    assert _numbers(run(ours, fresh)) == _numbers(first)


def test_the_global_random_state_does_not_matter(make_trial: MakeTrial, runtime: Runtime) -> None:
    first = run(make_trial("autoencoding"), runtime)
    torch.manual_seed(12345)
    assert _numbers(run(make_trial("autoencoding"), runtime)) == _numbers(first)


def test_seeds_differ(make_trial: MakeTrial, runtime: Runtime) -> None:
    assert run(make_trial(seed=0), runtime).scores != run(make_trial(seed=1), runtime).scores


def test_a_key_names_every_setting_and_survives_json(make_trial: MakeTrial) -> None:
    ours = make_trial("autoencoding")
    assert Trial.from_dict(json.loads(json.dumps(asdict(ours)))).key() == ours.key()
    others = [
        replace(ours, labelled_percent=10.0),
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
    loss: object, word: str, make_trial: MakeTrial, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.methods.supervised import Supervised

    monkeypatch.setattr(Supervised, "loss", loss)
    result = run(make_trial(), runtime)
    assert result.status == "failed"
    assert word in result.error
    assert "Traceback" in result.traceback
    assert not result.scores


def test_a_full_disk_is_not_the_method_s_failure(
    make_trial: MakeTrial, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shared autoencoder finds no room; recorded as failed it would never run again by itself."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(training, "write_atomically", full)
    with pytest.raises(OSError, match="space"):
        run(make_trial("autoencoder"), runtime)


def test_probabilities_that_are_not_numbers_fail_the_trial(
    make_trial: MakeTrial, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.methods.supervised import Supervised

    class Broken(torch.nn.Module):
        def logits(self, volumes: Tensor) -> Tensor:
            return torch.full((len(volumes), 8), float("nan"))

    monkeypatch.setattr(Supervised, "fit", lambda *_: Broken())
    assert run(make_trial(), runtime).status == "failed"


def test_a_method_sees_no_test_volume(
    make_trial: MakeTrial, runtime: Runtime, tiny: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every tensor that reaches `fit`, against every test volume."""
    from bench.data.subtomograms import Subtomograms
    from bench.learning.feed import Feed
    from bench.methods.supervised import Supervised

    seen: list[Tensor] = []
    fit = Supervised.fit

    def watch(self: Supervised, data: object, trainer: object) -> object:
        feeds = [v for v in vars(data).values() if isinstance(v, Feed)]
        assert len(feeds) == 2
        seen.extend(part for feed in feeds for part in feed.batches(100))
        assert not [v for v in vars(trainer).values() if isinstance(v, Tensor)]
        return fit(self, data, trainer)  # type: ignore[arg-type]

    monkeypatch.setattr(Supervised, "fit", watch)
    ours = make_trial()
    run(ours, runtime)
    everything = Subtomograms.open(runtime.data_folder)
    test = torch.from_numpy(everything.volumes[trial.split_of(ours, everything).test])
    shown = torch.cat(seen)[:, 0]
    # Normalised volumes correlate with themselves only.
    flat = [(v - v.mean(1, keepdim=True)) / v.std(1, keepdim=True) for v in (shown.flatten(1), test.flatten(1))]
    assert (flat[0] @ flat[1].T / 512).max() < 0.9


def test_the_deterministic_option_changes_nothing_on_a_cpu(
    make_trial: MakeTrial, runtime: Runtime, tmp_path: Path
) -> None:
    ours, strict = make_trial("m2"), replace(runtime, deterministic=True, cache_folder=tmp_path / "strict")
    try:
        assert run(ours, strict).scores == run(ours, runtime).scores
    finally:
        torch.use_deterministic_algorithms(False)
