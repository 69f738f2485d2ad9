"""Supervised 3D-CNN: the classification branch alone, on the labelled volumes alone."""

from __future__ import annotations

from dataclasses import dataclass

from bench.learning.method import Classifier


@dataclass(frozen=True)
class Supervised(Classifier):
    """Learn from the labelled volumes alone (Liu et al. 2019, Section 4.2, Eq. 2)."""

    title = "Supervised 3D-CNN"
