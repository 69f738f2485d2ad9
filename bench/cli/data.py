"""`bench data …`: parses and prints, decides nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.cli.options import (
    CONTRAST,
    COORDINATES_VOXEL_SIZE,
    COUNT,
    DEVICE,
    PATH,
    STRUCTURES,
    TOMOGRAM_VOXEL_SIZE,
    out_option,
)


class _WithParameters(click.Command):
    """A command with an option for each parameter of the data set `simulated`; read only where it is needed."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        from bench import registry

        taken = {option.name for option in self.params} | {"test_fraction"}  # which only bench run needs
        options = [
            click.Option(
                [f"--{p.name.replace('_', '-')}"], default=p.default, show_default=True, type=p.kind, help=p.help
            )
            for p in registry.parameters(registry.DATASETS, "simulated")
            if p.name not in taken
        ]
        return [*self.params, *options, self.get_help_option(ctx)]  # type: ignore[list-item]


@click.group()
def data() -> None:
    """Make data sets: from tomograms and particle tables, or simulated."""


@data.command()
@click.option(
    "--table",
    "tables",
    multiple=True,
    required=True,
    metavar="[CLASS=]FILE",
    help="Particle table (STAR, CSV, copick, Dynamo, SHREC) or folder of boxes; repeatable. CLASS= names all its rows.",
)
@click.option(
    "--tomograms",
    type=PATH,
    metavar="PATH",
    help="A tomogram (MRC, EM, TIFF), or a folder of them, called as in the table.",
)
@click.option("--box", default=32, show_default=True, metavar="N", help="Voxels along an edge; 28 as in the paper.")
@click.option("--voxel-size-in-angstroms", type=float, metavar="Å", help="Of the boxes.  [default: the tomogram's]")
@CONTRAST
@click.option(
    "--background", default=0, metavar="N", help="Also cut N boxes beside the particles, as a class.  [default: none]"
)
@click.option("--class-column", default="", metavar="NAME", help="The table's column that names the class.")
@click.option(
    "--keep", type=PATH, metavar="FILE", help="Only the rows that this file numbers, one a line, counted from 1."
)
@TOMOGRAM_VOXEL_SIZE
@COORDINATES_VOXEL_SIZE
@click.option("--seed", default=0, show_default=True, help="Of the background's positions.")
@out_option("extracted", "DIR", "Where the set goes.")
def extract(
    tables: tuple[str, ...], tomograms: Path | None, class_column: str, keep: Path | None, out: Path, **cutting: Any
) -> None:
    """Cut subtomograms out of tomograms, at the places of particle tables.

    Without --tomograms the boxes that a STAR file names are taken. Boxes come out at one size and voxel, bright on
    dark, with mean 0 and variance 1; every row that gives none is named in dropped.csv.
    Then: bench run --dataset particles --data OUT
    """
    from bench.base.console import Console
    from bench.commands.extract import Request, extract
    from bench.extraction import Cutting

    console = Console()
    done = extract(Request(tables, out, Cutting(**cutting), tomograms, class_column, keep), console)
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
    console.say(f"Look at {out / 'contact_sheet.png'}. Next: bench run --dataset particles --data {out}")


@data.command()
@click.argument("tomogram", type=PATH)
@click.option("--diameter-in-angstroms", type=float, required=True, metavar="Å", help="Of the particles.")
@COUNT
@click.option("--min-distance-in-angstroms", type=float, metavar="Å", help="[default: 3/4 of the diameter]")
@CONTRAST
@TOMOGRAM_VOXEL_SIZE
@DEVICE
@out_option("picks.star", "FILE", "The table, .star or .csv.")
def pick(**options: Any) -> None:
    """Find particles of one size in a tomogram: difference of Gaussians (Voss et al. 2009)."""
    from bench.base.console import Console
    from bench.commands.pick import Request, pick

    console, request = Console(), Request(**options)
    n = pick(request, console)
    console.say(f"{n} picks. Look at {request.out.with_suffix('.png')}")


@data.command()
@click.argument("tomogram", type=PATH)
@click.option(
    "--template", type=PATH, required=True, metavar="FILE", help="A density map (MRC) or a structure (PDB, mmCIF)."
)
@click.option(
    "--near", type=PATH, metavar="FILE", help="Search only about the places of this table, as of bench data pick."
)
@COUNT
@click.option("--step-in-degrees", default=15.0, show_default=True, help="Between neighbouring rotations.")
@click.option("--tilt-limit-in-degrees", default=60.0, show_default=True, help="The missing wedge; 90: none.")
@click.option("--low-pass-in-angstroms", type=float, metavar="Å", help="Of template.  [default: the voxels' Nyquist]")
@click.option("--min-distance-in-angstroms", type=float, metavar="Å", help="[default: the template's radius]")
@CONTRAST
@TOMOGRAM_VOXEL_SIZE
@DEVICE
@out_option("matches.star", "FILE", "The table, .star or .csv.")
def match(**options: Any) -> None:
    """Search a tomogram for a known structure, in all rotations (template matching, missing wedge and all).

    The pictures beside the table number its rows, best first: write those that you trust into a file, one a line,
    for bench data extract --keep.
    """
    from bench.base.console import Console
    from bench.commands.match import Request, match

    console, request = Console(), Request(**options)
    n = match(request, console)
    console.say(f"{n} matches. Look at {request.out.with_suffix('.png')}")


@data.command()
@click.option("--dataset", default="particles", show_default=True, help="One name (see bench list datasets).")
@click.option("--data", "folder", type=PATH, metavar="DIR", help="The folder of a data set that needs one.")
@out_option("inspected.png", "FILE", "A picture of some boxes.")
def inspect(dataset: str, folder: Path | None, out: Path) -> None:
    """Look into a data set: counts, SNR, pictures, and what betrays a class beside its particles.

    The shortcut check asks how well class and tomogram are told from the rim of the box alone, where no particle is.
    """
    from bench.base.console import Console
    from bench.commands.inspect import inspect

    console = Console()
    done = inspect(dataset, folder, out, console)
    made, sides = done.made, "×".join(map(str, done.made.volumes.shape[1:]))
    console.say(f"{made.title}: {len(made.labels)} boxes of {sides} voxels of {made.voxel_size}")
    split_by = "tomogram" if done.tomograms > 1 else "particle"
    console.say(f"{done.tomograms} tomogram(s); the test split goes by {split_by}")
    for name, n, ratio in done.classes:
        console.say(f"  {name}: {n}" + (f", SNR at least {ratio:.2g}" if ratio == ratio else ""))
    console.say("Told without the particle (logistic regression, five folds):")
    for shortcut in done.shortcuts:
        console.say(f"  {shortcut}")
    if not done.shortcuts:
        console.say("  too few boxes or classes to tell")
    console.say(f"Look at {out}")


@data.command()
@click.option("--pdb", required=True, metavar="IDS", help="PDB ids, comma-separated; paper: the eight of its Table 1.")
@out_option("structures", "DIR", "Where they go, as ID.cif.gz.")
@click.option("--mirror", metavar="URL", help="Another server with the archive's layout: URL/ID.cif.gz.")
def fetch(pdb: str, out: Path, mirror: str | None) -> None:
    """Download structures from the Protein Data Bank.

    What is there and whole is kept; a download that broke off goes on where it stopped.
    """
    from bench.commands.fetch import fetch

    fetch(pdb, out, mirror, click.echo)
    click.echo(f"Next: bench data simulate --structures {out} --out simulated")


@data.command(cls=_WithParameters)
@STRUCTURES
@out_option("simulated", "DIR", "Where the set goes.")
@click.option("--mrc/--no-mrc", default=True, show_default=True, help="Also write each box as MRC, and a RELION STAR.")
def simulate(structures: Path, out: Path, mrc: bool, **parameters: Any) -> None:
    """Simulate labelled subtomograms from atomic structures.

    Writes MRC boxes, particles.star, truth.csv, manifest.json and contact_sheet.png into --out. An interrupted
    call goes on where it left off. Then: bench run --dataset made --data OUT
    """
    from bench.base.console import Console
    from bench.commands.simulate import Request, simulate

    console = Console()
    simulate(Request(structures, out, mrc, parameters), console)
    console.say(f"Look at {out / 'contact_sheet.png'}. Next: bench run --dataset made --data {out}")


@data.command(name="simulate-tomogram", cls=_WithParameters)
@STRUCTURES
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
@out_option("tomogram", "DIR", "Where the files go.")
def simulate_tomogram(
    structures: Path, shape: str, voxel_size_in_angstroms: float, out: Path, **parameters: Any
) -> None:
    """Simulate a crowded tomogram with its truth: particle table and class mask."""
    from bench.commands.simulate_tomogram import Request, simulate_tomogram

    made = simulate_tomogram(Request(structures, out, shape, voxel_size_in_angstroms, parameters))
    click.echo(f"{len(made.particles)} particles, SNR {made.snr:.3g}. Look at {out / 'tomogram.png'}")
