"""subtomobench: semi-supervised classification of subtomograms, compared on equal terms."""

__version__ = "0.1.0"
