"""`bench`: parses and prints, decides nothing. Heavy libraries are imported where a command needs them."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Any

import click

from bench import __version__
from bench.errors import BenchError

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
_DISK = {
    errno.ENOSPC: "the disk is full; free some space or choose another --out",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another --out",
    errno.EROFS: "the disk is read-only; choose another --out",
    errno.EACCES: "permission denied; choose a folder that you may write to",
}


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="subtomobench")
def bench() -> None:
    """Which semi-supervised method names my subtomograms best, with labels for a few of them?

    Start with:  bench run --methods all --fractions 5,10,20
    """


@bench.command()
@click.option(
    "--methods",
    default="all",
    show_default=True,
    help="Names, comma-separated; all: the built-in ones (bench list methods).",
)
@click.option("--fractions", default="5,10,20", show_default=True, help="Labelled part of the training set, in %.")
@click.option("--dataset", default="phantoms", show_default=True, help="One name (see bench list datasets).")
@click.option("--data", metavar="DIR", help="The folder of a data set that needs one.")
@click.option("--profile", metavar="NAME", help="Size of the run: quick (default without a GPU) or paper.")
@click.option(
    "--protocol", metavar="NAMES", help="Rules of comparison: fair, paper, or fair,paper.  [default: the profile's]"
)
@click.option(
    "--seeds", type=int, metavar="N", help="Repetitions with other splits and weights.  [default: the profile's]"
)
@click.option("--epochs", type=int, metavar="N", help="Length of each training.  [default: the profile's]")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME.KEY=VALUE",
    help="A parameter of a method or data set; repeatable.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option(
    "--backend", default="ray", show_default=True, help="ray: many trials at once; serial: one by one, in this process."
)
@click.option(
    "--cpus-per-trial", type=int, default=1, show_default=True, metavar="N", help="Cores, and threads, of a trial."
)
@click.option(
    "--gpus-per-trial", type=float, metavar="X", help="Part of a GPU for each trial.  [default: 0.25 on cuda]"
)
@click.option(
    "--address", metavar="HOST:PORT", help="A running Ray cluster; --out must lie on a disk that all nodes share."
)
@click.option(
    "--deterministic", is_flag=True, help="On a GPU: the same bits in every run, but slower (on a CPU they always are)."
)
@click.option(
    "--out", default="runs", show_default=True, metavar="DIR", help="Results folder; finished trials in it are kept."
)
@click.option("--resume", is_flag=True, help="Go on with the last run in --out, with its options; others are ignored.")
def run(resume: bool, **options: Any) -> None:
    """Train and compare methods: rows, leaderboard, tables, pictures.

    A call that finds finished trials in --out runs only what is missing.
    """
    from bench import suite
    from bench.progress import Reporter
    from bench.results import Store

    if resume:
        stored = Store(Path(options["out"])).request()
        options = {name: stored.get(name, value) for name, value in options.items()} | {"out": options["out"]}
    complete = suite.run(suite.Request(**options | {"settings": tuple(options["settings"])}), Reporter())
    sys.exit(OK if complete else FAILED)


@bench.command(name="list")
@click.argument("what", type=click.Choice(["methods", "datasets", "profiles", "protocols"]))
def list_(what: str) -> None:
    """What can be named on the command line."""
    from bench import protocol, registry

    if what == "profiles":
        lines = [(p.name, f"{p.summary}; protocol {p.protocol}") for p in protocol.PROFILES.values()]
    elif what == "protocols":
        lines = [(p.name, p.summary) for p in protocol.PROTOCOLS.values()]
    else:
        lines = [(e.name, e.summary) for e in registry.entries(f"bench.{what}").values()]
    width = max(len(name) for name, _ in lines)
    for name, summary in lines:
        click.echo(f"{name:{width}}  {summary}")


@bench.command()
@click.argument("out", type=click.Path(path_type=Path))
def report(out: Path) -> None:
    """Write the tables and pictures of OUT anew from its trials."""
    from bench import report as reporting
    from bench.results import Store

    store = Store(out)
    reporting.write(store)
    click.echo(reporting.summary(store.rows()))
    click.echo(f"\nOpen {store.folder / 'report.html'}")


@bench.command()
@click.argument("new", type=click.Path(path_type=Path))
@click.argument("baseline", type=click.Path(path_type=Path))
@click.option("--junit", type=click.Path(path_type=Path), help="Write the verdicts as a JUnit file.")
def check(new: Path, baseline: Path, junit: Path | None) -> None:
    """Regression gate: is NEW as good as BASELINE?

    Each is a results folder or a rows.csv. Ends with 0 if it is, 1 if a method regressed, 2 if they cannot be compared.
    """
    from bench import check as gate
    from bench.results import read_rows

    verdicts = gate.compare(read_rows(new), read_rows(baseline))
    click.echo(gate.report(verdicts))
    if junit is not None:
        gate.write_junit(verdicts, junit)
    bad = sum(verdict.regressed for verdict in verdicts)
    click.echo(f"{bad} of {len(verdicts)} verdicts regressed" if bad else f"all {len(verdicts)} verdicts fine")
    sys.exit(FAILED if bad else OK)


class _WithParameters(click.Command):
    """A command with an option for each parameter of the data set `simulated`; read only where it is needed."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        from bench import registry

        shown = [
            click.Option(
                [f"--{name.replace('_', '-')}"], default=default, show_default=True, type=type(default), help=text
            )
            for name, (default, text) in registry.parameters("simulated").items()
        ]
        given = {parameter.name for parameter in self.params}
        return [*self.params, *(option for option in shown if option.name not in given), self.get_help_option(ctx)]  # type: ignore[list-item]


@bench.group()
def data() -> None:
    """Fetch structures, simulate subtomograms and tomograms."""


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

    from bench import export, registry
    from bench.progress import Reporter

    reporter = Reporter()
    dataset: Any = replace(registry.dataset("simulated", parameters), folder=Path(structures))
    with reporter.progress("Simulating", 1.0) as meter:
        folder = export.make(dataset, Path(out), lambda i, of: meter.to(i / of))
    if mrc:
        with reporter.progress("Writing MRC", 1.0) as writing:
            export.write(folder, dataset.imaging(), Path(out), lambda i, of: writing.to(i / of))
    reporter.say(f"Look at {Path(out) / 'contact_sheet.png'}. Next: bench run --dataset made --data {out}")


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

    from bench import export, registry

    try:
        d, h, w = (int(part) for part in shape.split(","))
    except ValueError:
        raise BenchError(f"--shape {shape}: give three numbers of voxels, as in 128,512,512") from None
    dataset: Any = replace(registry.dataset("simulated", parameters), folder=Path(structures))
    voxel_size = parameters["voxel_size_in_angstroms"]
    n, snr = export.crowded_tomogram(dataset, (d, h, w), voxel_size, Path(out))
    click.echo(f"{n} particles, SNR {snr:.3g}. Look at {Path(out) / 'tomogram.png'}")


def main() -> None:
    """Run the command; an error that the user can mend is one line and code 2."""
    try:
        bench(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "bench"
        _complain(f"{error.format_message().rstrip('.')}; see {where} --help")
    except BenchError as error:
        _complain(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _complain(where + _DISK.get(error.errno or 0, f"{error.strerror or error}; check the path and the disk"))
    except MemoryError as error:
        _complain(f"out of memory ({error}); choose fewer or smaller boxes")


def _complain(text: str) -> None:
    click.echo(f"bench: {text}", err=True)
    sys.exit(BAD_INPUT)
