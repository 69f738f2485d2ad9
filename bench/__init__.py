"""subtomobench: semi-supervised classification of subtomograms, compared on equal terms."""

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder

__version__ = "0.1.0"

_here = os.path.dirname(__file__)


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
