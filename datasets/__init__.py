"""One file a data set."""

if __name__ != "bench.datasets":
    raise ImportError("import this folder as `bench.datasets` (install the project: pip install -e .)")
