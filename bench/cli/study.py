"""`bench study`: options and printing, nothing else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from bench.base.errors import BenchError
from bench.cli.options import PATH, Command

FILE = click.argument("file", type=PATH)
OUT = click.option("--out", type=PATH, metavar="DIR", help="Results folder.  [default: the name of FILE, here]")
DATA = click.option(
    "--data", type=PATH, metavar="DIR", help="Where the folders of the data sets are.  [default: beside FILE]"
)


@click.group()
def study() -> None:
    """Compare methods on several data sets and conditions, as a file says.

    Start with:  bench study plan studies/which-method.toml
    """


def _how(command: Command) -> Command:
    """The options that say where trials run."""
    for option in reversed(
        (
            click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda."),
            click.option(
                "--backend", default="ray", show_default=True, help="ray: many trials at once; serial: one by one."
            ),
            click.option(
                "--cpus-per-trial",
                type=int,
                default=1,
                show_default=True,
                metavar="N",
                help="CPU cores for each trial.",
            ),
            click.option("--gpus-per-trial", type=float, metavar="X", help="Share of a GPU for each trial."),
            click.option("--address", metavar="HOST:PORT", help="Use the Ray cluster at this address."),
        )
    ):
        command = option(command)
    return command


@study.command()
@FILE
@OUT
@DATA
@click.option(
    "--time", "timed", is_flag=True, help="Also make the data and time some steps of each method: the hours to go."
)
@_how
def plan(file: Path, out: Path | None, data: Path | None, timed: bool, **how: Any) -> None:
    """Show what FILE comes to: trials, blocks, and what they can decide. No trial is run."""
    from bench.base.console import Console
    from bench.commands.study import planned, time_to_go
    from bench.trials.study import Study

    console, read = Console(), Study.read(file)
    requests = read.requests({"out": str(_out(file, out)), **how}, data)
    console.say(planned(read, requests)[1])
    if timed:
        console.say(f"{time_to_go(requests, console)} to go.")


@study.command()
@FILE
@OUT
@DATA
@_how
@click.option("--retry-failed", is_flag=True, help="Run the failed trials again.")
@click.option("--yes", is_flag=True, help="Run a study of more than 10,000 trials.")
def run(file: Path, out: Path | None, data: Path | None, yes: bool, **how: Any) -> None:
    """Run FILE; the same command goes on with what is missing."""
    from bench.base.console import Console
    from bench.commands.study import run
    from bench.trials.study import Study

    read = Study.read(file)
    complete = run(read, read.requests({"out": str(_out(file, out)), **how}, data), Console(), yes)
    sys.exit(0 if complete else 1)


@study.command()
@FILE
@OUT
@DATA
def status(file: Path, out: Path | None, data: Path | None) -> None:
    """Show how far each data set and condition of FILE is."""
    from bench.commands.study import status
    from bench.trials.study import Study

    read, folder = Study.read(file), _out(file, out)
    text, complete = status(read.requests({"out": str(folder)}, data))
    click.echo(f"{read.title}\n{text}")
    click.echo("All done." if complete else f"To go on, give bench study run the options of before: {file}")


@study.command()
@FILE
@OUT
def report(file: Path, out: Path | None) -> None:
    """Write the tables and figures of what is done of FILE, also while it runs."""
    from bench.commands.report import report
    from bench.trials.study import Study

    Study.read(file)
    rows, folder = report([_out(file, out)], None)
    from bench import page

    click.echo(page.summary(rows))
    click.echo(f"\nOpen {folder / 'report.html'}")


@study.command(name="from")
@click.argument("runs", type=PATH)
@click.option("--out", type=PATH, required=True, metavar="FILE", help="A new TOML file.")
@click.option("--title", metavar="TEXT", help="Of the study.  [default: the name of RUNS]")
def from_(runs: Path, out: Path, title: str | None) -> None:
    """Write the study that asks for what was run in RUNS."""
    from bench.base.files import check_new, write_atomically
    from bench.trials.store import Store
    from bench.trials.study import as_toml

    if out.suffix != ".toml":
        raise BenchError(f"--out {out}: a study is a TOML file; end the name in .toml")
    check_new(out)
    write_atomically(out, as_toml(title or runs.name, Store(runs).requests()))
    click.echo(f"Look at {out}. Next: bench study plan {out}")


@study.command()
@click.argument("runs", nargs=-1, required=True, type=PATH)
@click.option("--out", type=PATH, required=True, metavar="DIR", help="A new results folder.")
def merge(runs: tuple[Path, ...], out: Path) -> None:
    """Put the trials of several results folders into one, those of other machines and groups too.

    Unlike data or code under one name is refused. A folder with a submission.toml counts as contributed.
    """
    from bench import page
    from bench.commands.study import merge

    rows, said = merge(runs, out)
    click.echo(page.summary(rows))
    click.echo(f"\n{said}\nOpen {out / 'report.html'}")


def _out(file: Path, out: Path | None) -> Path:
    return Path(file.stem) if out is None else out
