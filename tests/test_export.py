"""Sets and tomograms as files: what other programs read, and what an interruption leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gemmi
import numpy as np
import pandas as pd
import pytest
import starfile
from scipy.spatial.transform import Rotation

from bench import registry
from bench.base.console import Console
from bench.base.errors import BenchError
from bench.commands import simulate
from bench.commands.simulate_tomogram import Request, simulate_tomogram
from bench.data.subtomograms import Subtomograms
from bench.files import volume

Call = Callable[..., tuple[int, str, str]]
BENCH = [sys.executable, "-c", "from bench.cli.main import main; main()"]


@pytest.fixture(scope="module")
def two_structures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("structures")
    rng = np.random.default_rng(0)
    for name, edges in (("rod", (15, 15, 90)), ("lump", (40, 50, 60))):
        structure, model, chain = gemmi.Structure(), gemmi.Model(1), gemmi.Chain("A")
        for i, position in enumerate(rng.uniform(0, edges, (300, 3))):
            residue, atom = gemmi.Residue(), gemmi.Atom()
            residue.name, residue.seqid = "ALA", gemmi.SeqId(str(i + 1))
            atom.name, atom.element, atom.pos = "CA", gemmi.Element("C"), gemmi.Position(*position)
            residue.add_atom(atom)
            chain.add_residue(residue)
        model.add_chain(chain)
        structure.add_model(model)
        (folder / f"{name}.pdb").write_text(structure.make_pdb_string())
    return folder


def _simulate(structures: Path, out: Path, *options: str) -> list[str]:
    return [*BENCH, "data", "simulate", "--structures", str(structures), "--out", str(out), "--box", "16", *options]


def test_what_is_written_and_that_a_run_takes_the_set(two_structures: Path, tmp_path: Path) -> None:
    size = {"voxel_size_in_angstroms": "13"}  # as --set gives it
    parameters = {"box": 16, "per_class": 20, "snr": 0.2, "defocus_spread_in_micrometres": 1.0} | size
    dataset = replace(registry.dataset("simulated", parameters), folder=two_structures)
    made = Subtomograms.open(simulate.make(dataset, tmp_path))
    simulate.write(tmp_path / "cache" / f"data-{dataset.key()}", dataset.imaging(), tmp_path)
    assert (tmp_path / "contact_sheet.png").stat().st_size > 10_000
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["recipe_hash"] == dataset.key()
    assert manifest["structures"]["rod"]["atoms"] == 300
    truth = pd.read_csv(tmp_path / "truth.csv")
    assert truth["class"].tolist() == ["lump"] * 20 + ["rod"] * 20
    assert np.allclose(truth["achieved_snr"], 0.2, rtol=0.05)
    assert truth["defocus_in_micrometres"].between(4, 6).all()
    star = starfile.read(tmp_path / "particles.star")
    assert made.voxel_size_in_angstroms == 13.0
    assert len(star["particles"]) == 40
    assert float(star["optics"]["rlnImagePixelSize"].iloc[0]) == pytest.approx(made.voxel_size_in_angstroms, rel=1e-5)
    for i in (0, 39):
        voxels, voxel_size = volume.read(tmp_path / star["particles"]["rlnImageName"][i])
        assert np.array_equal(voxels, made.volumes[i])
        assert voxel_size == pytest.approx(made.voxel_size_in_angstroms, rel=1e-5)


def test_no_class_of_a_truth_table_is_a_formula(two_structures: Path, tmp_path: Path) -> None:
    (tmp_path / "structures").mkdir()
    for path in two_structures.iterdir():
        shutil.copy(path, tmp_path / "structures" / f"={path.name}")
    options = {"voxel_size_in_angstroms": "13", "per_class": 1, "box": 16, "snr": 1.0}
    dataset = replace(registry.dataset("simulated", options), folder=tmp_path / "structures")
    made = Subtomograms.open(simulate.make(dataset, tmp_path / "set"))
    assert made.class_names == ("=lump", "=rod")
    assert pd.read_csv(tmp_path / "set" / "truth.csv")["class"].tolist() == ["'=lump", "'=rod"]
    request = Request(tmp_path / "structures", tmp_path / "crowd", "24,40,40", 13.0, {"per_class": 1})
    simulate_tomogram(request, Console())
    assert {*pd.read_csv(tmp_path / "crowd" / "particles.csv")["class"]} == {"'=lump", "'=rod"}


def test_the_table_s_pose_is_that_of_the_box(two_structures: Path, tmp_path: Path) -> None:
    """The rod's long axis, seen in the boxes without noise, is where the angles in the STAR file put it."""
    parameters = {"box": 32, "per_class": 6, "snr": 1e6, "tilt_limit_in_degrees": 90.0, "envelope_in_nyquist": 5.0}
    dataset = replace(registry.dataset("simulated", parameters), folder=two_structures)
    folder = simulate.make(dataset, tmp_path)
    simulate.write(folder, dataset.imaging(), tmp_path)
    table = starfile.read(tmp_path / "particles.star")["particles"]
    voxel_size, plan = Subtomograms.open(folder).voxel_size_in_angstroms, dataset.plan()
    for i in np.flatnonzero(table["rlnClassNumber"] == 2):
        clean = plan.clean(range(i, i + 1))[0].numpy().clip(0)
        grid = np.stack(np.mgrid[:32, :32, :32], -1)[..., ::-1].reshape(-1, 3)  # (x, y, z)
        weight = clean.ravel() / clean.sum()
        centre = weight @ grid
        origin = table.loc[i, [f"rlnOrigin{axis}Angst" for axis in "XYZ"]].to_numpy(float)
        assert np.allclose(centre, 16 - origin / voxel_size, atol=0.3)
        spread = (grid - centre).T @ ((grid - centre) * weight[:, None])
        axis = np.linalg.eigh(spread)[1][:, -1]
        angles = table.loc[i, ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].to_numpy(float)
        expected = Rotation.from_euler("ZYZ", angles, degrees=True).inv().apply([0, 0, 1])
        assert abs(axis @ expected) > 0.99


def test_another_recipe_is_not_written_over_the_first(two_structures: Path, tmp_path: Path) -> None:
    dataset = replace(registry.dataset("simulated", {"box": 16, "per_class": 2}), folder=two_structures)
    simulate.make(dataset, tmp_path)
    with pytest.raises(BenchError, match="another recipe"):
        simulate.make(replace(dataset, seed=1), tmp_path)


def test_killed_and_started_again_it_makes_the_same_bytes(two_structures: Path, tmp_path: Path) -> None:
    options = ("--per-class", "250", "--neighbours", "1", "--snr", "0.1")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(_simulate(two_structures, whole, *options), check=True, capture_output=True, env=environment)
    rng, kills = np.random.default_rng(0), 0
    for _ in range(3):
        process = subprocess.Popen(
            _simulate(two_structures, broken, *options),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        before = _journalled(broken)
        while process.poll() is None and _journalled(broken) == before:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills
    assert not list((broken / "cache").glob("data-*/volumes.npy"))
    subprocess.run(_simulate(two_structures, broken, *options), check=True, capture_output=True, env=environment)
    files = [p.relative_to(whole) for p in sorted(whole.rglob("*")) if p.is_file()]
    assert any(p.suffix == ".mrc" for p in files)
    for path in files:
        assert (broken / path).read_bytes() == (whole / path).read_bytes(), path


def _journalled(out: Path) -> int:
    return max((p.stat().st_size for p in out.glob("cache/.data-*.partial/snr.f32")), default=0)


def test_a_tomogram_s_files_agree(two_structures: Path, tmp_path: Path) -> None:
    command = [*BENCH, "data", "simulate-tomogram", "--structures", str(two_structures), "--out", str(tmp_path)]
    subprocess.run([*command, "--shape", "20,40,48", "--per-class", "3"], check=True, capture_output=True)
    tomogram, mask = (volume.read(tmp_path / f"{name}.mrc") for name in ("tomogram", "mask"))
    assert tomogram.voxels.shape == mask.voxels.shape == (20, 40, 48)
    assert tomogram.voxel_size_in_angstroms == pytest.approx(10)
    table, star = pd.read_csv(tmp_path / "particles.csv"), starfile.read(tmp_path / "particles.star")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert len(table) == len(star) == sum(manifest["placed"].values()) == 6
    for (_, row), (_, listed) in zip(table.iterrows(), star.iterrows()):
        assert listed["rlnCoordinateX"] == pytest.approx(row["x"], abs=1e-3)
        place = tuple(slice(int(row[axis]) - 3, int(row[axis]) + 4) for axis in "zyx")
        assert (mask.voxels[place] == manifest["classes"].index(row["class"]) + 1).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--snr", "0"], "--snr 0: must be from 1e-12"),
        (["--tilt-limit-in-degrees", "95"], "must be from 0.1 to 90"),
        (["--voxel-size-in-angstroms", "2"], "set simulated.box="),
        (["--voxel-size-in-angstroms", "0"], "--voxel-size-in-angstroms 0: must be from 0.01"),
        (["--neighbours", "-1"], "neighbours -1"),
        (["--mode", "magic"], "--mode magic: must be fourier or tilt_series"),
        (["--assembly", "7"], "no assembly '7'"),
    ],
)
def test_a_bad_parameter_is_one_line(
    two_structures: Path, tmp_path: Path, bench: Call, options: list[str], message: str
) -> None:
    code, _, err = bench("data", "simulate", "--structures", two_structures, "--out", tmp_path / "out", *options)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_a_microscope_that_passes_nothing_leaves_no_set_half_made(
    two_structures: Path, tmp_path: Path, bench: Call
) -> None:
    blind = ["--amplitude-contrast", 0, "--defocus-in-micrometres", 0, "--spherical-aberration-in-millimetres", 0]
    options = ["--structures", two_structures, "--out", tmp_path / "out", "--box", 16, "--per-class", 2]
    code, _, err = bench("data", "simulate", *options, *blind)
    assert (code, err.count("\n")) == (2, 1)
    assert "leaves no signal" in err
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.stat().st_size]
    assert bench("data", "simulate", *options)[0] == 0


def test_a_run_says_which_models_it_leaves_out_as_the_simulation_does(
    two_structures: Path, tmp_path: Path, bench: Call
) -> None:
    (tmp_path / "structures").mkdir()
    for path in two_structures.iterdir():
        atoms = path.read_text().replace("END", "ENDMDL")
        models = "".join(f"MODEL     {i:4d}\n{atoms}" for i in (1, 2, 3)) if path.stem == "rod" else atoms
        (tmp_path / "structures" / path.name).write_text(models)
    line = "Careful: rod: only the first of 3 models is read; assembly=models takes all of them together\n"
    size = {"box": 16, "per_class": 40, "snr": 1, "voxel_size_in_angstroms": 13}
    options = [part for name, value in size.items() for part in (f"--{name.replace('_', '-')}", value)]
    made = ["--structures", tmp_path / "structures", "--out", tmp_path / "made"]
    code, printed, _ = bench("data", "simulate", *made, *options, "--no-mrc")
    assert (code, printed.count(line)) == (0, 1)
    settings = [part for name, value in size.items() for part in ("--set", f"simulated.{name}={value}")]
    tiny = ["--methods", "supervised", "--fractions", 50, "--seeds", 1, "--epochs", 1, "--backend", "serial"]
    run = ["run", "--dataset", "simulated", "--data", tmp_path / "structures", *settings, *tiny]
    for _ in range(2):  # also where the set is there already
        code, printed, err = bench(*run, "--out", tmp_path / "runs")
        assert (code, printed.count(line), printed.count("Careful")) == (0, 1, 1), err


def test_a_run_takes_the_made_set_without_making_it_again(two_structures: Path, tmp_path: Path, bench: Call) -> None:
    made, out = tmp_path / "made", tmp_path / "runs"
    options = ["--per-class", 60, "--snr", 1, "--no-mrc"]
    assert bench("data", "simulate", "--structures", two_structures, "--out", made, "--box", 16, *options)[0] == 0
    tiny = ["--methods", "supervised", "--fractions", 50, "--seeds", 1, "--epochs", 1, "--backend", "serial"]
    code, printed, err = bench("run", "--dataset", "made", "--data", made, *tiny, "--out", out)
    assert code == 0, err
    assert "simulated 16³ SNR 1" in printed
    (link,) = out.glob("cache/data-*/volumes.npy")
    assert link.resolve() == next(made.glob("cache/data-*/volumes.npy")).resolve()
    code, _, err = bench("run", "--dataset", "made", "--data", two_structures, *tiny, "--out", out)
    assert code == 2
    assert "no finished set of bench data simulate" in err
