"""The numbers that Liu et al. 2019 published, to print beside ours: other data, never the same column."""

from __future__ import annotations

PERCENTS = (5.0, 10.0, 20.0)  # labelled, in % of the training set

# Table 2, accuracy in %: at 5, 10, 20 % on the real set, then on the simulated set; methods in its order.
ACCURACY = {
    "supervised": ((14.29, 30.78, 87.71), (17.78, 28.92, 33.56)),
    "self_training": ((28.57, 42.86, 57.57), (17.35, 25.56, 32.19)),
    "pretrained": ((14.29, 71.57, 94.03), (38.04, 59.19, 75.15)),
    "m2": ((72.14, 76.86, 76.64), (16.67, 18.00, 17.19)),
    "autoencoding": ((78.21, 84.64, 95.36), (50.27, 71.44, 77.85)),
}

# Table 3, reconstruction MSE on the test set (its scaling is not stated) by labelled %: real, simulated.
RECONSTRUCTION: dict[str, dict[float | None, tuple[float, float]]] = {
    "autoencoder": {None: (0.0147, 1.2464)},
    "autoencoding": {5.0: (0.0050, 0.8357), 10.0: (0.0049, 0.1491), 20.0: (0.0054, 0.1793)},
}

BASELINE = "supervised"  # what semi-supervised methods have to beat


def accuracy_rank(method: str) -> tuple[int, str]:
    """Sort key: the methods of Table 2 in its order, then those of Table 3 alone, then the others by name."""
    return _rank(method, [*ACCURACY, *RECONSTRUCTION])


def reconstruction_rank(method: str) -> tuple[int, str]:
    """Sort key: the methods of Table 3 in its order, then the others by name."""
    return _rank(method, list(RECONSTRUCTION))


def _rank(method: str, order: list[str]) -> tuple[int, str]:
    return (order.index(method) if method in order else len(order), method)
