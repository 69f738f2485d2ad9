"""From a tomogram to named particles, on simulated ones whose truth is known: the F1 of the whole way.

    python examples/simulated_tomogram.py STRUCTURES OUT

STRUCTURES is a folder with three PDB or mmCIF files, as of `bench data fetch --pdb 4V4A,3DY4,1KP8`. Two crowded
tomograms are simulated. In both, particles are picked by size, and searched again by the largest structure as a
template. An expert (here: the truth) names the picks of the first; `bench run` compares methods that see a part of the
names; `bench predict` names the picks of the second, and these are held against its truth.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

VOXEL, DIAMETER = 12.0, 190.0  # Å
BOX = 20  # voxels: small, so that few boxes stick out of a thin tomogram
NEAR = 60.0  # Å between a pick and the particle that it is
NONE = "background"


def bench(*arguments: object) -> None:
    """Run a command, and show it."""
    print("\n$ bench", *arguments, flush=True)
    subprocess.run(["bench", *map(str, arguments)], check=True)


def named_by_truth(table: pd.DataFrame, truth: pd.DataFrame) -> list[str]:
    """The class of the particle that each pick is, one to one; NONE for one that is none."""
    axes = ["z_in_voxels", "y_in_voxels", "x_in_voxels"]
    gaps = cdist(table[axes], truth[["z", "y", "x"]]) * VOXEL
    rows, columns = linear_sum_assignment(np.minimum(gaps, NEAR + 1))
    names = np.full(len(table), NONE, dtype=object)
    for row, column in zip(rows, columns):
        if gaps[row, column] <= NEAR:
            names[row] = truth["class"].iloc[column]
    return list(names)


def f1(said: np.ndarray, true: np.ndarray, kind: str, in_tomogram: int) -> float:
    """2 TP / (said + in the tomogram): particles that were never picked count as missed."""
    hits = int(((said == kind) & (true == kind)).sum())
    return 2 * hits / max(1, int((said == kind).sum()) + in_tomogram)


def main() -> None:
    """Go the whole way and print F1 by class."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("structures", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shape", default="64,320,320")
    parser.add_argument("--per-class", type=int, default=60)
    parser.add_argument("--snr", type=float, default=0.1)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--step-in-degrees", type=float, default=20)
    args = parser.parse_args()
    template = max(args.structures.iterdir(), key=lambda path: path.stat().st_size)
    for seed, name in enumerate(("first", "second")):
        folder, picks = args.out / name, args.out / f"{name}-picks.csv"
        size = ["--shape", args.shape, "--per-class", args.per_class, "--voxel-size-in-angstroms", VOXEL]
        size += ["--snr", args.snr, "--seed", seed]
        bench("data", "simulate-tomogram", "--structures", args.structures, *size, "--out", folder)
        tomogram, count = folder / "tomogram.mrc", 4 * args.per_class
        bench("data", "pick", tomogram, "--diameter-in-angstroms", DIAMETER, "--count", count, "--out", picks)
        search = ["--template", template, "--near", picks, "--count", count, "--step-in-degrees", args.step_in_degrees]
        search += ["--min-distance-in-angstroms", DIAMETER / 2]
        bench("data", "match", tomogram, *search, "--out", args.out / f"{name}.csv")

    table, truth = pd.read_csv(args.out / "first.csv"), pd.read_csv(args.out / "first/particles.csv")
    table["class"] = named_by_truth(table, truth)
    table.to_csv(args.out / "labelled.csv", index=False)
    tomograms = ["--tomograms", args.out / "first/tomogram.mrc"]
    bench("data", "extract", "--table", args.out / "labelled.csv", *tomograms, "--box", BOX, "--out", args.out / "set")
    methods = ["--methods", "supervised,autoencoding,rim", "--fractions", "20,50", "--epochs", args.epochs]
    bench("run", "--dataset", "particles", "--data", args.out / "set", *methods, "--out", args.out / "runs")
    second = ["--table", args.out / "second.csv", "--tomograms", args.out / "second/tomogram.mrc"]
    bench("predict", args.out / "runs", *second, "--out", args.out / "named.csv")

    said, truth = pd.read_csv(args.out / "named.csv"), pd.read_csv(args.out / "second/particles.csv")
    true, names = np.array(named_by_truth(said, truth)), said["predicted_class"].to_numpy(str)
    print(f"\n{len(truth)} particles in the second tomogram, {(true != NONE).sum()} of them among {len(said)} picks")
    scores = {kind: f1(names, true, kind, int((truth["class"] == kind).sum())) for kind in truth["class"].unique()}
    for kind, score in scores.items():
        n = int((truth["class"] == kind).sum())
        by_score = np.where(np.arange(len(said)) < n, kind, NONE)  # the best n by the template's score
        note = f"  (the best {n} by template score alone: {f1(by_score, true, kind, n):.2f})"
        print(f"F1 {score:.2f}  {kind}" + (note if template.name.startswith(kind) else ""))
    print(f"F1 {np.mean(list(scores.values())):.2f}  mean")


if __name__ == "__main__":
    main()
