"""A node that leaves, memory that runs out, three hundred trials: what Ray does is what the rows say."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bench.learning.protocol import Budget
from bench.trials import backends
from bench.trials.run import run
from bench.trials.store import Store
from bench.trials.trial import Runtime, Trial
from faults.conftest import Start, statuses

MakeTrial = Callable[..., Trial]


@pytest.fixture
def cluster() -> Iterator[object]:
    """Two nodes of one core each, on this machine."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made
    made.shutdown()


@pytest.mark.filterwarnings("ignore::Warning")
def test_a_node_that_leaves_takes_no_trial_along(
    cluster: object, make_trial: MakeTrial, runtime: Runtime, tiny_folder: Path, tmp_path: Path
) -> None:
    store = Store.create(tmp_path / "out")
    trials = [make_trial("supervised", seed=seed, budget=Budget(60, 16, 8)) for seed in range(4)]
    runtime = replace(runtime, checkpoint_interval_in_seconds=0)
    (leaving,) = (node for node in cluster.worker_nodes)  # type: ignore[attr-defined]

    def leave() -> None:
        while sum(store.attempts(trial.key()) for trial in trials) < 2:
            time.sleep(0.05)
        time.sleep(1)
        cluster.remove_node(leaving, allow_graceful=False)  # type: ignore[attr-defined]

    remover = threading.Thread(target=leave)
    remover.start()
    resources = backends.Resources("cpu", 1, 0.0, cluster.address)  # type: ignore[attr-defined]
    with backends.Ray(runtime, store, resources) as backend:
        backend.run([backends.Job(trial, tiny_folder, 600) for trial in trials], lambda _: None)
    remover.join()
    records = [store.read(trial.key()) for trial in trials]
    assert [record and record.status for record in records] == ["done"] * 4
    assert sum(store.attempts(trial.key()) for trial in trials) > 4
    for trial, record in zip(trials, records):
        assert record is not None
        assert record.result.scores == run(trial, tiny_folder, runtime).scores


@pytest.mark.long
def test_a_trial_that_eats_all_memory_is_killed_and_named(start: Start, faulty: dict[str, str], tmp_path: Path) -> None:
    """Ray's memory monitor, set to three gigabytes above what is in use now, sees the worker grow and kills it."""
    memory = {}
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        name, value = line.split(":")
        memory[name] = int(value.split()[0]) * 1024
    used = memory["MemTotal"] - memory["MemAvailable"]
    threshold = (used + 3 * 2**30) / memory["MemTotal"]
    environment = faulty | {"RAY_memory_usage_threshold": f"{threshold:.4f}", "RAY_memory_monitor_refresh_ms": "100"}
    options = ["--methods", "grows,supervised", "--fractions", "20", "--seeds", "1", "--epochs", "1"]
    command = start("run", *options, "--out", tmp_path / "out", extra=environment)
    assert command.wait() == 1, command.output()
    assert statuses(tmp_path / "out") == {"grows": "killed", "supervised": "done"}
    rows = pd.read_csv(tmp_path / "out" / "rows.csv").set_index("method")
    assert "for lack of memory" in rows.loc["grows", "error"]


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_three_hundred_trials_leave_nothing_behind(start: Start, tmp_path: Path) -> None:
    """The driver's memory and files stay flat, and no process outlives it."""
    out = tmp_path / "out"
    options = ["--set", "phantoms.box=8", "--set", "phantoms.per_class=30", "--epochs", "1", "--seeds", "100"]
    command = start("run", *options, "--methods", "supervised", "--fractions", "20,40,60", "--out", out)
    driver, seen = command.process.pid, []
    while command.process.poll() is None:
        done = len(list(out.glob("trials/*/result.json")))
        try:
            status = Path(f"/proc/{driver}/status").read_text(encoding="utf-8")
            resident = int(next(x for x in status.splitlines() if x.startswith("VmRSS")).split()[1]) / 1024
            seen.append((done, resident, len(os.listdir(f"/proc/{driver}/fd"))))  # noqa: PTH208
        except (OSError, StopIteration):
            break
        time.sleep(0.5)
    assert command.wait() == 0, command.output()
    rows = pd.read_csv(out / "rows.csv")
    assert len(rows) == 300
    assert (rows["status"] == "done").all()
    # The first thirty trials fill what is filled once; after the last one the tables and pictures are made.
    steady = pd.DataFrame([s for s in seen if 30 <= s[0] < 300], columns=["done", "mebibytes", "files"])
    first, last = (steady[steady["done"].between(*some)].median() for some in ((30, 90), (240, 299)))
    print(f"driver: {first['mebibytes']:.0f} → {last['mebibytes']:.0f} MiB, {first['files']} → {last['files']} files")
    assert last["mebibytes"] < 1.1 * first["mebibytes"]
    assert last["files"] <= first["files"]
    time.sleep(3)
    assert command.family() == []
