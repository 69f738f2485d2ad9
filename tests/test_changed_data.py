"""Data that changed never get the scores of what they were before."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Bench

from bench import registry
from bench.data.subtomograms import Subtomograms
from bench.files import volume

RUN = ["--methods", "supervised", "--fractions", "100", "--epochs", "1", "--seeds", "1", "--backend", "serial"]


def _spoil(folder: Path, how: str) -> None:
    """Change the set of `folder`; "voxels again" so that size and time stay as they were."""
    path = folder / "volumes.npy"
    before = path.stat()
    if how == "labels":
        np.save(folder / "labels.npy", (np.load(folder / "labels.npy") + 1) % 3)
    elif how == "names":
        meta = json.loads((folder / "meta.json").read_text())
        (folder / "meta.json").write_text(json.dumps(meta | {"class_names": ["c", "b", "a"]}))
    else:
        voxels = np.load(path, mmap_mode="r+")
        voxels[:] = 7 if how == "voxels" else voxels[::-1].copy()
        voxels.flush()
    if how == "voxels again":
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _refused(answer: tuple[int, str, str], folder: Path) -> None:
    code, _, err = answer
    assert (code, err.count("\n")) == (2, 1), err
    assert f"{folder}: voxels, labels or names were changed since the set was made" in err


@pytest.mark.parametrize("kind", ["particles", "made"])
def test_a_changed_set_is_refused(kind: str, bench: Bench, tmp_path: Path, rng: np.random.Generator) -> None:
    data, out = tmp_path / "here" / "mine", tmp_path / "out"
    made = data / "cache" / f"data-{'a' * 16}" if kind == "made" else data
    made.mkdir(parents=True)
    volumes = rng.normal(size=(36, 8, 8, 8)).astype(np.float32)
    Subtomograms(volumes, np.arange(36) % 3, ("a", "b", "c"), 10.0, "mine").save(made)
    (data / "manifest.json").write_text(json.dumps({"recipe": {}, "recipe_hash": "a" * 16}))
    run = ["run", "--dataset", kind, "--set", f"{kind}.test_fraction=0.3", *RUN, "--out", out, "--data"]
    shutil.copytree(data, tmp_path / "there" / "mine")
    elsewhere = tmp_path / "there" / made.relative_to(tmp_path / "here")
    code, said, err = bench(*run, data)
    assert (code, "1 trials" in said) == (0, True), err
    _spoil(elsewhere, "voxels")  # not the set of the first run, but called the same
    _refused(bench(*run, tmp_path / "there" / "mine"), elsewhere)
    for how in ("voxels", "voxels again", "labels", "names"):
        shutil.copytree(made, tmp_path / how)
        _spoil(made, how)
        _refused(bench(*run, data), made)
        shutil.copytree(tmp_path / how, made, dirs_exist_ok=True)
    code, said, _ = bench(*run, data)
    assert (code, "1 finished before, 0 to run" in said) == (0, True)
    _spoil(made, "labels")
    Subtomograms.open(made).save(made)  # on purpose, as docs/real-data.md says
    code, said, _ = bench(*run, data)
    assert (code, "finished before" in said) == (0, False)


def _swap(a: Path, b: Path) -> None:
    aside = a.with_name("aside")
    a.rename(aside)
    b.rename(a)
    aside.rename(b)


@pytest.mark.parametrize("kind", ["folder", "maps", "simulated"])
def test_a_changed_source_is_another_data_set(kind: str, tmp_path: Path) -> None:
    """A file changed in place, one more file, the names of two classes swapped: each gives new volumes or labels."""
    z, y, x = np.mgrid[:16, :16, :16] - 8.0

    def write(path: Path, i: int) -> None:
        if kind == "simulated":
            atom = "ATOM  {n:5d}  C   ALA A{n:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           C"
            atoms = [atom.format(n=n, x=30 * n * i % 47, y=20 * n, z=7 * n % 31) for n in range(9)]
            path.write_text("\n".join(atoms), encoding="utf-8")
        else:
            density = np.exp(-(z**2 / (4 + 4 * i) + y**2 / 6 + x**2 / 9)).astype(np.float32)
            path.unlink(missing_ok=True)
            volume.write(path, density, 10.0)

    sizes = {} if kind == "folder" else {"box": 8, "per_class": 2}
    suffix, folder = (".pdb" if kind == "simulated" else ".mrc"), tmp_path / "data"
    if kind == "folder":
        a, b, more = folder / "a" / "0.mrc", folder / "b" / "0.mrc", folder / "a" / "1.mrc"
    else:
        a, b, more = (folder / f"{name}{suffix}" for name in "abc")
    for i, path in enumerate((a, b)):
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, i + 1)
    dataset = replace(registry.dataset(kind, sizes), folder=folder)
    seen = [(dataset.key(), dataset.load().fingerprint())]
    changes = [lambda: _swap(a, b), lambda: write(a, 3), lambda: write(more, 4)]
    if kind == "folder":
        changes.append(lambda: _swap(a.parent, b.parent))
    for change in changes:
        change()
        seen.append((dataset.key(), dataset.load().fingerprint()))
    assert len({key for key, _ in seen}) == len({made for _, made in seen}) == len(changes) + 1
