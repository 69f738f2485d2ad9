"""The numbers that Liu et al. 2019 published, to print beside ours: other data, never the same column."""

from __future__ import annotations

PERCENTS = (5.0, 10.0, 20.0)  # labelled, in % of the training set

# Names as in Table 2, in its order; `autoencoder` stands in Table 3 only.
TITLES = {
    "supervised": "Supervised 3D-CNN",
    "self_training": "Self-trained 3D-CNN",
    "pretrained": "Pre-trained 3D-CNN",
    "m2": "Deep generative model (M2)",
    "autoencoding": "Autoencoding classifier",
    "autoencoder": "3D autoencoder",
    "rim": "Control: box rim alone",  # not in the paper
}

# Table 2, accuracy in %: at 5, 10, 20 % on the real set, then on the simulated set.
ACCURACY = {
    "supervised": ((14.29, 30.78, 87.71), (17.78, 28.92, 33.56)),
    "self_training": ((28.57, 42.86, 57.57), (17.35, 25.56, 32.19)),
    "pretrained": ((14.29, 71.57, 94.03), (38.04, 59.19, 75.15)),
    "m2": ((72.14, 76.86, 76.64), (16.67, 18.00, 17.19)),
    "autoencoding": ((78.21, 84.64, 95.36), (50.27, 71.44, 77.85)),
}

# Table 3, reconstruction MSE on the test set (its scaling is not stated): real, simulated.
RECONSTRUCTION: dict[tuple[str, float | None], tuple[float, float]] = {
    ("autoencoder", None): (0.0147, 1.2464),
    ("autoencoding", 5.0): (0.0050, 0.8357),
    ("autoencoding", 10.0): (0.0049, 0.1491),
    ("autoencoding", 20.0): (0.0054, 0.1793),
}


def rank(method: str) -> tuple[int, str]:
    """Sort key: the paper's methods in its order, then the others by name."""
    order = list(TITLES)
    return (order.index(method) if method in order else len(order), method)
