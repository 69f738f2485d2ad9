"""Trials → serial or Ray Tune; the only importer of ray."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from contextlib import chdir
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError
from bench.results import Store
from bench.trial import Result, Runtime, Trial, run

if TYPE_CHECKING:
    from ray import tune

OnDone = Callable[[Trial], None]


@dataclass(frozen=True)
class Resources:
    """What a run may use."""

    device: str  # "cpu" or "cuda"
    cpus_per_trial: int
    gpus_per_trial: float
    address: str | None = None  # of a Ray cluster; None: this machine


def choose_device(wanted: str) -> str:
    """ "auto" → "cuda" where there is one; raises BenchError where a GPU is asked for and none is here."""
    import torch

    if wanted not in ("auto", "cpu", "cuda"):
        raise BenchError(f"unknown device '{wanted}'; known: auto, cpu, cuda")
    here = torch.cuda.is_available()
    if wanted == "cuda" and not here:
        raise BenchError("--device cuda: no GPU that PyTorch can use here; run with --device cpu")
    return "cuda" if here and wanted != "cpu" else "cpu"


def usable_cpus() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def execute(trial: Trial, runtime: Runtime, folder: Path) -> str:
    """Run one trial and write its folder; returns its status. Both backends end here."""
    result = run(trial, runtime)
    Store(folder).write(trial, result, runtime.device)
    return result.status


def run_serial(trials: list[Trial], runtime: Runtime, store: Store, on_done: OnDone) -> None:
    """One trial after the other, in this process."""
    for trial in trials:
        execute(trial, runtime, store.folder)
        on_done(trial)


def run_ray(trials: list[Trial], runtime: Runtime, store: Store, resources: Resources, on_done: OnDone) -> None:
    """All trials through Ray Tune, as many at a time as the resources allow.

    Raises BenchError where the machine or cluster can never give what one trial asks for.
    """
    # Before Ray is imported: no report home, no table on the screen, the trial's own working folder.
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_MAX_PENDING_TRIALS_PG": str(2 * usable_cpus()),
    }
    import ray
    from ray import tune

    logging.getLogger("ray").setLevel(logging.ERROR)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if resources.address is None:
        options |= {"num_cpus": usable_cpus(), "include_dashboard": False, "object_store_memory": 200 * 2**20}
    else:
        _check_address(resources.address)
        options["address"] = resources.address
    for left_by_a_killed_run in store.folder.glob(".ray-*"):
        shutil.rmtree(left_by_a_killed_run)
    try:
        # Workers look for code in the folder that Ray starts from: not in a checkout that the user stands in by chance.
        with chdir(store.folder):
            ray.init(**options)
    except ConnectionError as error:
        raise BenchError(f"--address {resources.address}: no Ray cluster answers there ({error})") from error
    try:
        _check_resources(ray.cluster_resources(), resources)
        with tempfile.TemporaryDirectory(prefix=".ray-", dir=store.folder) as scratch:
            tuner = tune.Tuner(
                tune.with_resources(
                    tune.with_parameters(_ray_trial, runtime=asdict(runtime), folder=str(store.folder)),
                    {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial},
                ),
                param_space={"trial": tune.grid_search([asdict(trial) for trial in trials])},
                tune_config=tune.TuneConfig(reuse_actors=True, trial_dirname_creator=lambda trial: trial.trial_id),
                run_config=tune.RunConfig(
                    storage_path=scratch,
                    verbose=0,
                    callbacks=[_watch(store, runtime.device, on_done)],
                    failure_config=tune.FailureConfig(max_failures=1),
                ),
            )
            tuner.fit()
    finally:
        ray.shutdown()


def _watch(store: Store, device: str, on_done: OnDone) -> tune.Callback:
    """A Tune callback that tells how each trial ended, and writes the row of one that could not write its own."""
    from ray import tune
    from ray.exceptions import RayTaskError

    class Watch(tune.Callback):
        def __reduce__(self) -> tuple[type, tuple[()]]:
            return tune.Callback, ()  # Tune pickles its callbacks; what this one holds belongs to this process

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            on_done(Trial.from_dict(trial.config["trial"]))

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            error, died = trial.get_error(), Trial.from_dict(trial.config["trial"])
            text = "the worker process died (killed, or out of memory)"
            if isinstance(error, RayTaskError):
                text = f"{type(error.cause).__name__}: {error.cause}".partition("\n")[0]
            store.write(died, Result("failed", text, str(error)), device)
            on_done(died)

    return Watch()


def _ray_trial(config: dict[str, Any], runtime: dict[str, Any], folder: str) -> dict[str, Any]:
    return {"status": execute(Trial.from_dict(config["trial"]), Runtime(**runtime), Path(folder))}


def _check_address(address: str) -> None:
    """Ray itself tries for minutes; raises BenchError at once where nobody listens at HOST:PORT."""
    host, colon, port = address.rpartition(":")
    if not colon or "://" in address:  # "auto", or a form that Ray resolves
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        raise BenchError(f"--address {address}: no Ray cluster answers there ({error}); start one there") from error


def _check_resources(have: dict[str, float], resources: Resources) -> None:
    for name, wanted in (("CPU", resources.cpus_per_trial), ("GPU", resources.gpus_per_trial)):
        if wanted > have.get(name, 0):
            raise BenchError(
                f"--{name.lower()}s-per-trial {wanted:g}: Ray has {have.get(name, 0):g} {name}s here; ask for fewer"
            )
