"""Atoms of a PDB or mmCIF file: the biological assembly, without water. The only importer of gemmi's readers."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import gemmi
import numpy as np
import numpy.typing as npt

from bench.base.arrays import Float64Array
from bench.base.errors import BenchError
from bench.files import volume

LARGEST_IN_BYTES = 4 * 2**30  # of a file, unpacked; the largest of the archive has half a gigabyte
LARGEST_IN_ATOMS = 100_000_000  # of an assembly; a virus capsid has a few million
FARTHEST_IN_ANGSTROMS = 1_000_000  # of an atom from the origin
MODELS = "models"  # the assembly of all models of a file
REQUIRED = ("id", "type_symbol", "label_alt_id", "label_asym_id", "Cartn_x", "Cartn_y", "Cartn_z")  # of an mmCIF
SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif", ".pdb.gz", ".ent.gz", ".cif.gz", ".mmcif.gz")


@dataclass(frozen=True)
class Structure:
    """Atoms in Å, and what was done to the file's."""

    name: str
    positions: Float64Array  # (n, 3), (z, y, x)
    elements: npt.NDArray[np.str_]  # (n,), chemical symbols
    occupancies: Float64Array  # (n,), in (0, 1]
    notes: dict[str, int | str] = field(default_factory=dict)  # counts by name, and the assembly that was taken


def read(path: Path, assembly: str = "auto") -> Structure:
    """Read PDB or mmCIF, plain or .gz.

    assembly: a name as in REMARK 350 or `_pdbx_struct_assembly` ("1"); "none", the atoms as they stand; "auto", the
    first assembly if the file's assemblies are rigid and take up every polymer chain, else "none"; or "models", the
    atoms of all models as they stand: else the first of several models is read. Water and atoms of zero occupancy are
    left out; hydrogens, and alternate locations with their occupancies, are kept. Raises BenchError for a file that
    cannot be used.
    """
    if path.name.lower().endswith(".gz") and (problem := damage(path)):  # gemmi reads a cut file as far as it goes
        raise BenchError(f"{path}: cut short or damaged ({problem}); fetch it again")
    structure = _opened(path)
    notes: dict[str, int | str] = {"models left out": 0 if assembly == MODELS else len(structure) - 1}
    if assembly == MODELS:
        for model in list(structure)[1:]:
            for chain in model:
                structure[0].add_chain(chain, -1)
    del structure[1:]
    _check_numbers(structure[0], path)
    structure.setup_entities()
    taken = None if assembly == MODELS else _choose(structure, assembly, path)
    if taken is not None:
        generators = next(a for a in structure.assemblies if a.name == taken).generators
        copies = sum(len(generator.operators) for generator in generators)
        if copies * structure[0].count_atom_sites() > LARGEST_IN_ATOMS:
            raise BenchError(f"{path}: assembly {taken} of {copies} copies is too large; take --assembly none")
        try:
            structure.transform_to_assembly(taken, gemmi.HowToNameCopiedChain.AddNumber)
        except RuntimeError as error:
            raise BenchError(f"{path}: assembly {taken} cannot be made ({error}); take --assembly none") from error
    sites = list(structure[0].all())
    wanted = [site for site in sites if not site.residue.is_water() and site.atom.occ > 0]
    kept = [site for site in wanted if _has_factors(site.atom.element)]
    if not kept:
        raise BenchError(f"{path}: only water, unknown elements or atoms of zero occupancy; give a macromolecule")
    notes |= {
        "assembly": MODELS if assembly == MODELS else taken or "none",
        "atoms": len(kept),
        "waters left out": sum(site.residue.is_water() for site in sites),
        "zero occupancies left out": sum(site.atom.occ <= 0 and not site.residue.is_water() for site in sites),
        "unknown elements left out": len(wanted) - len(kept),
        "hydrogens": sum(site.atom.is_hydrogen() for site in kept),
        "alternate locations": sum(site.atom.has_altloc() for site in kept),
    }
    return Structure(
        name=volume.stem(path, SUFFIXES),
        positions=np.array([site.atom.pos.tolist()[::-1] for site in kept]),
        elements=np.array([site.atom.element.name for site in kept]),
        occupancies=np.minimum(1.0, [site.atom.occ for site in kept]),
        notes=notes,
    )


def _opened(path: Path) -> gemmi.Structure:
    """A structure with atoms in its first model; raises BenchError for a file that cannot be used."""
    try:
        structure = gemmi.read_structure(str(path))
    except (RuntimeError, ValueError, OSError, EOFError) as error:
        reason = str(error).partition("\n")[0]
        raise BenchError(f"{path}: not a readable PDB or mmCIF file ({reason}); fetch it again") from error
    if not len(structure) or not structure[0].count_atom_sites():
        if missing := _columns_missing(structure, path):
            raise BenchError(f"{path}: no atoms can be read without the column {missing[0]}; write the file with it")
        raise BenchError(f"{path}: no atoms; give a coordinate file, not a map or a list of structure factors")
    if structure.input_format == gemmi.CoorFormat.Pdb:
        _check_columns(path)
    return structure


def _columns_missing(structure: gemmi.Structure, path: Path) -> list[str]:
    """The columns that an mmCIF file has to have, but has not; none where it has no table of atoms."""
    if structure.input_format != gemmi.CoorFormat.Mmcif:
        return []
    for block in gemmi.cif.read(str(path)):
        if tags := list(block.find_mmcif_category("_atom_site.").tags):
            return [f"_atom_site.{name}" for name in REQUIRED if f"_atom_site.{name}" not in tags]
    return []


def _check_columns(path: Path) -> None:
    """Raise BenchError for the first coordinate or occupancy of a PDB file that is no number: gemmi takes it for 0."""
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            if line[:6].upper() in (b"ATOM  ", b"HETATM"):
                texts = [line[30:38], line[38:46], line[46:54], line[54:60].strip() or b"0"]
                for text in texts:
                    try:
                        float(text)
                    except ValueError:
                        shown = text.decode("ascii", "replace").strip()
                        raise BenchError(f"{path}: line {number}: '{shown}' is no number; mend the file") from None


def _check_numbers(model: gemmi.Model, path: Path) -> None:
    """Raise BenchError for the first atom whose place or occupancy is not known or beyond all bounds."""
    for site in model.all():
        numbers = [*site.atom.pos.tolist(), site.atom.occ]
        if not all(abs(number) <= FARTHEST_IN_ANGSTROMS for number in numbers):
            raise BenchError(
                f"{path}: {site}: x, y, z, occupancy {', '.join(f'{number:g}' for number in numbers)}: must be "
                f"numbers up to {FARTHEST_IN_ANGSTROMS:,}; mend the file"
            )


def remarks(notes: Mapping[str, Mapping[str, int | str]]) -> list[str]:
    """What a person should know about structures before they are used, from their notes by name."""
    left = {name: int(some.get("models left out", 0)) for name, some in notes.items()}
    return [
        f"Careful: {name}: only the first of {n + 1} models is read; assembly=models takes all of them together"
        for name, n in left.items()
        if n
    ]


def damage(path: Path) -> str:
    """What is wrong with a gzip file, its own checksum included; empty if nothing is."""
    try:
        with gzip.open(path) as handle:
            while handle.read(2**20):
                if handle.tell() > LARGEST_IN_BYTES:
                    return f"more than {LARGEST_IN_BYTES >> 30} GiB when unpacked"
    except (OSError, EOFError, zlib.error) as error:
        return str(error)
    return ""


def _has_factors(element: gemmi.Element) -> bool:
    """Whether the element is one (not "X", what gemmi makes of an unknown symbol) and lies in the table, up to Cf."""
    return element.atomic_number > 0 and element.c4322 is not None


def _choose(structure: gemmi.Structure, assembly: str, path: Path) -> str | None:
    names = [a.name for a in structure.assemblies]
    if assembly not in ("auto", "none"):
        if assembly not in names:
            known = ", ".join(["auto", "none", MODELS, *names])
            raise BenchError(f"{path}: no assembly '{assembly}'; known: {known}")
        return assembly
    if assembly == "none" or not names:
        return None
    polymers = [chain.get_polymer() for chain in structure[0]]
    ours = {(p.subchain_id(), chain.name) for chain, p in zip(structure[0], polymers) if len(p)}
    generators = [g for a in structure.assemblies for g in a.generators]
    subchains = {s for g in generators for s in g.subchains}
    chains = {c for g in generators for c in g.chains}
    whole = all(subchain in subchains or chain in chains for subchain, chain in ours)
    rigid = all(_is_rigid(operator.transform.mat) for g in generators for operator in g.operators)
    return names[0] if whole and rigid else None


def _is_rigid(matrix: gemmi.Mat33) -> bool:
    turn = np.array(matrix.tolist())
    return bool(np.allclose(turn @ turn.T, np.eye(3), atol=1e-3) and np.linalg.det(turn) > 0)
