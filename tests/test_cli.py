"""The command as a user calls it: bad input is one line and code 2, nothing half-written; good input is a report."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import BENCH, TINY

from bench import registry
from bench.base.stopping import Stopped
from bench.data.dataset import OF_TRIALS
from bench.files import volume
from bench.trials import execute, run, scoring
from bench.trials.backends import jobs, serial
from bench.trials.store import Store

Call = Callable[..., tuple[int, str, str]]


OF_THE_PAPER = ["--methods", "paper"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run of the methods of the paper and the control, serial."""
    out = tmp_path_factory.mktemp("runs") / "out"
    command = [BENCH, "run", *TINY, *OF_THE_PAPER, "--fractions", "20,40", "--backend", "serial"]
    subprocess.run([*command, "--out", str(out)], check=True, capture_output=True, text=True)
    return out


def _n_trials() -> int:
    """Of `finished`: two label fractions of each method, one trial of those that need no label."""
    methods = [registry.method(name) for name in registry.names(registry.METHODS, "paper")]
    return sum(2 if method.needs_labels else 1 for method in methods)


def _boxes(folder: Path, classes: dict[str, tuple[int, ...]]) -> Path:
    for name, shape in classes.items():
        (folder / name).mkdir(parents=True)
        for i in range(8):
            voxels = np.random.default_rng(i).normal(size=shape).astype(np.float32)
            volume.write(folder / name / f"{i}.mrc", voxels, 10.0)
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--methods", "nonsense"], ["nonsense", "autoencoding"]),
        (["--dataset", "nonsense"], ["nonsense", "phantoms"]),
        (["--protocol", "nonsense"], ["nonsense", "fair"]),
        (["--profile", "quick,paper"], ["quick,paper", "standard"]),
        (["--views", "turns,nonsense"], ["nonsense", "rotations"]),
        (["--select", "nonsense"], ["nonsense", "average"]),
        (["--profile", "nonsense"], ["nonsense", "quick"]),
        (["--backend", "nonsense"], ["nonsense", "serial"]),
        (["--dataset", "phantoms,maps"], ["one data set"]),
        (["--fractions", "0"], ["--fractions 0"]),
        (["--fractions", "100.5"], ["100.5"]),
        (["--fractions", "abc"], ["abc"]),
        (["--fractions", "nan"], ["nan"]),
        (["--fractions", "1", *TINY], ["1FNT", "--fractions"]),
        (["--seeds", "0"], ["--seeds"]),
        (["--seeds", "many"], ["--seeds", "--help"]),
        (["--nonsense"], ["--nonsense", "--help"]),
        (["--epochs", "0"], ["--epochs"]),
        (["--device", "cuda"], ["GPU", "--device cpu"]),
        (["--device", "nonsense"], ["nonsense", "cuda"]),
        (["--gpus-per-trial", "0.5"], ["GPU"]),
        (["--dataset", "maps"], ["--data"]),
        (["--dataset", "maps", "--data", "nowhere"], ["nowhere"]),
        (["--data", "somewhere"], ["phantoms", "--data"]),
        (["--set", "autoencoding.gamma=1"], ["gamma", "alpha"]),
        (["--set", "autoencoding.beta=many"], ["autoencoding.beta"]),
        (["--set", "beta=1"], ["name.parameter=value"]),
        (["--set", "nonsense.beta=1"], ["nonsense"]),
        (["--set", "phantoms.box=30", "--set", "phantoms.per_class=4"], ["30"]),
        (["--set", "phantoms.box=0"], ["phantoms.box=0", "from 8 to"]),
        (["--set", f"phantoms.per_class={'9' * 20}"], ["phantoms.per_class", "1,000,000"]),
        (["--set", "phantoms.folder='/etc'"], ["phantoms", "folder"]),
        (["--set", "supervised.x=1"], ["supervised", "'x'"]),
        (["--methods", "self_training", "--set", "self_training.thresholds=()"], ["thresholds=()", "from 0 to 1"]),
        (["--cpus-per-trial", "0"], ["--cpus-per-trial 0", "from 1"]),
        (["--cpus-per-trial", "1000"], ["--cpus-per-trial 1000", "this machine has"]),
        (["--cpus-per-trial", "100000"], ["--cpus-per-trial 100000"]),
        (["--gpus-per-trial", "nan"], ["--gpus-per-trial nan", "from 0 to 1"]),
        (["--gpus-per-trial", "-1"], ["--gpus-per-trial -1"]),
        (["--time-limit", "nan"], ["--time-limit nan"]),
        (["--checkpoint-every", "inf"], ["--checkpoint-every inf"]),
        (["--epochs", "9" * 25], ["--epochs 9", "from 1 to 1,000,000"]),
        (["--seeds", "1000000000000"], ["--seeds", "from 1 to 1,000"]),
        (["--protocol", ""], ["--protocol", "empty"]),
        (["--profile", ""], ["--profile", "empty"]),
        (["--data", ""], ["--data", "empty"]),
        (["--out", ""], ["--out", "empty"]),
        (["--address", ""], ["--address", "empty"]),
        (["--set", "phantoms.snr=-1"], ["snr"]),
        (["--resume"], ["no results"]),
    ],
)
def test_bad_options_are_one_line(arguments: list[str], words: list[str], bench: Call, tmp_path: Path) -> None:
    code, out, err = bench("run", "--backend", "serial", "--out", tmp_path / "out", *arguments)
    assert code == 2
    assert "Traceback" not in out + err
    assert len(err.strip().splitlines()) == 1
    assert all(word in err for word in words), err
    assert not (tmp_path / "out" / "trials").exists()
    asks_the_data = "1FNT" in words
    assert asks_the_data or not (tmp_path / "out" / "cache").exists()


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("simulate", ["--snr", "1e-300"], ["--snr 1e-300", "from 1e-12"]),
        ("simulate", ["--spherical-aberration-in-millimetres", "nan"], ["--spherical-aberration-in-millimetres nan"]),
        ("simulate", ["--defocus-in-micrometres", "inf"], ["--defocus-in-micrometres inf"]),
        ("simulate", ["--dose-in-electrons-per-square-angstrom", "1e308"], ["--dose-in-electrons-per-square-angstrom"]),
        ("simulate", ["--envelope-in-nyquist", "1e-300"], ["--envelope-in-nyquist 1e-300"]),
        ("simulate", ["--tilt-step-in-degrees", "1e-9"], ["--tilt-step-in-degrees 1e-09", "from 0.1 to 90"]),
        ("simulate", ["--neighbours", "1000000"], ["--neighbours 1000000", "from 0 to 100"]),
        ("simulate", ["--voxel-size-in-angstroms", "nan"], ["--voxel-size-in-angstroms nan"]),
        ("simulate", ["--box", "0"], ["--box 0", "from 8"]),
        ("simulate", ["--device", "tpu"], ["--device tpu", "cpu or cuda"]),
        ("simulate", ["--device", "cuda"], ["--device cuda", "no GPU"]),
        ("simulate", ["--assembly", ""], ["--assembly ''", "empty"]),
        ("simulate-tomogram", ["--voxel-size-in-angstroms", "nan"], ["--voxel-size-in-angstroms nan"]),
        ("simulate-tomogram", ["--per-class", "0"], ["--per-class 0", "from 1"]),
        ("simulate-tomogram", ["--shape", "0,64,64"], ["--shape 0,64,64", "from 8 to 4,096"]),
        ("simulate-tomogram", ["--shape", "99999999999999999999,64,64"], ["--shape 9999", "from 8 to 4,096"]),
        ("simulate-tomogram", ["--device", "cuda"], ["--device cuda", "no GPU"]),
        ("pick", ["--device", "tpu"], ["--device tpu", "cpu or cuda"]),
        ("pick", ["--device", "cuda"], ["--device cuda", "no GPU"]),
        ("pick", ["--count", "0"], ["--count 0", "from 1"]),
        ("pick", ["--diameter-in-angstroms", "nan"], ["--diameter-in-angstroms nan"]),
        ("pick", ["--tomogram-voxel-size-in-angstroms", "nan"], ["--tomogram-voxel-size-in-angstroms nan"]),
        ("match", ["--device", "tpu"], ["--device tpu", "cpu or cuda"]),
        ("match", ["--device", "cuda"], ["--device cuda", "no GPU"]),
        ("match", ["--step-in-degrees", "1e-9"], ["--step-in-degrees 1e-09", "from 2 to 180"]),
        ("match", ["--tilt-limit-in-degrees", "nan"], ["--tilt-limit-in-degrees nan"]),
        ("match", ["--low-pass-in-angstroms", "nan"], ["--low-pass-in-angstroms nan"]),
    ],
)
def test_an_option_of_bench_data_out_of_range_is_one_line(
    command: str, arguments: list[str], words: list[str], bench: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    needed = {
        "pick": [tmp_path / "t.mrc", "--diameter-in-angstroms", "100"],
        "match": [tmp_path / "t.mrc", "--template", tmp_path / "t.mrc"],
    }
    needs = needed.get(command, ["--structures", tmp_path])
    code, out, err = bench("data", command, *needs, "--out", tmp_path / "out", *arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert all(word in err for word in words), err
    assert not (tmp_path / "out").exists()


def test_pytorch_without_memory_is_one_line_another_error_of_its_is_not(
    bench: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 687960000 bytes.\n"

    def fail(*_: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr("bench.commands.pick.pick", fail)
    request = ["data", "pick", tmp_path / "t.mrc", "--diameter-in-angstroms", 9]
    code, _, err = bench(*request)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("bench: out of memory")
    said = "a bug"
    with pytest.raises(RuntimeError, match="a bug"):
        bench(*request)


def test_bad_folders_are_one_line(bench: Call, tmp_path: Path) -> None:
    shapes = _boxes(tmp_path / "shapes", {"a": (8, 8, 8), "b": (12, 12, 12)})
    odd = _boxes(tmp_path / "odd", {"a": (10, 10, 10), "b": (10, 10, 10)})
    empty = _boxes(tmp_path / "empty", {"a": (8, 8, 8)})
    (empty / "b").mkdir()
    nan = _boxes(tmp_path / "nan", {"a": (8, 8, 8), "b": (8, 8, 8)})
    (nan / "a" / "0.mrc").unlink()
    with pytest.warns(RuntimeWarning):
        volume.write(nan / "a" / "0.mrc", np.full((8, 8, 8), np.nan, np.float32), 1.0)
    cut = _boxes(tmp_path / "cut", {"a": (8, 8, 8), "b": (8, 8, 8)})
    (cut / "b" / "3.mrc").write_bytes((cut / "b" / "3.mrc").read_bytes()[:-9])
    for folder, word in ((shapes, "one size"), (odd, "divide"), (empty, "b"), (nan, "0.mrc"), (cut, "3.mrc")):
        out = tmp_path / f"out-{folder.name}"
        code, _, err = bench("run", "--dataset", "folder", "--data", folder, "--backend", "serial", "--out", out)
        assert code == 2, folder
        assert word in err
        assert len(err.strip().splitlines()) == 1
        assert not list(out.glob("cache/data-*/*")) or folder is odd


def test_a_folder_of_other_things_or_of_another_version_is_left_alone(bench: Call, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    code, _, err = bench("run", "--out", mine)
    assert code == 2
    assert "other files" in err
    (mine / "thesis.txt").unlink()
    (mine / "store.json").write_text(json.dumps({"format": 1, "version": "9.9"}))
    for command in (["run", "--out", mine], ["report", mine]):
        code, _, err = bench(*command)
        assert code == 2
        assert "9.9" in err
    assert [p.name for p in mine.iterdir()] == ["store.json"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_full_or_read_only_disk_is_one_line(
    number: int, bench: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, "no", str(tmp_path / "out"))

    monkeypatch.setattr(Path, "mkdir", refuse)
    code, _, err = bench("run", "--out", tmp_path / "out")
    assert code == 2
    assert str(tmp_path / "out") in err
    assert len(err.strip().splitlines()) == 1


def test_help_and_lists_are_quick_and_import_nothing_heavy() -> None:
    for arguments in (["--help"], ["list", "methods"], ["list", "datasets"], ["run", "--help"]):
        program = (
            "import sys; sys.argv = ['bench'] + sys.argv[1:]\nfrom bench.cli.main import main\n"
            "try: main()\nfinally: print([m for m in ('torch', 'ray', 'pandas', 'scipy') if m in sys.modules])"
        )
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
        assert done.stdout.strip().endswith("[]")
        assert time.perf_counter() - began < 5  # 0.1 s on an idle machine; the imports are what matters


def test_list_says_which_data_sets_need_a_folder(bench: Call) -> None:
    _, out, _ = bench("list", "datasets")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert "--data" in lines["folder"]
    assert "--data" in lines["maps"]
    assert "--data" not in lines["phantoms"]


@pytest.mark.parametrize(
    ("what", "name", "first", "last"),
    [
        (
            "methods",
            "autoencoding",
            "alpha 1.0 from 0 to 1,000,000 weight of the reconstruction loss",
            "beta 1.0 from 0",
        ),
        ("datasets", "phantoms", "box 16 from 8 to", "test_fraction None from 0.001 to 0.999 part held out"),
    ],
)
def test_list_shows_parameters_in_columns(what: str, name: str, first: str, last: str, bench: Call) -> None:
    _, out, _ = bench("list", what, "--parameters")
    lines = [line.strip() for line in out.splitlines() if line.startswith(f"  {name}.")]
    said = [" ".join(line.split()) for line in lines]
    assert said[0].startswith(f"{name}.{first}")
    assert said[-1].startswith(f"{name}.{last}")
    known = registry.parameters(f"bench.{what}", name)
    assert len({line.index(p.help) for line, p in zip(lines, known)}) == 1  # the help texts stand below each other
    assert bench("list", what, name)[1].split()[0] == name
    assert len(bench("list", what, name)[1].splitlines()) == 1


def test_list_of_an_unknown_name_or_of_no_parameters_is_one_line(bench: Call) -> None:
    for arguments in (("methods", "nonsense"), ("profiles", "--parameters")):
        code, out, err = bench("list", *arguments)
        assert (code, out) == (2, "")
        assert len(err.splitlines()) == 1


def test_simulate_has_an_option_and_a_help_text_for_each_parameter(bench: Call) -> None:
    _, out, _ = bench("data", "simulate", "--help")
    said = " ".join(out.split())
    for parameter in registry.parameters(registry.DATASETS, "simulated"):
        assert (parameter.help in said) == (parameter.name not in OF_TRIALS)


def test_a_run_leaves_rows_leaderboard_tables_and_pictures(finished: Path) -> None:
    rows = pd.read_csv(finished / "rows.csv")
    assert len(rows) == _n_trials()
    assert (rows["status"] == "done").all()
    board = pd.read_csv(finished / "leaderboard.csv")
    assert sorted(board["rank"]) == sorted(
        board.groupby("labelled_percent")["accuracy"].rank(ascending=False, method="min")
    )
    for name in ("table2", "table3"):
        for end in ("csv", "md", "tex"):
            assert (finished / "tables" / f"{name}.{end}").stat().st_size > 100
    kinds = {picture.name.split("-")[0] for picture in (finished / "figures").glob("*.png")}
    assert kinds == {"accuracy", "confusion", "cost", "learning", "reconstruction"}
    page = (finished / "report.html").read_text()
    assert "Table 2" in page
    assert "one seed cannot tell the methods apart" in page
    overall = pd.read_csv(finished / "overall.csv")
    assert (overall["compared_blocks"] == 2).all()
    assert sorted(overall["rank"]) == sorted(overall["corrected"].rank(ascending=False, method="min"))


def test_tables_print_the_paper_s_numbers_under_the_paper_s_names(finished: Path) -> None:
    table = pd.read_csv(finished / "tables" / "table2.csv", dtype=str).set_index("method")
    assert table.loc["Autoencoding classifier", "paper's real set: 5 %"] == "78.21"
    assert table.loc["Deep generative model (M2)", "paper's simulated set: 20 %"] == "17.19"
    ours = [c for c in table.columns if not c.startswith("paper")]
    assert ours == [f"fair, turns: {f} %" for f in (20, 40)]
    errors = pd.read_csv(finished / "tables" / "table3.csv", dtype=str).set_index("method")
    assert errors.loc["3D autoencoder", "paper's real set"] == "0.0147"


def test_the_same_command_again_runs_nothing(finished: Path, bench: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (finished / "rows.csv").read_bytes()
    monkeypatch.setattr(serial, "run_job", lambda *_: pytest.fail("a finished trial ran again"))
    options = [*TINY, *OF_THE_PAPER, "--fractions", "20,40", "--backend", "serial"]
    code, out, _ = bench("run", *options, "--out", finished)
    assert code == 0
    assert f"{_n_trials()} finished before, 0 to run" in out
    assert (finished / "rows.csv").read_bytes() == before


def test_report_rebuilds_everything_from_the_trials(finished: Path, bench: Call, tmp_path: Path) -> None:
    made = [*finished.glob("tables/*"), finished / "rows.csv", finished / "leaderboard.csv", finished / "report.html"]
    before = {path: path.read_bytes() for path in made}
    for path in made:
        path.unlink()
    code, out, _ = bench("report", finished)
    assert code == 0
    assert "Table 3" in out
    assert {path: path.read_bytes() for path in made} == before


def test_report_of_several_runs_has_each_trial_once(finished: Path, bench: Call, tmp_path: Path) -> None:
    rows = (finished / "rows.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    half = tmp_path / "half.csv"
    half.write_text("".join(rows[: len(rows) // 2]), encoding="utf-8")
    out = tmp_path / "together"
    for _ in range(2):  # a report may be written again
        code, said, _ = bench("report", half, finished, "--out", out)
        assert code == 0
        assert "Table 2" in said
    for name in ("rows.csv", "leaderboard.csv", "tables/table2.csv"):
        assert (out / name).read_bytes() == (finished / name).read_bytes()
    assert {picture.name.split("-")[0] for picture in (out / "figures").glob("*.png")} == {"accuracy", "cost"}


def test_report_refuses_what_it_cannot_put_together(finished: Path, bench: Call, tmp_path: Path) -> None:
    other = tmp_path / "mine" / "other.csv"
    other.parent.mkdir()
    table = pd.read_csv(finished / "rows.csv", dtype=str, keep_default_na=False)
    table.loc[table["accuracy"] != "", "accuracy"] = "0.123"
    table.to_csv(other, index=False)
    short = tmp_path / "short.csv"
    table.drop(columns="n_classes").to_csv(short, index=False)
    strange = tmp_path / "strange.csv"
    table.assign(views="upside-down").to_csv(strange, index=False)
    new = tmp_path / "new"
    for command, why in [
        ([finished, other], "several runs"),
        ([finished, other, "--out", new], "have different scores"),
        ([other, short, "--out", new], "lacks the columns n_classes"),
        ([strange, "--out", new], "column views: this version of bench has no 'upside-down'"),
        ([short], "name a folder for the report"),
        ([finished, "--out", finished], "holds other files"),
        ([finished, "--out", other.parent], "holds other files"),
        ([finished, "--out", other], "is a file"),
        ([finished / "rows.csv", "--out", new.parent / "mine"], "holds other files"),
    ]:
        code, _, err = bench("report", *command)
        assert code == 2
        assert why in err
    assert not new.exists()
    assert sorted(path.name for path in other.parent.iterdir()) == ["other.csv"]


def test_a_run_cut_short_goes_on_with_what_is_missing(
    bench: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["run", *TINY, "--methods", "supervised", "--fractions", "20,40,60", "--backend", "serial"]
    run_job, ran = serial.run_job, []

    def cut(trial: object, *rest: object) -> str:
        if len(ran) == 2:
            raise Stopped(signal.SIGINT)
        ran.append(trial)
        return run_job(trial, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(serial, "run_job", cut)
    code, out, _ = bench(*options, "--out", tmp_path / "out")
    assert code == 130
    assert f"To go: 1. Go on: bench run --resume --out {tmp_path / 'out'}" in out
    states = [str(r.status) for r in Store(tmp_path / "out").records()]
    assert sorted(states) == ["done", "done", "missing"]
    monkeypatch.setattr(serial, "run_job", lambda *a: ran.append(a[0]) or run_job(*a))
    assert bench("run", "--resume", "--out", tmp_path / "out")[0] == 0
    assert len(ran) == 3
    monkeypatch.setattr(serial, "run_job", run_job)
    assert bench(*options, "--out", tmp_path / "whole")[0] == 0
    cut_rows, whole_rows = (pd.read_csv(tmp_path / out / "rows.csv") for out in ("out", "whole"))
    assert cut_rows["accuracy"].tolist() == whole_rows["accuracy"].tolist()


def test_a_folder_that_moved_goes_on_where_it_is_now(
    bench: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["run", *TINY, "--methods", "supervised", "--fractions", "20", "--backend", "serial"]
    monkeypatch.chdir(tmp_path)
    assert bench(*options, "--out", "there")[0] == 0
    (tmp_path / "there").rename(tmp_path / "here")
    record = next((tmp_path / "here").glob("trials/*/result.json"))
    record.unlink()
    code, out, err = bench("run", "--resume", "--out", "here")
    assert code == 0, err
    assert "profile quick" in out
    assert record.exists()
    assert not (tmp_path / "there").exists()
    assert bench("run", "--resume", "--methods", "m2", "--out", "here")[0] == 2


def test_a_second_request_leaves_the_first_one_s_missing_trials_to_resume(
    bench: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is cut short, the second is on other data: --resume goes on with both."""
    out, run_job = tmp_path / "out", serial.run_job

    def cut(*_: object) -> str:
        raise Stopped(signal.SIGINT)

    options = ["run", *TINY, "--methods", "supervised", "--backend", "serial", "--out", out]
    monkeypatch.setattr(serial, "run_job", cut)
    assert bench(*options, "--fractions", "20,40")[0] == 130
    monkeypatch.setattr(serial, "run_job", run_job)
    assert bench(*options, "--fractions", "60", "--set", "phantoms.seed=1")[0] == 0
    rows = pd.read_csv(out / "rows.csv")
    assert rows.groupby("labelled_percent")["status"].first().to_dict() == {20: "missing", 40: "missing", 60: "done"}
    code, _, err = bench("run", "--resume", "--out", out)
    assert code == 0, err
    rows = pd.read_csv(out / "rows.csv")
    assert rows["status"].tolist() == ["done"] * 3
    assert sorted(rows["data_parameters"].str.contains("seed=1")) == [False, False, True]
    assert len(json.loads((out / "request.json").read_text())) == 2
    assert bench(*options, "--fractions", "60", "--set", "phantoms.seed=1")[0] == 0  # the same again is the same
    assert len(json.loads((out / "request.json").read_text())) == 2


def test_a_request_that_comes_to_no_trial_is_not_kept(bench: Call, tmp_path: Path) -> None:
    options = ["run", *TINY, "--methods", "supervised", "--backend", "serial", "--out", tmp_path / "out"]
    assert bench(*options, "--fractions", "1")[0] == 2  # too few labels
    assert not (tmp_path / "out" / "request.json").exists()
    assert bench(*options, "--fractions", "20")[0] == 0
    assert bench(*options, "--fractions", "1")[0] == 2
    assert bench("run", "--resume", "--out", tmp_path / "out")[0] == 0


def test_where_only_the_scoring_changed_trials_are_scored_again_not_trained(
    bench: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    options = ["run", *TINY, "--methods", "supervised,m2", "--fractions", "20", "--backend", "serial", "--out", out]
    options += ["--protocol", "fair,paper"]  # Keras' BatchNorm is no part of the weights
    assert bench(*options)[0] == 0
    before = pd.read_csv(out / "rows.csv")
    for module in (jobs, execute):
        monkeypatch.setattr(module, "scoring_code", lambda: "changed")
    monkeypatch.setattr(run, "scoring_code", lambda: "changed")
    monkeypatch.setattr(scoring, "calibration_error", lambda *_: 0.125)
    monkeypatch.setattr(jobs, "run", lambda *_: pytest.fail("a finished trial was trained again"))
    code, said, _ = bench(*options)
    assert code == 0
    assert "4 of them trained before, to be scored again" in said
    after = pd.read_csv(out / "rows.csv")
    assert after["ece_calibrated"].tolist() == [0.125] * 4
    same = [c for c in before if c not in ("ece_calibrated", "attempts")]
    pd.testing.assert_frame_equal(after[same], before[same])
    assert "4 finished before, 0 to run" in bench(*options)[1]


@pytest.mark.parametrize("more", [{}, {"out": "elsewhere"}, {"resume": True}, {"context": 1}])
def test_a_request_cannot_lead_elsewhere(
    more: dict[str, object], bench: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stored request that names another --out, or options that are none, is refused."""
    from bench.trials.plan import Request

    monkeypatch.chdir(tmp_path)
    store = Store.create(tmp_path / "out")
    stored = Request("out", methods="no_such_method").kept("quick") | more
    (store.folder / "request.json").write_text(json.dumps([stored]))
    code, _, err = bench("run", "--resume", "--out", store.folder)
    assert code == 2
    assert ("was unexpected" if more else "no_such_method") in err
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failing_method_is_a_row_and_an_exit_code(
    bench: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.methods.supervised import Supervised

    monkeypatch.setattr(Supervised, "loss", lambda *_: 1 / 0)
    options = ["--methods", "supervised,autoencoding", "--fractions", "20", "--backend", "serial"]
    code, out, _ = bench("run", *TINY, *options, "--out", tmp_path / "out")
    assert code == 1
    assert "ZeroDivisionError" in out
    assert "none of 1 seeds" in out
    rows = pd.read_csv(tmp_path / "out" / "rows.csv").set_index("method")
    assert rows["status"].to_dict() == {"autoencoding": "done", "supervised": "failed"}
    monkeypatch.undo()
    assert (tmp_path / "out" / "trials" / rows.loc["supervised", "trial"] / "traceback.txt").is_file()


def test_two_protocols_stand_side_by_side(bench: Call, tmp_path: Path) -> None:
    options = ["--methods", "supervised,autoencoder", "--fractions", "20", "--protocol", "paper,fair"]
    code, out, _ = bench("run", *TINY, *options, "--backend", "serial", "--out", tmp_path / "out")
    assert code == 0
    table = pd.read_csv(tmp_path / "out" / "tables" / "table2.csv")
    assert {"fair, turns: 20 %", "paper, none: 20 %"} <= set(table.columns)
    assert "lowest validation loss (the method's own)" in out
    assert "weights kept: the moving average over the last tenth of the training" in out


def test_other_volumes_under_the_same_title_are_another_comparison(bench: Call, tmp_path: Path) -> None:
    options = ["--methods", "supervised", "--fractions", "20", "--backend", "serial", "--out", tmp_path / "out"]
    assert bench("run", *TINY, *options)[0] == 0
    assert bench("run", *TINY, "--set", "phantoms.seed=1", *options)[0] == 0
    board = pd.read_csv(tmp_path / "out" / "leaderboard.csv")
    assert board["seeds"].tolist() == [1, 1]
    assert len([*(tmp_path / "out" / "tables").glob("table2-phantoms-8-snr-0.5-*.csv")]) == 2


def test_changed_hyperparameters_are_named_in_the_table(bench: Call, tmp_path: Path) -> None:
    options = ["--methods", "autoencoding", "--fractions", "20", "--set", "autoencoding.beta=0.5"]
    assert bench("run", *TINY, *options, "--backend", "serial", "--out", tmp_path / "out")[0] == 0
    table = pd.read_csv(tmp_path / "out" / "tables" / "table2.csv").set_index("method")
    assert table.loc["Autoencoding classifier (beta=0.5)", "paper's real set: 5 %"] == "–"


def test_a_second_run_in_the_same_folder_is_refused(bench: Call, finished: Path) -> None:
    with Store(finished).lock():
        code, _, err = bench("run", *TINY, "--out", finished)
    assert code == 2
    assert "another bench run" in err
