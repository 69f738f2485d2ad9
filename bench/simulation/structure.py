"""Atoms of a PDB or mmCIF file: the biological assembly, without water. The only importer of gemmi's readers."""

from __future__ import annotations

import gzip
import zlib
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

    assembly: a name as in REMARK 350 or `_pdbx_struct_assembly` ("1"); "none", the atoms as they stand; or "auto",
    the first assembly if the file's assemblies are rigid and take up every polymer chain, else "none".
    Of several models the first is read. Water and atoms of zero occupancy are left out; hydrogens, and alternate
    locations with their occupancies, are kept. Raises BenchError for a file that cannot be used.
    """
    if path.name.lower().endswith(".gz") and (problem := damage(path)):  # gemmi reads a cut file as far as it goes
        raise BenchError(f"{path}: cut short or damaged ({problem}); fetch it again")
    try:
        structure = gemmi.read_structure(str(path))
    except (RuntimeError, ValueError, OSError, EOFError) as error:
        reason = str(error).partition("\n")[0]
        raise BenchError(f"{path}: not a readable PDB or mmCIF file ({reason}); fetch it again") from error
    if not len(structure) or not structure[0].count_atom_sites():
        raise BenchError(f"{path}: no atoms; give a coordinate file, not a map or a list of structure factors")
    notes: dict[str, int | str] = {"models left out": len(structure) - 1}
    del structure[1:]
    structure.setup_entities()
    taken = _choose(structure, assembly, path)
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
        "assembly": taken or "none",
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
            known = ", ".join(["auto", "none", *names])
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
