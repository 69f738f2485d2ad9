"""Conditions: what makes a data set harder than it is, as practice does; by default nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from bench.base.arrays import UNLABELLED
from bench.base.errors import BenchError
from bench.base.parameters import parameter
from bench.data.subtomograms import Subtomograms


@dataclass(frozen=True)
class Conditions:
    """Which labels, classes and test volumes a trial gets; every data set takes these as parameters.

    The design is that of Oliver et al. 2018 (Section 4.4: classes that have no label among the unlabelled volumes,
    their number kept) and Huang et al. 2024.
    """

    foreign_classes: int = parameter(
        0, "the last so many classes have no label and are not tested", low=0, high=100_000
    )
    foreign_share: float = parameter(0.0, "their part of the unlabelled training volumes", low=0, high=1)
    imbalance: float = parameter(
        1.0, "the largest training class over the smallest; which is which depends on the seed", low=1, high=10_000
    )
    wrong_labels: float = parameter(
        0.0, "part of the labels, for training and validation, that name another class", low=0, high=1
    )
    test_noise: float = parameter(
        0.0, "noise added to the test volumes, as a multiple of the power that they have", low=0, high=1000
    )
    test_tilt_in_degrees: float | None = parameter(
        None, "highest tilt that the test volumes keep; None: as they are", low=1, high=90
    )

    def changed(self) -> dict[str, Any]:
        """The conditions that are not the default: name → value."""
        return {f.name: getattr(self, f.name) for f in _CONDITIONS if getattr(self, f.name) != f.default}

    @staticmethod
    def of(changed: Mapping[str, Any]) -> Conditions:
        """The inverse of `changed`."""
        return Conditions(**changed)

    def described(self) -> str:
        """For a person: ", 10 % of labels wrong"; empty where nothing is changed."""
        parts = []
        if self.foreign_classes:
            parts.append(f"{self.foreign_share:.0%} of unlabelled from {self.foreign_classes} other classes")
        if self.imbalance != 1:
            parts.append(f"classes up to {self.imbalance:g}:1")
        if self.wrong_labels:
            parts.append(f"{self.wrong_labels:.0%} of labels wrong")
        if self.test_noise:
            parts.append(f"test with {self.test_noise:g}× noise")
        if self.test_tilt_in_degrees is not None:
            parts.append(f"test up to {self.test_tilt_in_degrees:g}°")
        return "".join(f", {part}" for part in parts).replace("%", " %")

    def of_classes(self, subtomograms: Subtomograms) -> Subtomograms:
        """The set with the classes that may have labels; the volumes of the others have none.

        Raises BenchError where fewer than two classes are left.
        """
        if not self.foreign_classes:
            if self.foreign_share:
                raise BenchError(f"foreign_share {self.foreign_share:g}: of no class; set foreign_classes too")
            return subtomograms
        n = len(subtomograms.class_names) - self.foreign_classes
        if n < 2:
            raise BenchError(
                f"foreign_classes {self.foreign_classes}: of {len(subtomograms.class_names)} classes two or more must "
                f"have labels; make it smaller"
            )
        labels = np.where(subtomograms.labels < n, subtomograms.labels, UNLABELLED)
        return replace(subtomograms, labels=labels, class_names=subtomograms.class_names[:n])


_CONDITIONS = fields(Conditions)
AS_IT_IS = Conditions()
