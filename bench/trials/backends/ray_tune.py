"""Many trials at once through Ray Tune, on one machine or a cluster."""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import chdir
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bench.base.errors import BenchError, first_line
from bench.base.machine import usable_cpus
from bench.base.stopping import Stopped, handlers_kept, requests_to
from bench.trials.backends.jobs import REHEARSAL_LIMIT_IN_SECONDS, TOO_LONG, Job, OnDone, Resources, run_job, timed_out
from bench.trials.backends.sweeper import Sweeper
from bench.trials.run import Estimate, rehearse
from bench.trials.store import Store
from bench.trials.trial import Result, Runtime, Status, Trial

if TYPE_CHECKING:
    from ray import tune

RETRIES = 2  # of a trial whose process dies


@dataclass
class Ray:
    """Through Ray Tune, as many trials at a time as the resources allow, each in a process that may die.

    A trial whose process dies goes on from its checkpoint in another one, `RETRIES` times. To enter raises BenchError
    where the machine or cluster can never give what one trial asks for.
    """

    runtime: Runtime
    store: Store
    resources: Resources
    _rehearser: Any = None
    _sweeper: Sweeper | None = None

    def __enter__(self) -> Self:
        # Before Ray is imported: no report home, no table on the screen, the trial's own working folder.
        os.environ |= {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AIR_NEW_OUTPUT": "0",
            "RAY_CHDIR_TO_TRIAL_DIR": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
            "TUNE_DISABLE_SIGINT_HANDLER": "1",
            "TUNE_MAX_PENDING_TRIALS_PG": str(2 * usable_cpus()),
        }
        import ray

        logging.getLogger("ray").setLevel(logging.CRITICAL)  # a trial that dies is a row, not a traceback on the screen
        address = self.resources.address
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        if address is None:
            options |= {
                "address": "local",
                "num_cpus": usable_cpus(),
                "include_dashboard": False,
                "object_store_memory": 200 * 2**20,
            }
        else:
            _check_address(address)
            options["address"] = address
        for left_by_a_killed_run in self.store.folder.glob(".ray-*"):
            shutil.rmtree(left_by_a_killed_run)
        if address is None and sys.platform == "linux":
            self._sweeper = Sweeper()
        try:
            # Workers look for code in the folder that Ray starts from: not in a checkout that the user stands in.
            with chdir(self.store.folder), handlers_kept():
                ray.init(**options)
        except ConnectionError as error:
            raise BenchError(f"--address {address}: no Ray cluster answers there ({error})") from error
        try:
            _check_resources(ray.cluster_resources(), self.resources)
        except BenchError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        import ray

        ray.shutdown()
        if self._sweeper is not None:
            self._sweeper.sweep()

    def rehearse(self, trial: Trial, data_folder: Path) -> Estimate | None:
        """In a worker's process, where trials will run too."""
        import ray

        if self._rehearser is None:
            actor = ray.remote(_Rehearser).options(
                num_cpus=self.resources.cpus_per_trial, num_gpus=self.resources.gpus_per_trial
            )
            self._rehearser = actor.remote()
            self._wait_for(self._rehearser.__ray_ready__.remote)  # a busy cluster is no slow method
        try:
            asked = self._wait_for(
                partial(self._rehearser.rehearse.remote, asdict(trial), str(data_folder), asdict(self.runtime)),
                REHEARSAL_LIMIT_IN_SECONDS,
            )
            answer: Estimate | None = ray.get(asked, timeout=0)
            return answer
        except ray.exceptions.RayTaskError:  # the method raised something; the process is well
            raise
        except ray.exceptions.RayError:
            self._end_rehearsals()
            raise

    def _wait_for(self, ask: Callable[[], Any], seconds: float = math.inf) -> Any:
        """What `ask` gives, once Ray has the answer to it or the time is over; Ray is begun anew where it has died."""
        import ray

        heard: list[Stopped] = []
        dead, end = "", time.monotonic() + seconds
        with requests_to(lambda number: heard.append(Stopped(number))):  # Ray would swallow what is raised in it
            asked = ask()
            while not (heard or dead or ray.wait([asked], timeout=0.2)[0]) and time.monotonic() < end:
                dead = _dead_daemon()
        if heard:
            raise heard[0]
        if dead:
            self._restart()
            raise RuntimeError(f"Ray's {dead} died")
        return asked

    def _end_rehearsals(self) -> None:
        import ray

        if self._rehearser is not None:
            ray.kill(self._rehearser)
            self._rehearser = None

    def run(self, jobs: list[Job], on_done: OnDone) -> None:
        """Through Tune, until all have ended."""
        self._end_rehearsals()
        ended: list[BaseException] = []  # why the run ends before all trials have
        left, losses = {job.trial.key(): job for job in jobs}, Counter[str]()
        begun_before = {key: self.store.attempts(key) for key in left}

        def on_end(trial: Trial) -> None:
            if left.pop(trial.key(), None) is not None:
                on_done(trial)

        with requests_to(lambda number: ended.append(Stopped(number))):
            while left and not ended:
                try:
                    self._fit([*left.values()], on_end, ended)
                except (_EndedError, RuntimeError) as error:
                    if ended:
                        break
                    # Tune gives up where Ray kills a process for want of memory, and knows no end of Ray itself.
                    if isinstance(error, RuntimeError) and not _is_ray_s(error):
                        raise
                    begun = [job.trial for key, job in left.items() if self.store.attempts(key) > begun_before[key]]
                    for trial in self._lost(begun or [job.trial for job in left.values()], str(error)):
                        losses[trial.key()] += 1
                        if losses[trial.key()] > RETRIES:
                            self._write(trial, error)
                            on_end(trial)
                    self._restart()
        if ended:
            raise ended[0]

    def _restart(self) -> None:
        self._rehearser = None
        self.__exit__()
        self.__enter__()

    def _fit(self, jobs: list[Job], on_end: OnDone, ended: list[BaseException]) -> None:
        """One Tune experiment, whose own files last as long as it does."""
        from ray import tune

        runtime, folder = asdict(self.runtime), self.store.folder
        with tempfile.TemporaryDirectory(prefix=".ray-", dir=folder, ignore_cleanup_errors=True) as scratch:
            tune.Tuner(
                tune.with_resources(
                    tune.with_parameters(_ray_trial, runtime=runtime, folder=str(folder)),
                    {"cpu": self.resources.cpus_per_trial, "gpu": self.resources.gpus_per_trial},
                ),
                param_space={"job": tune.grid_search([job.to_dict() for job in jobs])},
                tune_config=tune.TuneConfig(reuse_actors=True, trial_dirname_creator=lambda trial: trial.trial_id),
                run_config=tune.RunConfig(
                    storage_path=scratch,
                    verbose=0,
                    callbacks=[_watch(self._write, on_end, ended)],
                    failure_config=tune.FailureConfig(max_failures=RETRIES),
                ),
            ).fit()

    def _lost(self, trials: list[Trial], error: str) -> list[Trial]:
        """Those whose process an error of Ray's names as killed; where it names none, all of them."""
        named = [t for t in trials if re.search(rf"to kill.*pid={self.store.process(t)}\b", error)]
        return named or trials

    def _write(self, trial: Trial, error: BaseException) -> None:
        """The row of a trial that could not write its own."""
        from ray.exceptions import RayTaskError

        if self.store.status(trial) is Status.DONE:
            return
        if said := timed_out(self.store.dump(trial)):
            status, text, error = Status.TIMED_OUT, TOO_LONG, RuntimeError(said)
        elif isinstance(error, RayTaskError):  # raised beside the method: no disk that all nodes share, say
            status, text = Status.FAILED, first_line(error.cause)
        else:
            memory = " for lack of memory" if "OutOfMemory" in str(error) or "OOM" in str(error) else ""
            text = f"the worker process died{memory}, also when tried again; --resume tries once more"
            status = Status.KILLED
        self.store.write(trial, Result(status, text, str(error)), self.runtime.device)


class _Rehearser:
    """Rehearses in a process of its own."""

    def rehearse(self, trial: dict[str, Any], data_folder: str, runtime: dict[str, Any]) -> Estimate | None:
        return rehearse(Trial.from_dict(trial), Path(data_folder), Runtime(**runtime))


class _EndedError(BaseException):
    """Brings Tune to an end between two of its steps; no Exception, so that it does not wait for its trials."""


def _dead_daemon() -> str:
    """Which of the two processes that Ray on this machine cannot do without is dead; "" where both live.

    Without one the driver waits for ever, or Ray ends it without a word.
    """
    from ray._private import worker

    node = getattr(worker, "_global_node", None)  # Ray's own matter: without it nothing is watched
    dead: list[str] = [] if node is None else [name for name, _ in node.dead_processes()]
    return next((name for name in dead if name in ("raylet", "gcs_server")), "")


def _watch(write: Callable[[Trial, Exception], None], on_end: OnDone, ended: list[BaseException]) -> tune.Callback:
    """A Tune callback that tells how each trial ended, after `write` of the row of one that could not write its own.

    It ends the run as soon as there is a reason in `ended`, and puts one there where results cannot be written.
    """
    from ray import tune

    class Watch(tune.Callback):
        def __reduce__(self) -> tuple[type, tuple[()]]:
            return tune.Callback, ()  # Tune pickles its callbacks; what this one holds belongs to this process

        def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
            if ended:
                raise _EndedError
            if dead := _dead_daemon():
                raise _EndedError(f"Ray's {dead} died")

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            if problem := trial.last_result.get("problem"):
                ended.append(OSError(*problem))
            else:
                self._end(_job(trial.config).trial)

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            self._end(_job(trial.config).trial, trial.get_error())

        def _end(self, trial: Trial, error: Exception | None = None) -> None:
            try:
                if error is not None:
                    write(trial, error)
                on_end(trial)
            except Exception as problem:  # Tune would take it for the trial's, and run it again
                ended.append(problem)

    return Watch()


def _is_ray_s(error: RuntimeError) -> bool:
    from ray.exceptions import RayError

    return isinstance(error.__cause__, RayError)


def _ray_trial(config: dict[str, Any], runtime: dict[str, Any], folder: str) -> dict[str, Any]:
    try:
        return {"status": run_job(_job(config), Runtime(**runtime), Path(folder), in_worker=True)}
    except OSError as error:  # its result finds no room: another attempt would not either
        return {"problem": (error.errno, error.strerror or str(error), error.filename)}


def _job(config: dict[str, Any]) -> Job:
    return Job.from_dict(config["job"])


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
