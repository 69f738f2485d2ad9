"""What is to be run: a request with every name and number resolved, and the trials that it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from bench import registry
from bench.base.errors import BenchError
from bench.base.machine import choose_device
from bench.data.dataset import Dataset
from bench.data.subtomograms import Subtomograms
from bench.learning.method import Method
from bench.learning.networks import Backbone
from bench.learning.protocol import Budget, Profile, Protocol, profile_named, protocols_named
from bench.trials.backends import Resources
from bench.trials.prepare import split_of
from bench.trials.rows import described
from bench.trials.run import training_code
from bench.trials.trial import Runtime, Trial

LONGEST_LIMIT_IN_MINUTES = 100_000  # of a trial
_HOW = {"how": True}  # says how and where to run, not what: another value gives the same trials


@dataclass(frozen=True)
class Request:
    """The options of `bench run`, as given; None is a default that the profile or the machine decides."""

    out: str = field(metadata=_HOW)
    dataset: str = "phantoms"
    data: str | None = None
    methods: str = "all"
    fractions: str = "5,10,20"
    seeds: int | None = None
    profile: str | None = None
    protocol: str | None = None
    epochs: int | None = None
    settings: tuple[str, ...] = ()
    device: str = field(default="auto", metadata=_HOW)
    backend: str = field(default="ray", metadata=_HOW)
    cpus_per_trial: int = field(default=1, metadata=_HOW)
    gpus_per_trial: float | None = field(default=None, metadata=_HOW)
    address: str | None = field(default=None, metadata=_HOW)
    deterministic: bool = field(default=False, metadata=_HOW)
    time_limit: float | None = field(default=None, metadata=_HOW)
    checkpoint_every: float = field(default=30.0, metadata=_HOW)
    retry_failed: bool = field(default=False, metadata=_HOW)

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
        text = f"{len(self.methods)} methods, {percents} % labelled, {self.seeds} seeds"
        return f"{text} (protocol {protocols}; profile {self.profile})"


def resolve(request: Request) -> RunPlan:
    """Resolve every name and number of a request; raises BenchError for the first that cannot be."""
    methods = registry.names(registry.METHODS, request.methods)
    dataset_name, *others = registry.names(registry.DATASETS, request.dataset)
    if others:
        raise BenchError(f"--dataset {request.dataset}: one data set a run; results of several may share an --out")
    percents = _percents(request.fractions)
    device = choose_device(request.device)
    profile = profile_named(request.profile or ("paper" if device == "cuda" else "quick"))
    if request.epochs is not None:
        profile = replace(profile, budget=replace(profile.budget, epochs=request.epochs))
    if request.seeds is not None:
        profile = replace(profile, seeds=request.seeds)
    _check_numbers(request, profile, device)
    settings = _settings(request.settings, {*methods, dataset_name})
    dataset = _dataset(dataset_name, profile, settings.get(dataset_name, {}), request.data)
    gpus = 0.25 if request.gpus_per_trial is None else request.gpus_per_trial
    return RunPlan(
        methods=tuple(methods),
        settings=settings,
        percents=tuple(percents),
        protocols=tuple(protocols_named(request.protocol or profile.protocol)),
        seeds=profile.seeds,
        budget=profile.budget,
        dataset_name=dataset_name,
        dataset=dataset,
        test_fraction=_test_fraction(dataset_name, dataset, profile),
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
    subtomograms.check_trainable()
    Backbone(subtomograms.box, len(subtomograms.class_names))
    planned = []
    for name in plan.methods:
        changed = plan.settings.get(name, {})
        method = registry.method(name, changed)
        code = training_code(name)
        for protocol in plan.protocols:
            for percent in plan.percents if method.needs_labels else (None,):
                for seed in range(plan.seeds):
                    trial = Trial(
                        dataset=plan.dataset_name,
                        data_parameters=tuple(plan.dataset.parameters().items()),
                        fingerprint=fingerprint,
                        test_fraction=plan.test_fraction,
                        protocol=protocol.name,
                        method=name,
                        settings=tuple(sorted(asdict(method).items())),
                        labelled_percent=percent,
                        seed=seed,
                        budget=plan.budget,
                        code=code,
                        data_title=subtomograms.title,
                        method_title=method.title,
                        variant=_variant(name, method, changed),
                    )
                    split_of(trial, subtomograms)
                    planned.append(trial)
    return planned


def _variant(name: str, method: Method, changed: Mapping[str, Any]) -> str:
    default = registry.method(name)
    differing = {key: getattr(method, key) for key in sorted(changed) if getattr(method, key) != getattr(default, key)}
    return f"{name} ({described(differing)})" if differing else name


def _check_numbers(request: Request, profile: Profile, device: str) -> None:
    for option, value in (
        ("seeds", profile.seeds),
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
    return dataset


def _test_fraction(name: str, dataset: Dataset, profile: Profile) -> float:
    fraction = profile.test_fraction if dataset.test_fraction is None else dataset.test_fraction
    if not 0 < fraction < 1:
        raise BenchError(f"--set {name}.test_fraction={fraction:g}: must be between 0 and 1")
    return fraction


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
