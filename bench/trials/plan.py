"""What is to be run: a request with every name and number resolved, and the trials that it comes to."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from bench import registry
from bench.base.errors import BenchError
from bench.base.machine import choose_device, usable_cpus
from bench.base.parameters import check, option, parameter
from bench.data.dataset import Dataset
from bench.data.subtomograms import Subtomograms
from bench.learning.method import Method
from bench.learning.networks import Backbone
from bench.learning.protocol import PROTOCOLS, SELECTIONS, Budget, Profile, Protocol, named, profile_named
from bench.learning.views import VIEWS
from bench.trials.backends import Resources
from bench.trials.prepare import split_of
from bench.trials.rows import described
from bench.trials.run import training_code
from bench.trials.trial import Runtime, Trial


@dataclass(frozen=True)
class Request:
    """The options of `bench run`, as given; None is a default that the profile or the machine decides.

    how: says how and where to run, not what; another value gives the same trials.
    """

    out: str = parameter(help="results folder", how=True)
    dataset: str = parameter("phantoms", "name of a data set")
    data: str | None = parameter(None, "folder with the input of the data set")
    methods: str = parameter("all", "names of methods, comma-separated")
    fractions: str = parameter("5,10,20", "label fractions in % of the training set, comma-separated")
    seeds: int | None = parameter(None, "repetitions", low=1, high=1000)
    profile: str | None = parameter(None, "size of the run")
    protocol: str | None = parameter(None, "rules of the comparison, comma-separated")
    views: str | None = parameter(None, "of the training volumes, comma-separated")
    select: str | None = parameter(None, "which weights are kept, comma-separated")
    test_views: int = parameter(1, "of each test volume", low=1, high=1000)
    epochs: int | None = parameter(None, "of each training", low=1, high=1_000_000)
    settings: tuple[str, ...] = ()  # NAME.KEY=VALUE
    device: str = parameter("auto", "where trials run", choices=("auto", "cpu", "cuda"), how=True)
    backend: str = parameter("ray", "what runs the trials", choices=("ray", "serial"), how=True)
    cpus_per_trial: int = parameter(1, "cores, and threads", low=1, high=1024, how=True)
    gpus_per_trial: float | None = parameter(None, "share of a GPU", low=0, high=1, how=True)
    address: str | None = parameter(None, "host and port of a Ray cluster", how=True)
    deterministic: bool = parameter(False, "the same bits in every run on a GPU", how=True)
    time_limit: float | None = parameter(None, "minutes that a trial may take", low=0.001, high=100_000, how=True)
    checkpoint_every: float = parameter(30.0, "seconds between two checkpoints", low=0, high=1_000_000, how=True)
    retry_failed: bool = parameter(False, "run the failed trials again", how=True)

    def __post_init__(self) -> None:
        check(self, option)

    @staticmethod
    def how() -> set[str]:
        """The options that `--resume` may change."""
        return {f.name for f in fields(Request) if f.metadata.get("how")}

    def kept(self, profile: str) -> dict[str, Any]:
        """What `--resume` takes over: the same trials from wherever, on whatever machine; not where they run."""
        data = None if self.data is None else str(Path(self.data).absolute())
        options = asdict(replace(self, profile=profile, data=data)) | {"settings": list(self.settings)}
        return {name: value for name, value in options.items() if name not in ("out", "address", "retry_failed")}


@dataclass(frozen=True)
class RunPlan:
    """What a request comes to: everything checked, nothing written."""

    methods: tuple[str, ...]
    settings: Mapping[str, Mapping[str, str]]  # of methods: name → parameter → value, as given
    percents: tuple[float, ...]  # of the training set, labelled
    protocols: tuple[Protocol, ...]
    views: Mapping[str, tuple[str, ...]]  # protocol → views of the training volumes
    selects: Mapping[str, tuple[str, ...]]  # protocol → which weights are kept
    test_views: int
    seeds: int
    budget: Budget
    dataset_name: str
    dataset: Dataset
    test_fraction: float
    profile: str
    runtime: Runtime
    resources: Resources
    backend: str  # "ray" or "serial"
    limit_in_seconds: float | None  # of a trial; None: from its estimate
    retry_failed: bool

    def summary(self) -> str:
        """For a person: "7 methods, 5, 10, 20 % labelled, 3 seeds (protocol fair; profile quick)"."""
        percents = ", ".join(f"{percent:g}" for percent in self.percents)
        protocols = ", ".join(protocol.name for protocol in self.protocols)
        views = ", ".join(dict.fromkeys(itertools.chain(*self.views.values())))
        text = f"{len(self.methods)} methods, {percents} % labelled, {self.seeds} seeds, views {views}"
        return f"{text} (protocol {protocols}; profile {self.profile})"

    def holds(self, trial: Trial) -> bool:
        """Whether a trial is one of these, as far as can be told without the volumes."""
        if trial.method not in self.methods or trial.protocol not in self.views:
            return False
        method = registry.method(trial.method, self.settings.get(trial.method, {}))
        return (
            (trial.dataset, trial.data_parameters) == (self.dataset_name, tuple(self.dataset.parameters().items()))
            and trial.conditions == tuple(self.dataset.conditions().changed().items())
            and (trial.test_fraction, trial.budget) == (self.test_fraction, self.budget)
            and trial.views in self.views[trial.protocol]
            and trial.select in self.selects[trial.protocol]
            and trial.test_views == self.test_views
            and trial.settings == tuple(sorted(asdict(method).items()))
            and trial.labelled_percent in (self.percents if method.needs_labels else (None,))
            and trial.seed < self.seeds
            and trial.code == training_code(trial.method)
        )


def resolve(request: Request) -> RunPlan:
    """Resolve every name and number of a request; raises BenchError for the first that cannot be."""
    methods = registry.names(registry.METHODS, request.methods)
    dataset_name, *others = registry.names(registry.DATASETS, request.dataset)
    if others:
        raise BenchError(f"--dataset {request.dataset}: one data set a run; results of several may share an --out")
    percents = _percents(request.fractions)
    device = choose_device(request.device)
    profile = profile_named(("paper" if device == "cuda" else "quick") if request.profile is None else request.profile)
    if request.epochs is not None:
        profile = replace(profile, budget=replace(profile.budget, epochs=request.epochs))
    if request.seeds is not None:
        profile = replace(profile, seeds=request.seeds)
    protocols = [PROTOCOLS[name] for name in named(PROTOCOLS, request.protocol, "protocol") or [profile.protocol]]
    views, selects = named(VIEWS, request.views, "views"), named(SELECTIONS, request.select, "selection")
    _check_machine(request, device)
    settings = _settings(request.settings, {*methods, dataset_name})
    for name in methods:
        registry.method(name, settings.get(name, {}))  # a broken one is refused before data are made
    dataset = _dataset(dataset_name, profile, settings.get(dataset_name, {}), request.data)
    gpus = 0.25 if request.gpus_per_trial is None else request.gpus_per_trial
    return RunPlan(
        methods=tuple(methods),
        settings=settings,
        percents=tuple(percents),
        protocols=tuple(protocols),
        views={one.name: tuple(views) or (profile.views_of(one),) for one in protocols},
        selects={one.name: tuple(selects) or (one.select,) for one in protocols},
        test_views=request.test_views,
        seeds=profile.seeds,
        budget=profile.budget,
        dataset_name=dataset_name,
        dataset=dataset,
        test_fraction=profile.test_fraction if dataset.test_fraction is None else dataset.test_fraction,
        profile=profile.name,
        runtime=Runtime(
            Path(request.out).absolute() / "cache",
            device,
            request.cpus_per_trial,
            request.deterministic,
            request.checkpoint_every,
        ),
        resources=Resources(device, request.cpus_per_trial, gpus if device == "cuda" else 0.0, request.address),
        backend=request.backend,
        limit_in_seconds=None if request.time_limit is None else 60 * request.time_limit,
        retry_failed=request.retry_failed,
    )


def trials(plan: RunPlan, subtomograms: Subtomograms, fingerprint: str) -> list[Trial]:
    """Every trial of the plan; raises BenchError where a box or a label fraction cannot be used."""
    conditions = plan.dataset.conditions()
    known = conditions.of_classes(subtomograms)
    known.check_trainable()
    Backbone(known.box, len(known.class_names))
    planned = []
    for name in plan.methods:
        changed = plan.settings.get(name, {})
        method = registry.method(name, changed)
        code = training_code(name)
        for protocol in plan.protocols:
            for views, select, percent, seed in itertools.product(
                plan.views[protocol.name],
                plan.selects[protocol.name],
                plan.percents if method.needs_labels else (None,),
                range(plan.seeds),
            ):
                trial = Trial(
                    dataset=plan.dataset_name,
                    data_parameters=tuple(plan.dataset.parameters().items()),
                    fingerprint=fingerprint,
                    test_fraction=plan.test_fraction,
                    protocol=protocol.name,
                    views=views,
                    select=select,
                    test_views=plan.test_views,
                    method=name,
                    settings=tuple(sorted(asdict(method).items())),
                    labelled_percent=percent,
                    seed=seed,
                    budget=plan.budget,
                    code=code,
                    data_title=subtomograms.title + conditions.described(),
                    method_title=method.title,
                    variant=_variant(name, method, changed),
                    conditions=tuple(conditions.changed().items()),
                )
                split_of(trial, subtomograms)
                planned.append(trial)
    return planned


def _variant(name: str, method: Method, changed: Mapping[str, Any]) -> str:
    default = registry.method(name)
    differing = {key: getattr(method, key) for key in sorted(changed) if getattr(method, key) != getattr(default, key)}
    return f"{name} ({described(differing)})" if differing else name


def _check_machine(request: Request, device: str) -> None:
    """Raise BenchError for more than this machine has; a cluster has what it has."""
    cpus, gpus = request.cpus_per_trial, request.gpus_per_trial
    if request.address is None and cpus > usable_cpus():
        raise BenchError(f"--cpus-per-trial {cpus}: this machine has {usable_cpus()} cores; give at most so many")
    if gpus is not None and gpus > 0 and device != "cuda":
        raise BenchError(f"--gpus-per-trial {gpus:g}: no GPU that PyTorch can use here; leave the option out")


def _dataset(name: str, profile: Profile, settings: Mapping[str, str], data: str | None) -> Dataset:
    plain = registry.dataset(name)
    sizes: dict[str, Any] = {"box": profile.box, "per_class": profile.per_class}
    known = {f.name for f in fields(plain)}
    chosen = {key: value for key, value in sizes.items() if key in known} | dict(settings)
    dataset = replace(registry.dataset(name, chosen), folder=Path(data) if data is not None else None)
    if dataset.needs_folder:
        dataset.required_folder()
    elif data is not None:
        raise BenchError(
            f"--data {data}: the data set {name} takes no folder; leave --data out or name another --dataset"
        )
    if isinstance(box := dataset.parameters().get("box"), int):
        Backbone(box, n_classes=2)  # refuses a box that the networks cannot halve, before data are made
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
