"""The good files that generated cases start from: small, of every kind that a command reads."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from bench.files import volume

VOXEL = 10.0  # Å
SHAPE = (24, 30, 36)
ATOM = "ATOM  {:5d}  {:3s} ALA A{:4d}    {:8.3f}{:8.3f}{:8.3f}  1.00 10.00          {:>2s}\n"
STUDY = """
[study]
title = "Small"
fractions = [50]
seeds = 1
epochs = 1

[[data]]
name = "folder"
folder = "boxes"

[[data]]
name = "phantoms"
options = { box = 8, per_class = 9 }

[[condition]]
snr = [0.5]

[[method]]
name = "rim"
"""
SUBMISSION = """
who = "A group"
contact = "a@b.org"
method_source = "as in subtomobench"
revision = "1"
hardware = "two cores"
command = "bench run"
not_tuned_on_the_test_set = true
"""
STAR = """
data_optics

loop_
_rlnOpticsGroup #1
_rlnTomoTiltSeriesPixelSize #2
1 10.0

data_particles

loop_
_rlnTomoName #1
_rlnTomoParticleName #2
_rlnCoordinateX #3
_rlnCoordinateY #4
_rlnCoordinateZ #5
_rlnOriginXAngst #6
_rlnOriginYAngst #7
_rlnOriginZAngst #8
_rlnAngleRot #9
_rlnAngleTilt #10
_rlnAnglePsi #11
_rlnOpticsGroup #12
_rlnClassNumber #13
"""


def make(folder: Path) -> None:
    """Everything but what the commands themselves make of it."""
    rng = np.random.default_rng(0)
    places = rng.integers(5, np.array(SHAPE) - 5, (12, 3))
    _tomograms(folder, places, rng)
    _tables(folder, places, rng)
    for name in "abc":
        radius = {"a": 2.5, "b": 3.2, "c": 3.8}[name]
        _volume(folder / "maps" / f"{name}.mrc", _ball((12, 12, 12), np.array([[6, 6, 6]]), radius))
        for i in range(9):
            box = rng.normal(size=(8, 8, 8)) + _ball((8, 8, 8), np.array([[4, 4, 4]]), radius - 1)
            _volume(folder / "boxes" / name / f"{i}.mrc", box)
    _structures(folder / "structures", rng)
    for number in (10131, 10133, 10135, 10143, 10169, 10172, 10173):
        for i in range(2):
            _volume(folder / "noble" / str(number) / f"{i}.mrc", rng.normal(size=(28, 28, 28)))
    (folder / "fetched").mkdir()
    (folder / "fetched/1ABC.cif.gz").write_bytes((folder / "structures/b.cif.gz").read_bytes())
    (folder / "fetched/checksums.json").write_text("{}")


def _tomograms(folder: Path, places: np.ndarray, rng: np.random.Generator) -> None:
    voxels = (rng.normal(size=SHAPE) - 2 * _ball(SHAPE, places, 3)).astype(np.float32)
    _volume(folder / "tomogram.mrc", voxels)
    _volume(folder / "tomograms/t.mrc", voxels)
    (folder / "tomograms/u.mrc.gz").write_bytes(gzip.compress((folder / "tomogram.mrc").read_bytes()))
    head = bytes([6, 0, 0, 5]) + np.array(SHAPE[::-1], "<i4").tobytes()
    (folder / "tomogram.em").write_bytes(head.ljust(512, b"\0") + voxels.tobytes())
    tifffile.imwrite(folder / "tomogram.tif", voxels, photometric="minisblack")


def _tables(folder: Path, places: np.ndarray, rng: np.random.Generator) -> None:
    angles = rng.uniform(-180, 180, (len(places), 3)).round(2)
    rows = [
        f"tomogram tomogram/{i} {x} {y} {z} 1.0 -2.0 0 {a} {b} {c} 1 {1 + i % 2}"
        for i, ((z, y, x), (a, b, c)) in enumerate(zip(places, angles))
    ]
    (folder / "particles.star").write_text(STAR + "\n".join(rows) + "\n")
    table = pd.DataFrame(places * VOXEL, columns=["z_angstrom", "y_angstrom", "x_angstrom"])
    table.insert(0, "tomogram", ["t", "u"] * 6)
    table.assign(**{"class": ["a", "b", "b"] * 4}).to_csv(folder / "particles.csv", index=False)
    dynamo = np.zeros((len(places), 26))
    dynamo[:, 0], dynamo[:, 6:9], dynamo[:, 23:26] = np.arange(1, 13), angles, places[:, ::-1] + 1
    dynamo[:, 19], dynamo[:, 21] = 1, np.arange(12) % 2
    np.savetxt(folder / "particles.tbl", dynamo, fmt="%g")
    shrec = [f"1bxn {z} {y} {x} {a} {b} {c}" for (z, y, x), (a, b, c) in zip(places[:6], angles)]
    (folder / "study.toml").write_text(STUDY)
    (folder / "shrec.txt").write_text("\n".join(shrec) + "\n")
    points = [
        {"location": dict(zip("zyx", map(float, VOXEL * p))), "transformation_": np.eye(4).tolist()} for p in places[6:]
    ]
    picks = {"pickable_object_name": "ribosome", "run_name": "tomogram", "unit": "angstrom", "points": points}
    (folder / "picks.json").write_text(json.dumps(picks))
    (folder / "keep.txt").write_text("\n".join(map(str, range(1, 11))) + "\n")


def _structures(folder: Path, rng: np.random.Generator) -> None:
    import gemmi

    folder.mkdir()
    for name, n in (("a", 40), ("b", 60)):
        atoms = rng.normal(0, 12, (n, 3))
        text = "".join(ATOM.format(i + 1, "CA", i + 1, *xyz, "C") for i, xyz in enumerate(atoms)) + "END\n"
        (folder / f"{name}.pdb").write_text(text)
    cif = gemmi.read_pdb(str(folder / "b.pdb")).make_mmcif_document().as_string()
    (folder / "b.pdb").unlink()
    (folder / "b.cif.gz").write_bytes(gzip.compress(cif.encode()))


def _ball(shape: tuple[int, ...], places: np.ndarray, radius: float) -> np.ndarray:
    grid = np.indices(shape)
    return sum((np.linalg.norm(grid - p.reshape(3, 1, 1, 1), axis=0) <= radius).astype(np.float32) for p in places)


def _volume(path: Path, voxels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    volume.write(path, voxels.astype(np.float32), VOXEL)
