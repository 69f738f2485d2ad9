"""One file a method: its equation, its hyperparameters, its reference."""

if __name__ != "bench.methods":
    raise ImportError("import this folder as `bench.methods` (install the project: pip install -e .)")

GROUPS = {  # names that stand for several methods
    "paper": ["autoencoder", "autoencoding", "m2", "pretrained", "rim", "self_training", "supervised"],
}
