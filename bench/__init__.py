"""subtomobench: semi-supervised classification of subtomograms, compared on equal terms."""

import os

__version__ = "0.1.0"

_here = os.path.dirname(__file__)
if not os.path.isdir(os.path.join(_here, "methods")):
    # A checkout: methods/ and datasets/ stand beside this folder. Ray's workers look in the working folder first, so
    # `bench run` in a checkout comes here even where the package is installed.
    __path__.append(os.path.dirname(_here))
