"""subtomobench: semi-supervised classification of subtomograms, compared on equal terms.

What a method or a data set needs can be imported from here: `from bench import Batch, Method`; so can the commands
`run` and `predict`, for a script: `run([RunRequest(out="runs")], Console())`.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from typing import TYPE_CHECKING

from bench.base.version import VERSION

if TYPE_CHECKING:
    from bench.base.arrays import UNLABELLED
    from bench.base.console import Console
    from bench.base.parameters import parameter
    from bench.commands.predict import Request as PredictRequest
    from bench.commands.predict import predict
    from bench.commands.run import run
    from bench.data.dataset import Dataset
    from bench.data.subtomograms import Subtomograms
    from bench.learning.contracts import Batch, TrainingData
    from bench.learning.method import Classifier, Method
    from bench.learning.networks import Backbone, ClassifierNetwork
    from bench.learning.recipe import Recipe
    from bench.learning.trainer import Trainer
    from bench.trials.plan import Request as RunRequest

__version__ = VERSION
__all__ = [
    "UNLABELLED",
    "Backbone",
    "Batch",
    "Classifier",
    "ClassifierNetwork",
    "Console",
    "Dataset",
    "Method",
    "PredictRequest",
    "Recipe",
    "RunRequest",
    "Subtomograms",
    "Trainer",
    "TrainingData",
    "parameter",
    "predict",
    "run",
]

_HOMES = {
    "UNLABELLED": "bench.base.arrays",
    "Backbone": "bench.learning.networks",
    "Batch": "bench.learning.contracts",
    "Classifier": "bench.learning.method",
    "ClassifierNetwork": "bench.learning.networks",
    "Console": "bench.base.console",
    "Dataset": "bench.data.dataset",
    "Method": "bench.learning.method",
    "PredictRequest": "bench.commands.predict",
    "Recipe": "bench.learning.recipe",
    "RunRequest": "bench.trials.plan",
    "Subtomograms": "bench.data.subtomograms",
    "Trainer": "bench.learning.trainer",
    "TrainingData": "bench.learning.contracts",
    "parameter": "bench.base.parameters",
    "predict": "bench.commands.predict",
    "run": "bench.commands.run",
}
_NAMES_AT_HOME = {"PredictRequest": "Request", "RunRequest": "Request"}  # where they differ
_here = os.path.dirname(__file__)

if not TYPE_CHECKING:  # to a type checker this function would be any name

    def __getattr__(name: str) -> object:
        """Import a name of `__all__` when it is asked for: every call of the command imports this file."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), _NAMES_AT_HOME.get(name, name))


def home_of(name: str) -> str:
    """The module that defines a name of `bench`."""
    return _HOMES.get(name, __name__)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Checkout:
    """Finds `bench.methods` and `bench.datasets` beside this folder, where a checkout has them; no other name."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        beside = name in ("bench.methods", "bench.datasets")
        return PathFinder.find_spec(name, [os.path.dirname(_here)]) if beside else None


if not os.path.isdir(os.path.join(_here, "methods")):
    # Ray's workers look in the working folder first: `bench run` in a checkout comes here even where the package is
    # installed. So this finder stands before that of `pip install -e`, which may know another checkout.
    sys.meta_path.insert(0, _Checkout)
