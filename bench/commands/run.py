"""`bench run` from its options to a report: data, plan, trials, tables."""

from __future__ import annotations

import math
import shlex
import shutil
import sys
import time
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from bench import registry
from bench.base.cache import Cache
from bench.base.code import code_digest
from bench.base.console import Console, duration
from bench.base.errors import BenchError
from bench.base.machine import choose_device, usable_cpus
from bench.base.stopping import Stopped
from bench.data.dataset import Dataset
from bench.data.subtomograms import Subtomograms
from bench.learning.networks import Backbone
from bench.learning.protocol import Profile, Protocol, profile_named, protocols_named
from bench.reporting import page
from bench.trials.backends import Backend, Job, Ray, Resources, Serial
from bench.trials.rows import row_label
from bench.trials.store import Store
from bench.trials.trial import Runtime, Trial, split_of

OVERHEAD_IN_SECONDS = 0.5  # of a trial beside its training: reading, scoring, writing
LONGEST_LIMIT_IN_MINUTES = 100_000  # of a trial
# A trial hangs, so says the usual limit, when it has taken this many times what it should, and half an hour.
SLOWER_THAN_ESTIMATED, LEAST_LIMIT_IN_SECONDS = 20, 1800.0


@dataclass(frozen=True)
class Request:
    """The options of `bench run`, as given; None is a default that the profile or the machine decides."""

    out: str
    dataset: str = "phantoms"
    data: str | None = None
    methods: str = "all"
    fractions: str = "5,10,20"
    seeds: int | None = None
    profile: str | None = None
    protocol: str | None = None
    epochs: int | None = None
    settings: tuple[str, ...] = ()
    device: str = "auto"
    backend: str = "ray"
    cpus_per_trial: int = 1
    gpus_per_trial: float | None = None
    address: str | None = None
    deterministic: bool = False
    time_limit: float | None = None
    checkpoint_every: float = 30.0
    retry_failed: bool = False


@dataclass
class Plan:
    """What a request comes to, checked, before anything is written."""

    methods: list[str]
    percents: list[float]  # of the training set, labelled
    protocols: list[Protocol]
    profile: Profile
    dataset: Dataset
    settings: dict[str, dict[str, str]]
    seeds: int
    resources: Resources
    trials: list[Trial] = field(default_factory=list)


def check(request: Request) -> Plan:
    """Resolve every name and number of a request; raises BenchError for the first that cannot be."""
    methods = registry.names(registry.METHODS, request.methods)
    dataset_name, *others = registry.names(registry.DATASETS, request.dataset)
    if others:
        raise BenchError(f"--dataset {request.dataset}: one data set a run; results of several may share an --out")
    device = choose_device(request.device)
    profile = profile_named(request.profile or ("paper" if device == "cuda" else "quick"))
    protocols = protocols_named(request.protocol or profile.protocol)
    if request.epochs is not None:
        profile = replace(profile, budget=replace(profile.budget, epochs=request.epochs))
    seeds = profile.seeds if request.seeds is None else request.seeds
    for option, value in (
        ("seeds", seeds),
        ("epochs", profile.budget.epochs),
        ("cpus-per-trial", request.cpus_per_trial),
    ):
        if value < 1:
            raise BenchError(f"--{option} {value}: must be 1 or more")
    if request.time_limit is not None and not 0 < request.time_limit <= LONGEST_LIMIT_IN_MINUTES:
        raise BenchError(
            f"--time-limit {request.time_limit:g}: must be above 0, at most {LONGEST_LIMIT_IN_MINUTES} minutes"
        )
    if not request.checkpoint_every >= 0:
        raise BenchError(f"--checkpoint-every {request.checkpoint_every:g}: must be 0 seconds or more")
    if request.backend not in ("ray", "serial"):
        raise BenchError(f"unknown backend '{request.backend}'; known: ray, serial")
    gpus = request.gpus_per_trial
    if gpus is not None and gpus > 0 and device != "cuda":
        raise BenchError(f"--gpus-per-trial {gpus:g}: no GPU that PyTorch can use here; leave the option out")
    settings = _settings(request.settings, {*methods, dataset_name})
    return Plan(
        methods=methods,
        percents=_percents(request.fractions),
        protocols=protocols,
        profile=profile,
        dataset=_dataset(dataset_name, profile, settings.get(dataset_name, {}), request.data),
        settings=settings,
        seeds=seeds,
        resources=Resources(
            device,
            request.cpus_per_trial,
            (0.25 if gpus is None else gpus) if device == "cuda" else 0.0,
            request.address,
        ),
    )


def run(request: Request, console: Console) -> bool:
    """Run a request to its tables; returns whether every trial of it is done.

    Raises Stopped where a signal asks for that, once the tables of what is done are written.
    """
    began = time.monotonic()
    plan = check(request)
    store = Store.create(Path(request.out))
    with store.lock():
        console.log = store.folder / "log.txt"
        console.note(f"bench run {request}")
        store.request(_kept(request, plan))
        try:
            _run(plan, store, console, request)
        except Stopped as stopped:
            if plan.trials:
                console.say(f"Writing what there is: {stopped}")
                console.say(how_to_go_on(_report(plan, store), request.out))
            else:
                console.say(f"Go on: bench run --resume --out {shlex.quote(request.out)}")
            raise
        rows = _report(plan, store)
        console.say("\n" + page.summary(rows))
        console.say(f"Took {duration(time.monotonic() - began)}. Open {store.folder / 'report.html'}")
        left = rows[rows["status"] != "done"]
        for _, row in left.iterrows():
            console.say(f"{row['status']}: {row_label(row)}: {row['error']} ({store.home(row['trial'])})")
        if len(left):
            console.say(how_to_go_on(rows, request.out))
    return left.empty


def _kept(request: Request, plan: Plan) -> dict[str, Any]:
    """What --resume takes over: the same trials from wherever, on whatever machine; not where they run."""
    data = None if request.data is None else str(Path(request.data).absolute())
    kept = asdict(replace(request, profile=plan.profile.name, data=data))
    return {name: value for name, value in kept.items() if name not in ("out", "address", "retry_failed")}


def _run(plan: Plan, store: Store, console: Console, request: Request) -> None:
    """Data, trials, training."""
    folder = _prepare_data(plan.dataset, store, console)
    subtomograms = Subtomograms.open(folder)
    trials = _trials(plan, subtomograms, Subtomograms.saved_fingerprint(folder))
    store.plan(trials)
    plan.trials = trials
    runtime = Runtime(
        folder,
        store.cache_folder,
        plan.resources.device,
        request.cpus_per_trial,
        request.deterministic,
        request.checkpoint_every,
    )
    _run_pending(plan, runtime, store, console, request)


def how_to_go_on(rows: pd.DataFrame, out: str) -> str:
    """The command that runs what these rows lack; empty where they lack nothing."""
    failed = int((rows["status"] == "failed").sum())
    interrupted = int((rows["status"] != "done").sum()) - failed
    lines = []
    if interrupted:
        lines.append(f"To go: {interrupted}. Go on: bench run --resume --out {shlex.quote(out)}")
    if failed:
        lines.append(f"Failed: {failed}. Once mended: bench run --retry-failed --out {shlex.quote(out)}")
    return "\n".join(lines)


def _report(plan: Plan, store: Store) -> pd.DataFrame:
    """Write everything that is made from trials; returns the rows of this plan."""
    page.write(store)
    rows = store.rows()
    return rows[rows["trial"].isin([trial.key() for trial in plan.trials])]


def _run_pending(plan: Plan, runtime: Runtime, store: Store, console: Console, request: Request) -> None:
    status = {trial.key(): store.status(trial) for trial in plan.trials}
    ended = {"done"} if request.retry_failed else {"done", "failed"}
    pending = [trial for trial in plan.trials if status[trial.key()] not in ended]
    for trial in plan.trials:
        if status[trial.key()] == "done":  # a kill may have come before this
            shutil.rmtree(store.checkpoints(trial), ignore_errors=True)
    fractions = ", ".join(f"{percent:g}" for percent in plan.percents)
    text = f"{len(plan.trials)} trials: {len(plan.methods)} methods, {fractions} % labelled, {plan.seeds} seeds"
    text += f" (protocol {', '.join(p.name for p in plan.protocols)}; profile {plan.profile.name})"
    if finished := sum(s == "done" for s in status.values()):
        text += f"; {finished} finished before, {len(pending)} to run"
    if failed := sum(s == "failed" for s in status.values()):
        text += f"; {failed} failed before" + ("" if request.retry_failed else ", left so (--retry-failed)")
    console.say(text)
    if not pending:
        return
    slots = _slots(plan.resources) if request.backend == "ray" else 1
    where = f"{plan.resources.device}, {slots} trial{'s' if slots > 1 else ''} at a time, backend {request.backend}"
    backend: Backend = Ray(runtime, store, plan.resources) if request.backend == "ray" else Serial(runtime, store)
    with backend:
        console.say(f"On {where}. Timing a few steps of each method …")
        costs = _costs(pending, backend, console)
        total = sum(cost.alone for cost in costs.values())
        console.say(f"About {duration(total / slots)} of training.")
        # The shared autoencoders first, what waits for them last; in between the long ones, for an even end.
        pending.sort(key=lambda trial: (trial.labelled_percent is not None, -costs[trial.key()].alone))
        jobs = []
        for trial in pending:
            usual = max(LEAST_LIMIT_IN_SECONDS, SLOWER_THAN_ESTIMATED * costs[trial.key()].with_shared)
            jobs.append(Job(trial, usual if request.time_limit is None else 60 * request.time_limit))
            store.dump(trial).unlink(missing_ok=True)
        done = 0.0
        with console.progress("Training", total) as meter:

            def on_done(trial: Trial) -> None:
                nonlocal done
                done += costs[trial.key()].alone
                record = store.read(trial.key()) or {"status": "missing"}
                score = record.get("scores", {}).get("accuracy")
                meter.to(done, f"{trial.label()}: " + (record["status"] if score is None else f"{100 * score:.1f} %"))

            backend.run(jobs, on_done)


class _Cost(NamedTuple):
    """Estimated seconds of a trial."""

    alone: float  # of what it trains itself, if trials run in the order of `_costs`
    with_shared: float  # if it trains or waits for all that it shares


def _costs(trials: list[Trial], backend: Backend, console: Console) -> dict[str, _Cost]:
    """The cost of each trial, by its key: one rehearsal a protocol and method."""
    measured: dict[tuple[str, str], tuple[float, dict[str, float]]] = {}
    paid: set[tuple[str, str, int]] = set()
    costs = {}
    for trial in sorted(trials, key=lambda t: -math.inf if t.labelled_percent is None else -t.labelled_percent):
        kind = (trial.protocol, trial.variant)
        if kind not in measured:
            try:
                measured[kind] = backend.rehearse(trial)
            except Exception as error:  # it will fail again in its trial, and be a row with its status there
                console.note(f"rehearsal of {trial.label()} failed: {str(error).strip().rpartition(chr(10))[2]}")
                measured[kind] = (0.0, {})
        own, parts = measured[kind]
        seconds = own
        for part, shared_seconds in parts.items():
            if (trial.protocol, part, trial.seed) not in paid:
                paid.add((trial.protocol, part, trial.seed))
                seconds += shared_seconds
        costs[trial.key()] = _Cost(seconds + OVERHEAD_IN_SECONDS, own + sum(parts.values()) + OVERHEAD_IN_SECONDS)
    return costs


def _prepare_data(dataset: Dataset, store: Store, console: Console) -> Path:
    """The folder of the made or read data set; made once, whoever asks."""
    name = type(dataset).__name__.lower()

    def make(folder: Path) -> None:
        with console.progress(f"Making the data set {name}", 1.0) as meter:
            dataset.write(folder, lambda done, of: meter.to(done / of))

    return Cache(store.cache_folder, console.say).entry("data", dataset.key(), make, resumable=True)


def _trials(plan: Plan, subtomograms: Subtomograms, fingerprint: str) -> list[Trial]:
    """Every trial of the plan; raises BenchError where a box or a label fraction cannot be used."""
    subtomograms.check_trainable()
    Backbone(subtomograms.box, len(subtomograms.class_names))
    trials = []
    for protocol in plan.protocols:
        for name in plan.methods:
            changed = plan.settings.get(name, {})
            method = registry.method(name, changed)
            default = registry.method(name)
            differing = [key for key in sorted(changed) if getattr(method, key) != getattr(default, key)]
            described = ", ".join(f"{key}={getattr(method, key)}" for key in differing)
            for labelled_percent in plan.percents if method.needs_labels else [None]:
                for seed in range(plan.seeds):
                    trial = Trial(
                        dataset=subtomograms.title,
                        fingerprint=fingerprint,
                        test_fraction=plan.dataset.test_fraction,
                        protocol=protocol.name,
                        method=name,
                        settings=tuple(sorted(asdict(method).items())),
                        variant=f"{name} ({described})" if described else name,
                        labelled_percent=labelled_percent,
                        seed=seed,
                        budget=plan.profile.budget,
                        code=code_digest(sys.modules[type(method).__module__]),
                    )
                    split_of(trial, subtomograms)
                    trials.append(trial)
    return trials


def _slots(resources: Resources) -> int:
    by_cpu = usable_cpus() // resources.cpus_per_trial
    by_gpu = math.floor(1 / resources.gpus_per_trial) if resources.gpus_per_trial else by_cpu
    return max(1, min(by_cpu, by_gpu))


def _dataset(name: str, profile: Profile, settings: dict[str, str], data: str | None) -> Dataset:
    plain = registry.dataset(name)
    sizes: dict[str, Any] = {key: getattr(profile, key) for key in ("box", "per_class", "test_fraction")}
    known = {f.name for f in fields(plain)}
    own = vars(type(plain)).get("__annotations__", {})
    if "test_fraction" in own:
        del sizes["test_fraction"]
    chosen = {key: value for key, value in sizes.items() if key in known} | settings
    dataset = replace(registry.dataset(name, chosen), folder=Path(data) if data is not None else None)
    if dataset.needs_folder:
        dataset.required_folder()
    elif data is not None:
        raise BenchError(
            f"--data {data}: the data set {name} takes no folder; leave --data out or name another --dataset"
        )
    if not 0 < dataset.test_fraction < 1:
        raise BenchError(f"--set {name}.test_fraction={dataset.test_fraction:g}: must be between 0 and 1")
    return dataset


def _percents(text: str) -> list[float]:
    percents = []
    for part in text.split(","):
        try:
            percent = float(part)
        except ValueError:
            raise BenchError(f"--fractions {part}: not a number; give percentages as in 5,10,20") from None
        if not 0 < percent <= 100:
            raise BenchError(f"--fractions {part}: must be above 0 and at most 100 (% of the training set)")
        percents.append(percent)
    return sorted(set(percents))


def _settings(texts: tuple[str, ...], names: set[str]) -> dict[str, dict[str, str]]:
    """`method.parameter=value` → {method: {parameter: value}}."""
    settings: dict[str, dict[str, str]] = {}
    for text in texts:
        left, equals, value = text.partition("=")
        name, dot, parameter = left.partition(".")
        if not (equals and dot and parameter):
            raise BenchError(f"--set {text}: write it as name.parameter=value, as in autoencoding.beta=0.5")
        if name not in names:
            raise BenchError(
                f"--set {text}: '{name}' takes no part in this run; taking part: {', '.join(sorted(names))}"
            )
        settings.setdefault(name, {})[parameter] = value
    return settings
