"""Structures from files: what is kept, what is counted, which assembly; and the potential against direct sums."""

from __future__ import annotations

import gzip
import math
import re
from pathlib import Path

import gemmi
import numpy as np
import pytest

from bench.base.errors import BenchError
from bench.files.volume import find
from bench.simulation import scattering as physics
from bench.simulation.scattering import VOLTS, ice_scattering, potential
from bench.simulation.structure import REQUIRED, SUFFIXES, Structure, read, remarks

ATOM = "{:6s}{:5d}  {:3s}{:1s}{:3s} {:1s}{:4d}    {:8.3f}{:8.3f}{:8.3f}{:6.2f}{:6.2f}          {:>2s}\n"


def _pdb(*atoms: tuple[str, str, str, int, tuple[float, float, float], float, str], head: str = "") -> str:
    """Atoms as (name, altloc, residue, residue number, (x, y, z), occupancy, element), all in chain A."""
    lines = [
        ATOM.format("ATOM", i, name, alt, residue, "A", number, *xyz, occupancy, 10.0, element)
        for i, (name, alt, residue, number, xyz, occupancy, element) in enumerate(atoms, 1)
    ]
    return head + "".join(lines) + "END\n"


ALANINE = [(n, "", "ALA", 1, (i, 2.0 * i, 3.0 * i), 1.0, n[0]) for i, n in enumerate(("N", "CA", "C", "O", "CB"))]
TWOFOLD = """\
REMARK 350 BIOMOLECULE: 1
REMARK 350 APPLY THE FOLLOWING TO CHAINS: {chains}
REMARK 350   BIOMT1   1  1.000000  0.000000  0.000000        0.00000
REMARK 350   BIOMT2   1  0.000000  1.000000  0.000000        0.00000
REMARK 350   BIOMT3   1  0.000000  0.000000  1.000000        0.00000
REMARK 350   BIOMT1   2 -1.000000  0.000000  0.000000       50.00000
REMARK 350   BIOMT2   2  0.000000 -1.000000  0.000000        0.00000
REMARK 350   BIOMT3   2  0.000000  0.000000  {last}        0.00000
"""


@pytest.mark.parametrize("suffix", [".pdb", ".pdb.gz", ".cif", ".cif.gz"])
def test_what_is_left_out_and_what_is_kept(tmp_path: Path, suffix: str) -> None:
    text = _pdb(
        *ALANINE,
        ("CG", "A", "VAL", 2, (5, 5, 5), 0.7, "C"),
        ("CG", "B", "VAL", 2, (6, 5, 5), 0.3, "C"),
        ("CB", "", "VAL", 2, (7, 5, 5), 0.0, "C"),
        ("H", "", "VAL", 2, (8, 5, 5), 1.0, "H"),
        ("Q", "", "VAL", 2, (8, 6, 5), 1.0, "X"),
        ("O", "", "HOH", 3, (9, 9, 9), 1.0, "O"),
    )
    if ".cif" in suffix:
        text = gemmi.read_pdb_string(text).make_mmcif_document().as_string()
    path = tmp_path / f"some.assembly{suffix}"
    path.write_bytes(gzip.compress(text.encode()) if suffix.endswith("gz") else text.encode())
    structure = read(path)
    assert structure.name == "some.assembly"
    assert structure.positions[3].tolist() == [9, 6, 3]  # (z, y, x)
    assert structure.occupancies.sum() == pytest.approx(5 + 1 + 1)
    assert structure.notes["waters left out"] == 1
    assert structure.notes["zero occupancies left out"] == 1
    assert structure.notes["unknown elements left out"] == 1
    assert structure.notes["alternate locations"] == 2
    assert structure.notes["hydrogens"] == 1
    assert structure.notes["atoms"] == len(structure.elements) == 8


@pytest.mark.parametrize(
    ("head", "assembly", "atoms"),
    [
        (TWOFOLD.format(chains="A", last="1.000000"), "auto", 10),
        (TWOFOLD.format(chains="A", last="1.000000"), "1", 10),
        (TWOFOLD.format(chains="A", last="1.000000"), "none", 5),
        (TWOFOLD.format(chains="B", last="1.000000"), "auto", 5),  # it leaves out a chain
        (TWOFOLD.format(chains="A", last="2.000000"), "auto", 5),  # it is no rotation
        ("", "auto", 5),
    ],
)
def test_assemblies(tmp_path: Path, head: str, assembly: str, atoms: int) -> None:
    path = tmp_path / "one.pdb"
    path.write_text(_pdb(*ALANINE, head=head))
    structure = read(path, assembly)
    assert len(structure.elements) == atoms
    if atoms == 10:
        one, two = structure.positions[:5], structure.positions[5:]
        assert np.allclose(two, one * [1, -1, -1] + [0, 0, 50], atol=1e-3)


def test_a_file_that_was_cut_is_not_read_as_far_as_it_goes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    atoms = [("CA", "", "ALA", i, tuple(rng.uniform(0, 99, 3)), 1.0, "C") for i in range(2000)]
    whole = gzip.compress(_pdb(*atoms).encode())
    (tmp_path / "whole.pdb.gz").write_bytes(whole)
    assert len(read(tmp_path / "whole.pdb.gz").elements) == 2000
    (tmp_path / "cut.pdb.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BenchError, match="cut short"):
        read(tmp_path / "cut.pdb.gz")


def test_an_assembly_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "one.pdb"
    path.write_text(_pdb(*ALANINE, head=TWOFOLD.format(chains="B", last="1.000000")))
    with pytest.raises(BenchError, match="--assembly none"):
        read(path, "1")


def test_bad_files_are_named(tmp_path: Path) -> None:
    water = _pdb(("O", "", "HOH", 3, (9, 9, 9), 1.0, "O"))
    cases = {"empty.pdb": "", "text.cif": "no crystal", "water.pdb": water, "cut.pdb.gz": gzip.compress(b"x" * 999)[:9]}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(BenchError, match=name):
            read(tmp_path / name)
    (tmp_path / "one.pdb").write_text(_pdb(*ALANINE))
    with pytest.raises(BenchError, match=r"no assembly '7'; known: auto, none, models"):
        read(tmp_path / "one.pdb", "7")


@pytest.mark.parametrize("suffix", [".pdb", ".pdb.gz"])
@pytest.mark.parametrize(
    ("right", "wrong"),
    [("   1.000", "********"), ("   1.000", "  xx.xxx"), ("   1.000", "     nan"), ("  1.00", "******")],
)
def test_a_number_of_a_pdb_file_that_is_none_is_never_zero(right: str, wrong: str, suffix: str, tmp_path: Path) -> None:
    text = _pdb(*ALANINE).replace(right, wrong, 1).encode()
    path = tmp_path / f"one{suffix}"
    path.write_bytes(gzip.compress(text) if suffix == ".pdb.gz" else text)
    with pytest.raises(
        BenchError, match=rf"one{suffix}: .*(line \d: '{re.escape(wrong.strip())}'|nan).*; mend the file"
    ):
        read(path)


@pytest.mark.parametrize("column", ["Cartn_x", "Cartn_z", "occupancy"])
@pytest.mark.parametrize("wrong", ["?", "nan", "inf", "1e400", "xx", "1e9"])
def test_a_number_of_an_mmcif_file_that_is_none_is_refused(wrong: str, column: str, tmp_path: Path) -> None:
    document = gemmi.read_pdb_string(_pdb(*ALANINE)).make_mmcif_document()
    document.sole_block().find_values(f"_atom_site.{column}")[1] = wrong
    (tmp_path / "one.cif").write_text(document.as_string())
    if (wrong, column) == ("?", "occupancy"):  # not stated: 1, as the format says
        assert read(tmp_path / "one.cif").occupancies.tolist() == [1.0] * 5
        return
    with pytest.raises(BenchError, match=r"one\.cif: A/ALA 1/CA: x, y, z, occupancy .*; mend the file"):
        read(tmp_path / "one.cif")


@pytest.mark.parametrize("column", REQUIRED)
def test_an_mmcif_file_without_a_column_that_it_needs_is_told_which(column: str, tmp_path: Path) -> None:
    text = gemmi.read_pdb_string(_pdb(*ALANINE)).make_mmcif_document().as_string()
    (tmp_path / "one.cif").write_text(text.replace(f"_atom_site.{column}\n", f"_atom_site.other_{column}\n"))
    with pytest.raises(BenchError, match=rf"without the column _atom_site\.{column};"):
        read(tmp_path / "one.cif")


def test_of_several_models_the_first_is_read_or_all_together(tmp_path: Path) -> None:
    moved = [(n, a, r, i, (x + 50, y, z), o, e) for n, a, r, i, (x, y, z), o, e in ALANINE]
    models = [_pdb(*atoms).replace("END\n", "ENDMDL\n") for atoms in (ALANINE, moved)]
    text = "".join(f"MODEL     {i:4d}\n{model}" for i, model in enumerate(models, 1)) + "END\n"
    (tmp_path / "one.pdb").write_text(text)
    first, together = read(tmp_path / "one.pdb"), read(tmp_path / "one.pdb", "models")
    assert remarks({"one": first.notes}) == [
        "Careful: one: only the first of 2 models is read; assembly=models takes all of them together"
    ]
    assert remarks({"one": together.notes}) == []
    assert together.notes["assembly"] == "models"
    assert np.allclose(together.positions, np.concatenate([first.positions, first.positions + [0, 0, 50]]))


def test_the_real_entries(structures: Path) -> None:
    """GroEL's 14-mer: 1OEL needs its two operators, 1MNF has the chains and a garbled REMARK 350."""
    assert find(structures, SUFFIXES) == sorted(p for p in structures.iterdir() if ".gz" in p.suffixes)
    oel, mnf = read(structures / "1oel.pdb.gz"), read(structures / "1mnf.pdb.gz")
    assert oel.notes["assembly"] == "1"
    assert mnf.notes["assembly"] == "none"
    assert len(oel.elements) == pytest.approx(len(mnf.elements), rel=0.05)
    assert oel.notes["waters left out"] == 2 * 149


def _random_structure(n: int = 60) -> Structure:
    rng = np.random.default_rng(0)
    return Structure(
        "random", rng.uniform(0, [20, 30, 40], (n, 3)), rng.choice(["C", "N", "O", "S", "P"], n), rng.uniform(0.3, 1, n)
    )


def test_the_sum_of_the_potential_is_that_of_the_atoms_scattering_factors() -> None:
    structure = _random_structure()
    voxels = potential(structure, 4.0, in_ice=False).voxels
    zero_angle = [gemmi.Element(e).c4322.calculate_sf(0) for e in structure.elements]
    assert voxels.sum(dtype=np.float64) * 4**3 == pytest.approx(
        VOLTS * np.dot(structure.occupancies, zero_angle), rel=1e-4
    )


def test_the_potential_s_spectrum_is_gemmi_s_direct_sum() -> None:
    """Structure factors of the same atoms, summed one by one, at all low frequencies of the grid."""
    structure, spacing = _random_structure(), 3.0
    density = potential(structure, spacing, in_ice=False)
    shape = density.voxels.shape
    sides = [n * spacing for n in shape]
    low = structure.positions.min(0) - physics.MARGIN_IN_ANGSTROMS - 4 * spacing
    model, chain, residue = gemmi.Model(1), gemmi.Chain("A"), gemmi.Residue()
    for position, element, occupancy in zip(structure.positions - low, structure.elements, structure.occupancies):
        atom = gemmi.Atom()
        atom.element, atom.occ, atom.b_iso = gemmi.Element(str(element)), occupancy, 0.0
        atom.pos = gemmi.Position(*position[::-1])
        residue.add_atom(atom)
    chain.add_residue(residue)
    model.add_chain(chain)
    calculator = gemmi.StructureFactorCalculatorE(gemmi.UnitCell(*sides[::-1], 90, 90, 90))
    ours = np.fft.fftn(density.voxels.astype(np.float64)) * spacing**3 / VOLTS
    worst = 0.0
    for index in [(0, 0, 1), (1, 2, 3), (-3, 2, 4), (5, -4, 0), (0, 7, -6), (6, 6, 6)]:
        k2 = sum((i / side) ** 2 for i, side in zip(index, sides))
        low_pass = math.exp(-math.log(2) * k2 * (2 * spacing) ** 2)
        theirs = np.conj(calculator.calculate_sf_from_model(model, index[::-1])) * low_pass
        worst = max(worst, abs(ours[index] - theirs) / abs(theirs))
    assert worst < 0.01


def test_ice_has_the_mean_inner_potential_of_the_literature() -> None:
    """Vulović et al. 2013 give 4.53 V for low-density amorphous ice of 0.93 g/cm³."""
    assert VOLTS * ice_scattering() == pytest.approx(4.53, rel=0.03)


def test_protein_in_ice_is_denser_than_ice_and_less_than_in_vacuum(structures: Path) -> None:
    apoferritin = read(structures / "6z6u.pdb.gz")
    ice, vacuum = (potential(apoferritin, 5.0, in_ice).voxels.sum() for in_ice in (True, False))
    assert 0.2 * vacuum < ice < 0.6 * vacuum


def test_a_grid_that_does_not_fit_is_refused() -> None:
    far = Structure("far", np.array([[0.0, 0, 0], [9e4, 9e4, 9e4]]), np.array(["C", "C"]), np.ones(2))
    with pytest.raises(BenchError, match="take a larger voxel"):
        potential(far, 5.0)
