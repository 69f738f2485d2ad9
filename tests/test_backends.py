"""Ray gives the numbers that the serial backend gives, packs GPUs by fractions, and refuses what can never run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import TINY

from bench.base.errors import BenchError
from bench.trials import backends
from bench.trials.backends import ray_tune
from bench.trials.rows import COSTS
from bench.trials.store import Store
from bench.trials.trial import Runtime, Trial

# One stage, several, a shared autoencoder and those that wait for it, and one without labels.
METHODS = ["--methods", "supervised,self_training,pretrained,autoencoder,m2,mean_teacher"]


@pytest.mark.filterwarnings("ignore::Warning")  # Ray's own, on import and on shutdown
def test_ray_and_serial_give_the_same_rows(bench, tmp_path: Path) -> None:
    rows = []
    for backend in ("ray", "serial"):
        out = tmp_path / backend
        code, _, err = bench("run", *TINY, *METHODS, "--fractions", "40", "--backend", backend, "--out", out)
        assert code == 0, err
        rows.append(pd.read_csv(out / "rows.csv").drop(columns=[c for c in COSTS if c != "optimiser_steps"]))
    pd.testing.assert_frame_equal(*rows)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:port"])
def test_an_address_where_nobody_listens_is_refused_at_once(address: str) -> None:
    with pytest.raises(BenchError, match=address):
        ray_tune._check_address(address)


def test_a_request_that_no_machine_can_meet_is_refused() -> None:
    have = {"CPU": 2.0}
    ray_tune._check_resources(have, backends.Resources("cpu", 2, 0.0))
    with pytest.raises(BenchError, match="cpus-per-trial 3"):
        ray_tune._check_resources(have, backends.Resources("cpu", 3, 0.0))
    with pytest.raises(BenchError, match=r"gpus-per-trial 0\.5"):
        ray_tune._check_resources(have, backends.Resources("cuda", 1, 0.5))
    ray_tune._check_resources(have | {"GPU": 1.0}, backends.Resources("cuda", 1, 0.5))


@pytest.mark.filterwarnings("ignore::Warning")
def test_trials_share_a_gpu_by_fractions(
    make_trial: Callable[..., Trial],
    runtime: Runtime,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray believes in one GPU; trials that ask for half of it each are placed and done."""
    import ray

    init = ray.init
    monkeypatch.setattr(ray, "init", lambda **options: init(num_gpus=1, **options))
    monkeypatch.setattr(ray_tune, "usable_cpus", lambda: 2)
    store = Store.create(tmp_path / "out")
    trials = [make_trial("m2", seed=seed) for seed in range(2)]
    done: list[Trial] = []
    with backends.Ray(runtime, store, backends.Resources("cpu", 1, 0.5)) as backend:
        backend.run([backends.Job(trial, tiny_folder, 300) for trial in trials], done.append)
    assert {trial.key() for trial in done} == {trial.key() for trial in trials}
    assert all(store.status(trial) == "done" for trial in trials)
