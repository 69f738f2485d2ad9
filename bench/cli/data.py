"""`bench data …`: parses and prints, decides nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.base.errors import BenchError


class _WithParameters(click.Command):
    """A command with an option for each parameter of the data set `simulated`; read only where it is needed."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        from bench import registry

        taken = {option.name for option in self.params} | {"test_fraction"}  # which only bench run needs
        options = [
            click.Option(
                [f"--{name.replace('_', '-')}"], default=default, show_default=True, type=type(default), help=text
            )
            for name, default, text in registry.parameters(registry.DATASETS, "simulated")
            if name not in taken
        ]
        return [*self.params, *options, self.get_help_option(ctx)]  # type: ignore[list-item]


@click.group()
def data() -> None:
    """Make data sets: from tomograms and particle tables, or simulated."""


_TABLES = click.option(
    "--table",
    "tables",
    multiple=True,
    required=True,
    metavar="[CLASS=]FILE",
    help="Particle table (STAR, CSV, copick, Dynamo, SHREC) or folder of boxes; repeatable. CLASS= names all its rows.",
)
_TOMOGRAMS = click.option(
    "--tomograms",
    metavar="PATH",
    help="A tomogram (MRC, EM, TIFF), or a folder of them, called as in the table.",
)


@data.command(name="extract")
@_TABLES
@_TOMOGRAMS
@click.option("--box", default=32, show_default=True, metavar="N", help="Voxels along an edge; 28 as in the paper.")
@click.option("--voxel-size-in-angstroms", default=0.0, metavar="Å", help="Of the boxes.  [default: the tomogram's]")
@click.option("--contrast", default="dark", show_default=True, help="Of particles in the tomogram: dark or bright.")
@click.option(
    "--background", default=0, metavar="N", help="Also cut N boxes beside the particles, as a class.  [default: none]"
)
@click.option("--class-column", default="", metavar="NAME", help="The table's column that names the class.")
@click.option("--keep", metavar="FILE", help="Only the rows that this file numbers, one a line, counted from 1.")
@click.option("--tomogram-voxel-size-in-angstroms", default=0.0, metavar="Å", help="Where the header is wrong.")
@click.option(
    "--coordinates-voxel-size-in-angstroms", default=0.0, metavar="Å", help="Where the table counts in other voxels."
)
@click.option("--seed", default=0, show_default=True, help="Of the background's positions.")
@click.option("--out", default="extracted", show_default=True, metavar="DIR", help="Where the set goes.")
def extract_(
    tables: tuple[str, ...], tomograms: str | None, class_column: str, keep: str | None, out: str, **cutting: Any
) -> None:
    """Cut subtomograms out of tomograms, at the places of particle tables.

    Without --tomograms the boxes that a STAR file names are taken. Boxes come out at one size and voxel, bright on
    dark, with mean 0 and variance 1; every row that gives none is named in dropped.csv.
    Then: bench run --dataset particles --data OUT
    """
    from bench.base.console import Console
    from bench.commands import extract
    from bench.extraction import sites

    console = Console()
    read = sites.read_tables(tables, class_column, Path(keep) if keep else None)
    files = sites.files(tomograms)
    if remark := sites.assumed(read, files):
        console.say(f"Careful: {remark}")
    with console.progress("Extracting", 1.0) as meter:
        done = extract.subtomograms(read, files, sites.Cutting(**cutting), Path(out), lambda i, of: meter.to(i / of))
    counts = dict(zip(done.made.class_names, done.made.counts().tolist()))
    unknown = len(done.made.labels) - sum(counts.values())
    counts |= {"no class": unknown} if unknown else {}
    console.say(
        f"{done.rows_in} rows: {done.rows_in - len(done.dropped)} boxes, {len(done.dropped)} dropped. "
        + ", ".join(f"{name} {n}" for name, n in counts.items())
    )
    for reason, n in done.dropped["reason"].value_counts().items():
        console.say(f"  {n} dropped: {reason}")
    if done.warning:
        console.say(f"Careful: {done.warning}")
    console.say(f"Look at {Path(out) / 'contact_sheet.png'}. Next: bench run --dataset particles --data {out}")


_VOXEL = click.option(
    "--tomogram-voxel-size-in-angstroms", "voxel_size", default=0.0, metavar="Å", help="Where the header is wrong."
)
_CONTRAST = click.option(
    "--contrast", default="dark", show_default=True, help="Of particles in the tomogram: dark or bright."
)
_DEVICE = click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")


@data.command()
@click.argument("tomogram", type=click.Path(path_type=Path))
@click.option("--diameter-in-angstroms", type=float, required=True, metavar="Å", help="Of the particles.")
@click.option("--count", default=1000, show_default=True, metavar="N", help="The best so many.")
@click.option("--min-distance-in-angstroms", default=0.0, metavar="Å", help="[default: 3/4 of the diameter]")
@_CONTRAST
@_VOXEL
@_DEVICE
@click.option("--out", default="picks.star", show_default=True, metavar="FILE", help="The table, .star or .csv.")
def pick(tomogram: Path, voxel_size: float, out: str, **how: Any) -> None:
    """Find particles of one size in a tomogram: difference of Gaussians (Voss et al. 2009)."""
    from bench import picking
    from bench.base.console import Console
    from bench.commands import pick as pick_
    from bench.files import volume

    pick_.new_table(Path(out))
    console, read = Console(), volume.mapped(tomogram, voxel_size)
    with console.progress("Picking", 1.0) as meter:
        found = picking.blobs(*read, **how, report=lambda i, of: meter.to(i / of))
    pick_.picks(found, read, tomogram, how["contrast"], how["diameter_in_angstroms"], Path(out))
    console.say(f"{len(found)} picks. Look at {Path(out).with_suffix('.png')}")


@data.command()
@click.argument("tomogram", type=click.Path(path_type=Path))
@click.option("--template", required=True, metavar="FILE", help="A density map (MRC) or a structure (PDB, mmCIF).")
@click.option("--near", metavar="FILE", help="Search only about the places of this table, as of bench data pick.")
@click.option("--count", default=1000, show_default=True, metavar="N", help="The best so many.")
@click.option("--step-in-degrees", default=15.0, show_default=True, help="Between neighbouring rotations.")
@click.option("--tilt-limit-in-degrees", default=60.0, show_default=True, help="The missing wedge; 90: none.")
@click.option("--low-pass-in-angstroms", default=0.0, metavar="Å", help="Of template.  [default: the voxels' Nyquist]")
@click.option("--min-distance-in-angstroms", default=0.0, metavar="Å", help="[default: the template's radius]")
@_CONTRAST
@_VOXEL
@_DEVICE
@click.option("--out", default="matches.star", show_default=True, metavar="FILE", help="The table, .star or .csv.")
def match(tomogram: Path, template: str, near: str | None, voxel_size: float, out: str, **how: Any) -> None:
    """Search a tomogram for a known structure, in all rotations (template matching, missing wedge and all).

    The pictures beside the table number its rows, best first: write those that you trust into a file, one a line,
    for bench data extract --keep.
    """
    from bench import picking
    from bench.base.console import Console
    from bench.commands import pick as pick_
    from bench.files import volume
    from bench.simulation.density import radius_in_angstroms

    pick_.new_table(Path(out))
    console, read = Console(), volume.mapped(tomogram, voxel_size)
    density = pick_.template(Path(template), read.voxel_size_in_angstroms)
    places = pick_.places(Path(near), tomogram, read) if near else None
    with console.progress("Matching", 1.0) as meter:
        found = picking.match(*read, density, near=places, **how, report=lambda i, of: meter.to(i / of))
    pick_.picks(found, read, tomogram, how["contrast"], 2 * radius_in_angstroms(density), Path(out))
    console.say(f"{len(found)} matches. Look at {Path(out).with_suffix('.png')}")


@data.command()
@click.option("--dataset", default="particles", show_default=True, help="One name (see bench list datasets).")
@click.option("--data", "folder", metavar="DIR", help="The folder of a data set that needs one.")
@click.option("--out", default="inspected.png", show_default=True, metavar="FILE", help="A picture of some boxes.")
def inspect(dataset: str, folder: str | None, out: str) -> None:
    """Look into a data set: counts, SNR, pictures, and what betrays a class beside its particles.

    The shortcut check asks how well class and tomogram are told from the rim of the box alone, where no particle is.
    """
    from dataclasses import replace

    from bench import registry
    from bench.base.console import Console
    from bench.commands import extract
    from bench.data import shortcuts

    if Path(out).exists():
        raise BenchError(f"{out}: exists; choose another --out, or move it")
    console = Console()
    made = replace(registry.dataset(dataset), folder=Path(folder) if folder else None).load()
    sides = "×".join(map(str, made.volumes.shape[1:]))
    tomograms = 0 if made.tomogram_ids is None else len(set(made.tomogram_ids))
    console.say(f"{made.title}: {len(made.labels)} boxes of {sides} voxels of {made.voxel_size_in_angstroms:.4g} Å")
    console.say(f"{tomograms} tomogram(s); the test split goes by {'tomogram' if tomograms > 1 else 'particle'}")
    for name, which in made.by_class():
        ratio = shortcuts.snr(made, which)
        console.say(f"  {name}: {len(which)}" + (f", SNR at least {ratio:.2g}" if ratio == ratio else ""))
    console.say("Told without the particle (logistic regression, five folds):")
    with console.progress("Looking at the rims", 1.0) as meter:
        found = shortcuts.shortcuts(made, lambda i, of: meter.to(i / of))
    for shortcut in found:
        console.say(f"  {shortcut}")
    if not found:
        console.say("  too few boxes or classes to tell")
    extract.sheet(made, Path(out))
    console.say(f"Look at {out}")


@data.command()
@click.option("--pdb", required=True, metavar="IDS", help="PDB ids, comma-separated; paper: the eight of its Table 1.")
@click.option("--out", default="structures", show_default=True, metavar="DIR", help="Where they go, as ID.cif.gz.")
@click.option("--mirror", metavar="URL", help="Another server with the archive's layout: URL/ID.cif.gz.")
def fetch(pdb: str, out: str, mirror: str | None) -> None:
    """Download structures from the Protein Data Bank.

    What is there and whole is kept; a download that broke off goes on where it stopped.
    """
    from bench.simulation import fetch as fetching

    ids = [part.strip().upper() for part in pdb.split(",") if part.strip()]
    ids = [one for part in ids for one in (fetching.PAPER if part == "PAPER" else [part])]
    fetching.fetch(ids, Path(out), click.echo, mirror or fetching.MIRROR)
    click.echo(f"Next: bench data simulate --structures {out} --out simulated")


@data.command(cls=_WithParameters)
@click.option(
    "--structures", required=True, metavar="DIR", help="A folder of PDB or mmCIF files (also .gz), one a class."
)
@click.option("--out", default="simulated", show_default=True, metavar="DIR", help="Where the set goes.")
@click.option("--mrc/--no-mrc", default=True, show_default=True, help="Also write each box as MRC, and a RELION STAR.")
def simulate(structures: str, out: str, mrc: bool, **parameters: Any) -> None:
    """Simulate labelled subtomograms from atomic structures.

    Writes MRC boxes, particles.star, truth.csv, manifest.json and contact_sheet.png into --out. An interrupted
    call goes on where it left off. Then: bench run --dataset made --data OUT
    """
    from dataclasses import replace

    from bench import registry
    from bench.base.console import Console
    from bench.commands import simulate as simulate_

    console = Console()
    dataset: Any = replace(registry.dataset("simulated", parameters), folder=Path(structures))
    with console.progress("Simulating", 1.0) as meter:
        folder = simulate_.make(dataset, Path(out), lambda i, of: meter.to(i / of))
    if mrc:
        with console.progress("Writing MRC", 1.0) as writing:
            simulate_.write(folder, dataset.imaging(), Path(out), lambda i, of: writing.to(i / of))
    console.say(f"Look at {Path(out) / 'contact_sheet.png'}. Next: bench run --dataset made --data {out}")


@data.command(name="simulate-tomogram", cls=_WithParameters)
@click.option(
    "--structures", required=True, metavar="DIR", help="A folder of PDB or mmCIF files (also .gz), one a class."
)
@click.option("--shape", default="128,512,512", show_default=True, metavar="Z,Y,X", help="Of the tomogram, in voxels.")
@click.option(
    "--per-class", default=20, show_default=True, help="Particles of each structure, as far as they find room."
)
@click.option("--voxel-size-in-angstroms", default=10.0, show_default=True)
@click.option(
    "--contrast", default="dark", show_default=True, help="dark: particles on light, as tomograms come; or bright."
)
@click.option("--snr", default=0.1, show_default=True, help="var(signal) / var(noise) over the whole volume.")
@click.option("--box", hidden=True, default=64)
@click.option("--neighbours", hidden=True, default=0)
@click.option("--shift-in-boxes", hidden=True, default=1 / 16)
@click.option("--out", default="tomogram", show_default=True, metavar="DIR", help="Where the files go.")
def simulate_tomogram(structures: str, shape: str, out: str, **parameters: Any) -> None:
    """Simulate a crowded tomogram with its truth: particle table and class mask."""
    from dataclasses import replace

    from bench import registry
    from bench.commands import simulate as simulate_

    try:
        d, h, w = (int(part) for part in shape.split(","))
    except ValueError:
        raise BenchError(f"--shape {shape}: give three numbers of voxels, as in 128,512,512") from None
    dataset: Any = replace(registry.dataset("simulated", parameters), folder=Path(structures))
    voxel_size = parameters["voxel_size_in_angstroms"]
    n, snr = simulate_.crowded_tomogram(dataset, (d, h, w), voxel_size, Path(out))
    click.echo(f"{n} particles, SNR {snr:.3g}. Look at {Path(out) / 'tomogram.png'}")
