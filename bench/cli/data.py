"""`bench data …`: options and printing, nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    """A command with an option for each parameter of the data set `simulated`; read only where it is needed.

    defaults: where this command has others. without: the parameters that it has no option for.
    """

    def __init__(
        self, *arguments: Any, defaults: Mapping[str, Any] | None = None, without: Iterable[str] = (), **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self.defaults, self.without = defaults or {}, {*without}

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        from bench import registry
        from bench.data.dataset import OF_TRIALS

        taken = {option.name for option in self.params} | OF_TRIALS
        options = [
            click.Option(
                [f"--{p.name.replace('_', '-')}"],
                default=self.defaults.get(p.name, p.default),
                show_default=True,
                type=p.kind,
                help=f"{p.help}; {p.range}" if str(p.range) else p.help,
            )
            for p in registry.parameters(registry.DATASETS, "simulated")
            if p.name not in taken | self.without
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
    help="Particle table (STAR, CSV, copick, Dynamo, SHREC) or folder of boxes; repeatable. CLASS= sets the class.",
)
@click.option(
    "--tomograms",
    type=PATH,
    metavar="PATH",
    help="A tomogram (MRC, EM, TIFF) or a folder of them, with the names that the table uses.",
)
@click.option("--box", default=32, show_default=True, metavar="N", help="Voxels along an edge; the paper has 28.")
@click.option(
    "--voxel-size-in-angstroms", type=float, metavar="Å", help="Voxel size of the boxes.  [default: the tomogram's]"
)
@CONTRAST
@click.option(
    "--background",
    default=0,
    metavar="N",
    help="Also cut N boxes next to the particles, as the class background.  [default: none]",
)
@click.option("--class-column", default="", metavar="NAME", help="Column of the table that holds the class.")
@click.option(
    "--keep",
    type=PATH,
    metavar="FILE",
    help="Use only the rows whose numbers are in this file, one per line, counted from 1.",
)
@TOMOGRAM_VOXEL_SIZE
@COORDINATES_VOXEL_SIZE
@click.option("--seed", default=0, show_default=True, help="Seed of the background positions.")
@out_option("extracted", "DIR", "Folder of the new set.")
def extract(
    tables: tuple[str, ...], tomograms: Path | None, class_column: str, keep: Path | None, out: Path, **cutting: Any
) -> None:
    """Cut subtomograms from tomograms at the positions of particle tables.

    Without --tomograms, the boxes that the STAR file lists are used. All boxes have one size and voxel size, bright
    particles on dark, mean 0 and variance 1. dropped.csv lists each row without a box, and why.
    Next: bench run --dataset particles --data OUT
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
@click.option("--diameter-in-angstroms", type=float, required=True, metavar="Å", help="Diameter of the particles.")
@COUNT
@click.option(
    "--min-distance-in-angstroms",
    type=float,
    metavar="Å",
    help="Smallest distance between two positions.  [default: 3/4 of the diameter]",
)
@CONTRAST
@TOMOGRAM_VOXEL_SIZE
@DEVICE
@out_option("picks.star", "FILE", "The new table, .star or .csv.")
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
    "--assembly",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="Biological assembly of the structure: a name in the file, auto (the first), none, or models (all models).",
)
@click.option(
    "--near",
    type=PATH,
    metavar="FILE",
    help="Search only near the positions of this table, for example of bench data pick.",
)
@COUNT
@click.option("--step-in-degrees", default=15.0, show_default=True, help="Angle between neighbouring rotations.")
@click.option(
    "--tilt-limit-in-degrees",
    default=60.0,
    show_default=True,
    help="Largest tilt of the series, which defines the missing wedge; 90: no wedge.",
)
@click.option(
    "--low-pass-in-angstroms",
    type=float,
    metavar="Å",
    help="Low-pass the template to this resolution.  [default: Nyquist of the voxels]",
)
@click.option(
    "--min-distance-in-angstroms",
    type=float,
    metavar="Å",
    help="Smallest distance between two positions.  [default: the template's radius]",
)
@CONTRAST
@TOMOGRAM_VOXEL_SIZE
@DEVICE
@out_option("matches.star", "FILE", "The new table, .star or .csv.")
def match(**options: Any) -> None:
    """Find a known structure in a tomogram by template matching in all rotations, with the missing wedge.

    The pictures next to the table show its rows with their numbers, best first. Write the numbers that you trust into
    a file, one per line, for bench data extract --keep.
    """
    from bench.base.console import Console
    from bench.commands.match import Request, match

    console, request = Console(), Request(**options)
    n = match(request, console)
    console.say(f"{n} matches. Look at {request.out.with_suffix('.png')}")


@data.command()
@click.option("--dataset", default="particles", show_default=True, help="Name of a data set (see bench list datasets).")
@click.option(
    "--data", "folder", type=PATH, metavar="DIR", help="Folder with the input of the data set, if it needs one."
)
@out_option("inspected.png", "FILE", "A picture of some boxes.")
def inspect(dataset: str, folder: Path | None, out: Path) -> None:
    """Show what is in a data set: counts, SNR, pictures, and whether the background alone reveals the class.

    The check predicts class and tomogram from the rim of the box, where there is no particle.
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
    console.say("Predicted without the particle (logistic regression, five folds):")
    for shortcut in done.shortcuts:
        console.say(f"  {shortcut}")
    if not done.shortcuts:
        console.say("  too few boxes or classes for this check")
    console.say(f"Look at {out}")


@data.command()
@click.option("--pdb", required=True, metavar="IDS", help="PDB ids, comma-separated; paper: the eight of its Table 1.")
@out_option("structures", "DIR", "Folder of the files ID.cif.gz.")
@click.option("--mirror", metavar="URL", help="Another server with the archive's layout: URL/ID.cif.gz.")
def fetch(pdb: str, out: Path, mirror: str | None) -> None:
    """Download structures from the Protein Data Bank.

    Complete files are kept; an interrupted download continues.
    """
    from bench.commands.fetch import fetch

    fetch(pdb, out, mirror, click.echo)
    click.echo(f"Next: bench data simulate --structures {out} --out simulated")


@data.command(cls=_WithParameters)
@STRUCTURES
@out_option("simulated", "DIR", "Folder of the new set.")
@click.option("--mrc/--no-mrc", default=True, show_default=True, help="Also write each box as MRC, and a RELION STAR.")
def simulate(structures: Path, out: Path, mrc: bool, **parameters: Any) -> None:
    """Simulate labelled subtomograms from atomic structures.

    Writes MRC boxes, particles.star, truth.csv, manifest.json and contact_sheet.png into --out. An interrupted
    call continues where it stopped. Next: bench run --dataset made --data OUT
    """
    from bench.base.console import Console
    from bench.commands.simulate import Request, simulate

    console = Console()
    simulate(Request(structures, out, mrc, parameters), console)
    console.say(f"Look at {out / 'contact_sheet.png'}. Next: bench run --dataset made --data {out}")


@data.command(
    name="simulate-tomogram",
    cls=_WithParameters,
    defaults={"per_class": 20, "contrast": "dark", "snr": 0.1},
    without=["box", "neighbours", "shift_in_boxes"],
)
@STRUCTURES
@click.option(
    "--shape", default="128,512,512", show_default=True, metavar="Z,Y,X", help="Size of the tomogram in voxels."
)
@click.option("--voxel-size-in-angstroms", default=10.0, show_default=True, help="Voxel size of the tomogram.")
@out_option("tomogram", "DIR", "Folder of the files.")
def simulate_tomogram(
    structures: Path, shape: str, voxel_size_in_angstroms: float, out: Path, **parameters: Any
) -> None:
    """Simulate a crowded tomogram with its ground truth: particle table and class mask."""
    from bench.base.console import Console
    from bench.commands.simulate_tomogram import Request, simulate_tomogram

    console = Console()
    made = simulate_tomogram(Request(structures, out, shape, voxel_size_in_angstroms, parameters), console)
    console.say(f"{len(made.particles)} particles, SNR {made.snr:.3g}. Look at {out / 'tomogram.png'}")
