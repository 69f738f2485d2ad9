"""`bench`: options and printing, nothing else. Heavy libraries are imported where a command needs them."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bench.base.errors import BenchError
from bench.base.files import check_name
from bench.base.stopping import Stopped, requests_to, stop
from bench.base.version import VERSION
from bench.cli.data import data
from bench.cli.options import PATH
from bench.cli.predict import predict
from bench.cli.study import study
from bench.cli.submit import submit

OK, FAILED, BAD_INPUT, INTERRUPTED, UNREAD = 0, 1, 2, 130, 141  # the last two as shells count
_DISK = {
    errno.ENOSPC: "the disk is full; free some space and go on (bench run --resume), or choose another --out",
    errno.EDQUOT: "the disk quota is used up; free some space and go on (bench run --resume), or choose another --out",
    errno.EROFS: "the disk is read-only; choose another --out",
    errno.EACCES: "permission denied; choose a folder that you may write to",
}


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(VERSION, prog_name="subtomobench")
def bench() -> None:
    """Compare semi-supervised methods that classify subtomograms when only a few of them have labels.

    Start with:  bench run --methods all --fractions 5,10,20
    """


@bench.command()
@click.option(
    "--methods",
    default="all",
    show_default=True,
    help="Method names, comma-separated; all: every built-in method (see bench list methods); paper: those of the "
    "paper and the control.",
)
@click.option(
    "--fractions",
    default="5,10,20",
    show_default=True,
    help="Label fractions: labelled volumes in % of the training set.",
)
@click.option("--dataset", default="phantoms", show_default=True, help="Name of a data set (see bench list datasets).")
@click.option("--data", metavar="DIR", help="Folder with the input of the data set, if it needs one.")
@click.option("--profile", metavar="NAME", help="Size of the run: quick (default without a GPU), standard or paper.")
@click.option(
    "--protocol", metavar="NAMES", help="Rules of the comparison: fair, paper, or fair,paper.  [default: the profile's]"
)
@click.option(
    "--views",
    metavar="NAMES",
    help="What all methods see of the training volumes: none, turns (by 180°), rotations (any, with the missing wedge "
    "cut anew), or several: turns,rotations.  [default: the protocol's; turns where the profile is quick]",
)
@click.option(
    "--select",
    metavar="NAMES",
    help="Which weights a training keeps: best (by validation), last, or average.  [default: the protocol's]",
)
@click.option(
    "--test-views",
    type=int,
    default=1,
    show_default=True,
    metavar="N",
    help="Average the answers over N views of each test volume.",
)
@click.option(
    "--seeds",
    type=int,
    metavar="N",
    help="Number of repetitions, each with another split and other initial weights.  [default: the profile's]",
)
@click.option("--epochs", type=int, metavar="N", help="Epochs of each training.  [default: the profile's]")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME.KEY=VALUE",
    help="Change a parameter of a method or data set: autoencoding.beta=0.5; repeatable.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option(
    "--backend", default="ray", show_default=True, help="ray: many trials at once; serial: one by one, in this process."
)
@click.option(
    "--cpus-per-trial",
    type=int,
    default=1,
    show_default=True,
    metavar="N",
    help="CPU cores for each trial; it uses as many threads.",
)
@click.option(
    "--gpus-per-trial",
    type=float,
    metavar="X",
    help="Share of a GPU for each trial; 0.25: four trials share one GPU.  [default: 0.25 on cuda]",
)
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="Use the Ray cluster at this address; --out must be on a disk that all nodes share.",
)
@click.option(
    "--deterministic",
    is_flag=True,
    help="On a GPU: give the same bits in every run, but slower. (On a CPU every run does.)",
)
@click.option(
    "--out", default="runs", show_default=True, metavar="DIR", help="Results folder; finished trials in it are kept."
)
@click.option(
    "--time-limit",
    type=float,
    metavar="MINUTES",
    help="Stop a trial that takes longer than this.  [default: 20 times its estimate, at least 30]",
)
@click.option(
    "--checkpoint-every",
    type=float,
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two checkpoints of a trial; a killed trial loses about this much work.",
)
@click.option(
    "--resume", is_flag=True, help="Continue the runs in --out: run what is missing, was killed or timed out."
)
@click.option("--retry-failed", is_flag=True, help="Like --resume, and run the failed trials again.")
@click.pass_context
def run(context: click.Context, /, resume: bool, **options: Any) -> None:
    """Train and compare methods: rows, leaderboard, tables, pictures.

    Finished trials in --out are kept; only what is missing runs. To continue an interrupted run, use --resume: it
    gives the same numbers.
    """
    from bench.base.console import Console
    from bench.commands import run
    from bench.trials.plan import Request

    if resume or options["retry_failed"]:
        given = [name for name in options if context.get_parameter_source(name) == ParameterSource.COMMANDLINE]
        if changing := [name for name in given if name not in Request.how()]:
            name = "set" if changing[0] == "settings" else changing[0].replace("_", "-")
            raise BenchError(f"--{name}: --resume goes on with what was begun; leave one of the two out")
        requests = [
            Request(**options | stored) for stored in _stored(context, Path(options["out"]), {*given, "out", "resume"})
        ]
    else:
        requests = [Request(**options)]
    complete = run.run(requests, Console())
    sys.exit(OK if complete else FAILED)


def _stored(context: click.Context, out: Path, but: set[str]) -> list[dict[str, Any]]:
    """The options of each run in `out`, but for some, as the command line would give them."""
    from bench.trials.store import Store

    try:
        return [
            {
                option.name: option.type_cast_value(context, stored[option.name])
                for option in context.command.params
                if option.name in stored and option.name not in but
            }
            for stored in Store(out).requests()
        ]
    except (click.BadParameter, TypeError) as error:
        raise BenchError(
            f"{out / 'request.json'}: damaged ({error}); start with the options of that run, without --resume"
        ) from error


@bench.command()
@click.argument("out", type=PATH)
def status(out: Path) -> None:
    """Show the status of each trial in OUT, by method and label fraction."""
    from bench.commands.run import how_to_go_on
    from bench.reporting.tables import status_grid
    from bench.trials.rows import row_label
    from bench.trials.store import Store

    store = Store(out)
    rows = store.rows()
    click.echo(status_grid(rows))
    for _, row in rows[~rows["status"].isin(["done", "missing"])].iterrows():
        click.echo(f"{row['status']}: {row_label(row)}: {row['error']} ({store.home(row['trial'])})")
    if store.busy():
        click.echo("A bench run is at work here.")
    else:
        click.echo(how_to_go_on(rows, str(out)) or "All done.")


bench.add_command(data)
bench.add_command(predict)
bench.add_command(study)
bench.add_command(submit)


@bench.command(name="list")
@click.argument("what", type=click.Choice(["methods", "datasets", "profiles", "protocols"]))
@click.argument("names", default="", metavar="[NAMES]")
@click.option("--parameters", is_flag=True, help="Also list the parameters that --set can change.")
def list_(what: str, names: str, parameters: bool) -> None:
    """List the methods, data sets, profiles or protocols that you can use, or only those in NAMES (comma-separated).

    The parameters of a method or data set of another package are shown only if it is in NAMES.
    """
    from bench import registry
    from bench.learning import protocol

    group = f"bench.{what}"
    if what == "profiles":
        summaries = {p.name: f"{p.summary}; protocol {p.protocol}" for p in protocol.PROFILES.values()}
    elif what == "protocols":
        summaries = {p.name: p.summary for p in protocol.PROTOCOLS.values()}
    else:
        summaries = {e.name: e.summary for e in registry.entries(group).values()}
    chosen = [name.strip() for name in names.split(",") if name.strip()] or list(summaries)
    if unknown := [name for name in chosen if name not in summaries]:
        raise BenchError(f"no '{unknown[0]}' among the {what}; known: {', '.join(summaries)}")
    if not parameters:
        _columns([(name, summaries[name]) for name in chosen])
        return
    if group not in (registry.METHODS, registry.DATASETS):
        raise BenchError(f"--parameters: {what} have none; leave it out, or list methods or datasets")
    for name in chosen:
        click.echo(f"{name}: {summaries[name]}")
        if names or name in registry.built_in(group):
            known = registry.parameters(group, name)
            _columns([(f"  {name}.{p.name}", str(p.default), str(p.range), p.help) for p in known])
    click.echo("Change one: bench run --set NAME.PARAMETER=VALUE")
    if group == registry.DATASETS:
        click.echo("If --set gives no box or per_class, bench run takes those of its --profile.")


def _columns(lines: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        click.echo("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths)).rstrip())


@bench.command()
@click.argument("runs", type=PATH, nargs=-1, required=True)
@click.option("--out", type=PATH, metavar="DIR", help="Folder for the report of several runs together.")
def report(runs: tuple[Path, ...], out: Path | None) -> None:
    """Write the tables and figures of a results folder again, or those of several RUNS together to --out.

    Each of RUNS is a results folder or a rows.csv. Together they give no confusion matrices, learning curves and
    reconstructions, and rows of different data are never averaged.
    """
    from bench.commands.report import report

    rows, folder = report(runs, out)
    from bench import page

    click.echo(page.summary(rows))
    click.echo(f"\nOpen {folder / 'report.html'}")


@bench.command()
@click.argument("new", type=PATH)
@click.argument("baseline", type=PATH)
@click.option("--junit", type=PATH, help="Also write the verdicts as a JUnit file.")
def gate(new: Path, baseline: Path, junit: Path | None) -> None:
    """Regression gate: is NEW as good as BASELINE?

    Each is a results folder or a rows.csv. Ends with 0 if it is, 1 if a method regressed, 2 if they cannot be compared.
    """
    from bench.reporting import gate as gating
    from bench.trials.spreadsheet import read_rows

    if junit is not None:
        gating.prepare_junit(junit)
    verdicts = gating.compare(read_rows(new), read_rows(baseline))
    click.echo(gating.summary(verdicts))
    if junit is not None:
        gating.write_junit(verdicts, junit)
    bad = sum(verdict.regressed for verdict in verdicts)
    click.echo(f"{bad} of {len(verdicts)} verdicts regressed" if bad else f"all {len(verdicts)} verdicts fine")
    sys.exit(FAILED if bad else OK)


def main() -> None:
    """Run the command; an error that the user can mend is one line and code 2."""
    _mend_streams()
    code = OK
    try:
        code = _answer()
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError as error:  # Python's own last flush would fail once more, with a code of its own
        if isinstance(error, BrokenPipeError):  # as in `bench ... | head`: nobody reads any more
            code = UNREAD
        elif code == OK:
            code = _complain(_of_disk(error))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in (1, 2):
            os.dup2(nowhere, number)
    sys.exit(code)


def _answer() -> int:
    """Run the command, print its error if there is one, and return the exit code."""
    try:
        with requests_to(stop):
            for argument in sys.argv[1:]:
                check_name(argument)
            bench(standalone_mode=False)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED if end.code else OK
    except Stopped as stopped:
        click.echo(f"bench: {stopped}", err=True)
        return stopped.exit_code
    except click.exceptions.Abort:
        return INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "bench"
        return _complain(f"{error.format_message().rstrip('.')}; see {where} --help")
    except BenchError as error:
        return _complain(str(error))
    except OSError as error:
        if error.errno in (errno.EPIPE, errno.ENOSPC) and error.filename is None:  # of a stream, not of a file
            raise
        return _complain(_of_disk(error))
    except UnicodeEncodeError as error:
        where = f"{error.object[:80]!a}: cannot be written as {error.encoding}"
        return _complain(f"{where}; rename it, or set PYTHONUTF8=1 if the locale is to blame")
    except (MemoryError, RuntimeError) as error:  # PyTorch lacks memory with a RuntimeError
        text = str(error).partition("\n")[0]
        if isinstance(error, RuntimeError) and not re.search("allocate memory|out of memory", text):
            raise
        return _complain(f"out of memory ({text}); choose fewer or smaller boxes")
    return OK


def _mend_streams() -> None:
    """Streams that print any letter, in the terminal's encoding where it has it; nowhere where they are closed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # its own number again, and no other file's
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _of_disk(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return where + _DISK.get(error.errno or 0, f"{error.strerror or error}; check the path and the disk")


def _complain(text: str) -> int:
    click.echo(f"bench: {text}", err=True)
    return BAD_INPUT
