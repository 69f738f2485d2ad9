"""Supervised 3D-CNN: the classification branch alone, trained on the labelled volumes."""

from __future__ import annotations

from dataclasses import dataclass

from bench.learning.method import Classifier


@dataclass(frozen=True)
class Supervised(Classifier):
    """Train on the labelled volumes alone, by cross-entropy (Liu et al. 2019, Section 4.2, Eq. 2)."""

    title = "Supervised 3D-CNN"
