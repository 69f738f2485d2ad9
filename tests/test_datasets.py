"""The contract that every data set keeps, and what each refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA, needs_data

from bench import registry
from bench.base.errors import BenchError
from bench.data.dataset import Dataset
from bench.data.subtomograms import Subtomograms
from bench.files import volume


@pytest.fixture(params=list(registry.entries(registry.DATASETS)))
def dataset(request: pytest.FixtureRequest, tmp_path: Path, rng: np.random.Generator) -> Dataset:
    """Each data set, small, with a folder of suitable files where it needs one."""
    name = str(request.param)
    known = vars(registry.dataset(name))
    small = {key: value for key, value in {"box": 8, "per_class": 4}.items() if key in known}
    plain = registry.dataset(name, small)
    if not plain.needs_folder:
        return plain
    z, y, x = np.mgrid[:16, :16, :16] - 8.0
    for i, kind in enumerate(("one", "two", "three")):
        density = np.exp(-(z**2 / (4 + 4 * i) + y**2 / 6 + x**2 / 9)).astype(np.float32)
        volume.write(tmp_path / f"{kind}.mrc", density, 10.0)
        atoms = [
            f"ATOM  {n:5d}  C   ALA A{n:4d}    {30 * n * i % 47:8.3f}{20.0 * n:8.3f}{7 * n % 31:8.3f}" for n in range(9)
        ]
        (tmp_path / f"{kind}.pdb").write_text("\n".join(f"{atom}  1.00  0.00           C" for atom in atoms))
        (tmp_path / kind).mkdir()
        for j in range(4):
            noisy = density + rng.normal(size=density.shape).astype(np.float32)
            volume.write(tmp_path / kind / f"{j}.mrc", noisy, 10.0)
    if name in ("made", "particles"):  # as `bench data simulate` and `extract` leave them
        made = tmp_path / "cache" / f"data-{'0' * 16}" if name == "made" else tmp_path
        made.mkdir(parents=True, exist_ok=True)
        volumes = rng.normal(size=(6, 8, 8, 8)).astype(np.float32)
        Subtomograms(volumes, np.arange(6) // 2, ("one", "two", "three"), 10.0, "made").save(made)
        (tmp_path / "manifest.json").write_text(json.dumps({"recipe": {}, "recipe_hash": "0" * 16}))
    if name == "noble":  # a set of MRC boxes a deposition
        for number in (10131, 10133, 10135, 10143, 10169, 10172, 10173):
            (tmp_path / str(number)).mkdir()
            for j in range(3):
                voxels = 5 + rng.normal(size=(28, 28, 28)).astype(np.float32)
                volume.write(tmp_path / str(number) / f"{j}.mrc", voxels, 8.0)
    return replace(plain, folder=tmp_path)


def test_delivers_labelled_finite_cubes(dataset: Dataset) -> None:
    made = dataset.load()
    assert made.volumes.dtype == np.float32
    assert np.isfinite(made.volumes).all()
    assert made.box == made.volumes.shape[1]
    assert set(made.labels) == set(range(len(made.class_names)))
    assert made.voxel_size_in_angstroms > 0


def test_the_same_parameters_give_the_same_bytes(dataset: Dataset) -> None:
    assert dataset.load().fingerprint() == dataset.load().fingerprint()
    assert dataset.key() == dataset.key()


def test_saved_and_opened_again_it_is_the_same(dataset: Dataset, tmp_path: Path) -> None:
    made, folder = dataset.load(), tmp_path / "saved"
    folder.mkdir()
    made.save(folder)
    again = Subtomograms.open(folder)
    assert again.fingerprint() == made.fingerprint()
    for name in ("class_names", "title", "voxel_size_in_angstroms", "grey_scale"):
        assert getattr(again, name) == getattr(made, name)


def test_boxes_that_claim_one_grey_scale_have_it(dataset: Dataset) -> None:
    made = dataset.load()
    if made.grey_scale == "each box":
        assert made.volumes.mean(axis=(1, 2, 3)) == pytest.approx(0, abs=1e-4)
        assert made.volumes.std(axis=(1, 2, 3)) == pytest.approx(1, abs=2e-3)
    else:
        assert type(dataset).__name__ in ("Folder", "Made", "Particles")  # the last two as the set that was saved


def test_an_unknown_voxel_size_stays_unknown(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "boxes" / name).mkdir(parents=True)
        volume.write(tmp_path / "boxes" / name / "0.mrc", np.full((8, 8, 8), 3.0, np.float32), None)
    made, saved = replace(registry.dataset("folder"), folder=tmp_path / "boxes").load(), tmp_path / "saved"
    saved.mkdir()
    made.save(saved)
    assert made.voxel_size == "unknown size"
    assert Subtomograms.open(saved).voxel_size_in_angstroms is None


def test_a_changed_source_file_changes_the_key(dataset: Dataset) -> None:
    if not dataset.needs_folder:
        assert not dataset.sources()
        return
    before, path = dataset.key(), dataset.sources()[0]
    path.write_bytes(path.read_bytes()[:-4] + b"abcd")
    assert dataset.key() != before


def test_phantoms_are_eight_shapes_of_the_sizes_they_claim() -> None:
    from bench.base.seeds import numpy_generator
    from bench.datasets.phantoms import COMPLEXES, EXTENT_IN_ANGSTROMS, _density

    masses, radii = {}, {}
    for name, make in COMPLEXES.items():
        density = _density(name, make(numpy_generator(0, "shape", name)), 6.0)
        masses[name[1:5]] = float(density.voxels.sum()) * 6.0**3
        grids = np.mgrid[tuple(slice(0, n) for n in density.voxels.shape)] - density.voxels.shape[0] // 2
        distance = 6.0 * np.sqrt((grids**2).sum(0))
        radii[name[1:5]] = np.sqrt((density.voxels * distance**2).sum() / density.voxels.sum())
        assert (density.voxels * (distance > EXTENT_IN_ANGSTROMS / 2)).sum() < 0.01 * density.voxels.sum()
    # kDa; the ribosomes weigh more in density, being mostly RNA
    expected = {"1FNT": 1078, "2GLS": 624, "1F1B": 306, "2IDB": 330, "1KP8": 798, "3DY4": 700}
    assert {k: masses[k] for k in expected} == pytest.approx(expected, rel=0.01)
    assert masses["5T2C"] > masses["4V4A"] > 2000
    assert radii["1FNT"] > radii["3DY4"] > radii["1F1B"]


def test_rings_have_the_symmetry_they_claim() -> None:
    from scipy.spatial.transform import Rotation

    from bench.base.seeds import numpy_generator
    from bench.datasets.phantoms import COMPLEXES

    folds = {"~2GLS glutamine synthetase": 6, "~2IDB decarboxylase": 3, "~1KP8 GroEL": 7, "~3DY4 20S": 7}
    for name, n in folds.items():
        blobs = COMPLEXES[name](numpy_generator(0, "shape", name))
        turned = Rotation.from_rotvec([2 * np.pi / n, 0, 0]).apply(blobs.centres)
        distance = np.linalg.norm(turned[:, None] - blobs.centres[None], axis=2)
        assert distance.min(1).max() < 1e-6
        half_turn = distance.argmin(1)
        assert not np.array_equal(half_turn, np.arange(len(half_turn)))


@needs_data
def test_the_real_maps_become_subtomograms() -> None:
    made = replace(registry.dataset("maps", {"box": 28, "per_class": 2}), folder=DATA / "maps").load()
    assert len(made.class_names) == 12
    assert made.volumes.shape == (24, 28, 28, 28)


def test_a_volume_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    for name in ("a.mrc", "b.mrc", "a.map"):
        volume.write(tmp_path / name, np.ones((8, 8, 8), np.float32), 1.0)
    with pytest.raises(BenchError, match="twice"):
        volume.find(tmp_path)


@pytest.mark.filterwarnings("ignore:overflow")  # of what mrcfile writes into the header
@pytest.mark.parametrize("peak", [3e38, 1e-40])
def test_a_map_that_float32_cannot_sum_is_refused(peak: float, tmp_path: Path) -> None:
    for name in ("a.mrc", "b.mrc"):
        volume.write(tmp_path / name, np.pad(np.full((4, 4, 4), peak, np.float32), 6), 10.0)
    with pytest.raises(BenchError, match=r"a\.mrc: densities up to .*; scale the map"):
        replace(registry.dataset("maps", {"box": 8, "per_class": 2}), folder=tmp_path).load()


def test_a_map_with_a_noise_floor_is_refused_until_it_has_a_threshold(tmp_path: Path, rng: np.random.Generator) -> None:
    z, y, x = np.mgrid[:32, :32, :32] - 16.0
    for i, name in enumerate(("a.mrc", "b.mrc")):
        blob = np.exp(-(z**2 + y**2 + x**2) / (20 + 10 * i)) + 0.05 * rng.uniform(size=z.shape)
        volume.write(tmp_path / name, blob.astype(np.float32), 10.0)
    with pytest.raises(BenchError, match="threshold"):
        replace(registry.dataset("maps", {"box": 8, "per_class": 2}), folder=tmp_path).load()
    replace(registry.dataset("maps", {"box": 8, "per_class": 2, "threshold": 0.1}), folder=tmp_path).load()


def test_an_empty_class_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    volume.write(tmp_path / "a" / "1.mrc", np.ones((8, 8, 8), np.float32), 1.0)
    with pytest.raises(BenchError, match="no MRC boxes"):
        replace(registry.dataset("folder"), folder=tmp_path).load()


def test_boxes_of_different_shapes_are_refused(tmp_path: Path) -> None:
    for name, side in (("a", 8), ("b", 12)):
        (tmp_path / name).mkdir()
        volume.write(tmp_path / name / "1.mrc", np.ones((side,) * 3, np.float32), 1.0)
    with pytest.raises(BenchError, match="one size"):
        replace(registry.dataset("folder"), folder=tmp_path).load()


def test_boxes_that_are_no_cubes_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        volume.write(tmp_path / name / "1.mrc", np.ones((8, 8, 12), np.float32), 1.0)
    with pytest.raises(BenchError, match="cubes"):
        _ = replace(registry.dataset("folder"), folder=tmp_path).load().box


def test_simulated_refuses_a_box_that_is_too_small(structures: Path) -> None:
    made = registry.dataset("simulated", {"box": 16, "per_class": 1, "voxel_size_in_angstroms": 5.0})
    with pytest.raises(
        BenchError, match=r"too small for the largest structure; set simulated\.box=\d+ or a larger voxel"
    ):
        replace(made, folder=structures).load()


def test_simulated_needs_two_structures(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="0 structures"):
        replace(registry.dataset("simulated"), folder=tmp_path).load()


def test_simulated_particles_are_bright_and_in_the_middle(structures: Path, tmp_path: Path) -> None:
    for name in ("6z6u.pdb.gz", "1gyt.pdb.gz"):
        (tmp_path / name).symlink_to(structures / name)
    made = replace(registry.dataset("simulated", {"box": 24, "per_class": 6, "snr": 1000.0}), folder=tmp_path).load()
    assert made.class_names == ("1gyt", "6z6u")
    inner = made.volumes[:, 6:18, 6:18, 6:18].mean((1, 2, 3))
    assert (inner > made.volumes.mean((1, 2, 3)) + 0.3).all()


def test_simulated_refuses_one_structure_in_two_formats(tmp_path: Path) -> None:
    for name in ("1abc.pdb", "1abc.cif.gz", "2abc.pdb"):
        (tmp_path / name).touch()
    with pytest.raises(BenchError, match="the same thing twice"):
        replace(registry.dataset("simulated"), folder=tmp_path).load()


def test_noble_says_what_to_get_and_keeps_tomograms_apart(tmp_path: Path, rng: np.random.Generator) -> None:
    from bench.datasets.noble import DEPOSITIONS

    noble = replace(registry.dataset("noble"), folder=tmp_path)
    with pytest.raises(BenchError, match="EMPIAR-10173 insulin receptor \\(inferred\\)") as caught:
        noble.load()
    assert "\n" not in str(caught.value)
    assert sum(one.confirmed for one in DEPOSITIONS) == 4
    for one in DEPOSITIONS:
        (tmp_path / str(one.number)).mkdir()
        volumes = rng.normal(size=(6, 28, 28, 28)).astype(np.float32)
        ids = np.array(["a", "b", "c"] * 2)
        Subtomograms(volumes, np.zeros(6, np.int64), ("x",), 8.0, "x", ids).save(tmp_path / str(one.number))
    made = replace(registry.dataset("noble", {"per_class": 4}), folder=tmp_path).load()
    assert made.counts().tolist() == [4] * 7
    assert made.tomogram_ids is not None
    assert len(set(made.tomogram_ids)) == 21  # "a" of one deposition is not "a" of another
    assert noble.test_fraction == 0.5


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_set_with_voxels_that_are_no_numbers_is_neither_written_nor_used(value: float, tmp_path: Path) -> None:
    volumes = np.random.default_rng(0).normal(size=(200, 8, 8, 8)).astype(np.float32)
    made = Subtomograms(volumes, np.arange(200) % 2, ("a", "b"), 10.0, "mine")
    made.save(tmp_path)
    volumes[150, 2, 3, 4] = value
    np.save(tmp_path / "volumes.npy", volumes)
    for use in (lambda: Subtomograms.open_unchanged(tmp_path), made.fingerprint):
        with pytest.raises(BenchError, match="mine: holds NaN or infinite voxels"):
            use()
