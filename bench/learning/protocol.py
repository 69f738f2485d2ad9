"""Protocols (how methods are compared) and profiles (how large a run is); each number is printed with both names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bench.base.errors import BenchError


@dataclass(frozen=True)
class Protocol:
    """The rules of a comparison; docs/protocols.md gives the reason for each line."""

    name: str
    summary: str
    learning_rate: float
    warmup_cosine: bool  # the learning rate rises and falls to 0 within each training; else it is constant
    keras_style: bool  # Glorot-uniform weights, BatchNorm with momentum 0.99 and ε 1e-3; else PyTorch's defaults
    equal_steps: bool  # each method gets the same number of optimiser steps; else epochs over what it trains on
    validation_fraction: float | None  # of the label budget; None: all validation labels, outside the budget
    views: str  # of the training volumes, where the profile names no others
    patience: int | None  # epochs without a better validation loss before training stops
    selects_by_own_loss: bool  # validation loss: the method's own, or the cross-entropy that all classifiers share
    select: str  # which weights are kept, by default


PROTOCOLS = {
    "paper": Protocol(
        name="paper",
        summary="as published: epochs over what each method trains on, Keras-style layers, validation labels extra",
        learning_rate=1e-4,
        warmup_cosine=False,
        keras_style=True,
        equal_steps=False,
        validation_fraction=None,
        views="none",
        patience=10,
        selects_by_own_loss=True,
        select="best",
    ),
    "fair": Protocol(
        name="fair",
        summary="equal steps, augmentation and backbone for all; validation labels come out of the label budget",
        learning_rate=1e-3,
        warmup_cosine=True,
        keras_style=False,
        equal_steps=True,
        validation_fraction=0.2,
        views="rotations",
        patience=None,
        selects_by_own_loss=False,
        select="average",
    ),
}


SELECTIONS = {  # which weights a training keeps
    "best": "those of the lowest validation loss",
    "last": "the last",
    "average": "the moving average over the last tenth of the training",
}


@dataclass(frozen=True)
class Budget:
    """The size of every trial's training; part of a trial's identity."""

    epochs: int
    batch_size: int
    filters: int  # of each convolution; the paper's networks have 32


@dataclass(frozen=True)
class Profile:
    """A size of run: how much data, how long a training, how many seeds."""

    name: str
    summary: str
    protocol: str
    budget: Budget
    seeds: int
    box: int  # voxels along an edge, for data sets that are simulated
    per_class: int
    test_fraction: float
    views: str | None = None  # instead of the protocol's, where it has any: a short training does not learn rotations

    def views_of(self, protocol: Protocol) -> str:
        """What is shown of the training volumes by default."""
        return protocol.views if self.views is None or protocol.views == "none" else self.views


QUICK = Profile(
    name="quick",
    summary="16³ boxes, 8 × 300, 16 filters: minutes on two cores (default without a GPU)",
    protocol="fair",
    budget=Budget(epochs=3, batch_size=16, filters=16),
    seeds=3,
    box=16,
    per_class=300,
    test_fraction=1 / 3,
    views="turns",
)
PROFILES = {
    "quick": QUICK,
    "standard": replace(
        QUICK,
        name="standard",
        summary="the same with 15 epochs and 5 seeds: long enough for rotations; hours on two cores",
        budget=replace(QUICK.budget, epochs=15),
        seeds=5,
        views=None,
    ),
    "paper": Profile(
        name="paper",
        summary="28³ boxes, 8 × 350, 32 filters, 100 epochs: the size of the paper's real set (default with a GPU)",
        protocol="paper",
        budget=Budget(epochs=100, batch_size=64, filters=32),
        seeds=3,
        box=28,
        per_class=350,
        test_fraction=0.5,
    ),
}


def named(known: Mapping[str, object], names: str | None, what: str) -> list[str]:
    """The names of a comma-separated list, none for None; raises BenchError, listing the known ones, for another."""
    wanted = [] if names is None else list(dict.fromkeys(name.strip() for name in names.split(",")))
    for name in wanted:
        check_known(known, name, what)
    return wanted


def check_known(known: Mapping[str, object], name: str, what: str) -> None:
    """Raise BenchError, which lists the known names, for another one."""
    if name not in known:
        raise BenchError(f"unknown {what} '{name}'; known: {', '.join(known)}")


def profile_named(name: str) -> Profile:
    """The profile called `name`; raises BenchError, listing the known ones, for an unknown name."""
    check_known(PROFILES, name, "profile")
    return PROFILES[name]
