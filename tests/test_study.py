"""Studies: what a file says is what is run, and no file is taken in silence that says something else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import TINY

from bench.commands import study as command
from bench.trials.plan import Request, resolve
from bench.trials.study import STUDY, Study, count

ROOT = Path(__file__).parents[1]
Call = Callable[..., tuple[int, str, str]]
TEXT = """
[study]
title = "Try"
fractions = [20, 40]
seeds = 2
epochs = 1
views = ["turns", "rotations"]

[[data]]
name = "phantoms"
options = { box = 8, per_class = 30 }

[[data]]
name = "maps"
folder = "maps"
options = { box = 8 }

[[condition]]
snr = [0.5, 0.1]
per_class = [30, 60]

[[method]]
name = "supervised"

[[method]]
name = "supervised"
settings = { mixup = 0.2 }

[[method]]
name = "autoencoder"

[[exclude]]
method = "autoencoder"
data = "phantoms"
options = { snr = 0.1 }
"""


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], Study]:
    """A study of this text."""

    def make(text: str) -> Study:
        (tmp_path / "maps").mkdir(exist_ok=True)
        (tmp_path / "maps" / "a.mrc").touch()
        path = tmp_path / "study.toml"
        path.write_text(text, encoding="utf-8")
        return Study.read(path)

    return make


def _asked(requests: list[Request]) -> set[tuple[str, str, frozenset[str]]]:
    """(data set, method, settings of both) of every method of every request."""
    return {
        (
            request.dataset,
            name,
            frozenset(s for s in request.settings if s.partition(".")[0] in (request.dataset, name)),
        )
        for request in requests
        for name in request.methods.split(",")
    }


def test_a_study_is_the_product_of_what_it_names_but_for_what_it_excludes(read: Callable[[str], Study]) -> None:
    requests = read(TEXT).requests({"out": "out"})
    conditions = [(snr, per_class) for snr in (0.5, 0.1) for per_class in (30, 60)]
    expected = {
        (data, method, frozenset({f"{data}.box=8", f"{data}.snr={snr}", f"{data}.per_class={n}", *mixup}))
        for data in ("phantoms", "maps")
        for snr, n in conditions
        for method, mixup in [("supervised", []), ("supervised", ["supervised.mixup=0.2"]), ("autoencoder", [])]
        if not (method == "autoencoder" and data == "phantoms" and snr == 0.1)
    }
    assert _asked(requests) == expected
    plans = [resolve(request) for request in requests if request.dataset == "phantoms"]
    # 4 conditions × 2 variants × 2 fractions × 2 views × 2 seeds, and 2 conditions × 1 method × 2 views × 2 seeds
    assert sum(count(plan) for plan in plans) == 4 * 2 * 2 * 2 * 2 + 2 * 2 * 2


def test_a_condition_touches_only_data_sets_that_have_it(read: Callable[[str], Study]) -> None:
    text = TEXT.replace("per_class = [30, 60]", "threshold = [0.0, 0.1]")  # of maps alone
    requests = read(text).requests({"out": "out"})
    assert len({r.settings for r in requests if r.dataset == "maps"}) == 2 * 4
    assert len({r.settings for r in requests if r.dataset == "phantoms"}) == 2 * 2


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[study]", "[study", "is no TOML"),
        ('title = "Try"', "", "'title' is a required property"),
        ("seeds = 2", "sedes = 2", "[study] sedes: there is no such name; did you mean seeds?"),
        ("seeds = 2", 'seeds = "2"', "$.study.seeds: '2' is not of type 'integer'"),
        ("[20, 40]", "[]", "$.study.fractions: [] should be non-empty"),
        ("[20, 40]", "[20, 20]", "has non-unique elements"),
        ("[20, 40]", "[0]", "$.study.fractions[0]: 0 is less than or equal to the minimum of 0"),
        ('"turns"', '"truns"', "$.study.views[0]: 'truns' is not one of"),
        ('name = "maps"', 'name = "mapz"', "unknown dataset 'mapz'"),
        ('folder = "maps"', 'folders = "maps"', "[[data]] folders: there is no such name; did you mean folder?"),
        ("snr = [0.5", "snrs = [0.5", "[[condition]] snrs: there is no such name; did you mean snr?"),
        ("snr = [0.5, 0.1]", "snr = 0.5", "$.condition[0].snr: 0.5 is not of type 'array'"),
        ('name = "autoencoder"', 'name = "autoencodr"', "unknown method 'autoencodr'"),
        ("mixup", "mixups", "'supervised' has no parameter 'mixups'"),
        ("[[exclude]]", "[[excluded]]", "excluded: there is no such name; did you mean exclude?"),
        ("[[method]]", "[[methods]]", "methods: there is no such name; did you mean method?"),
        ('method = "autoencoder"', 'method = "autoencodr"', "[[exclude]] autoencodr: there is no such name"),
        ('name = "autoencoder"', 'name = "rim,autoencoder"', "[[method]] rim,autoencoder: names several"),
        ('name = "maps"', 'name = "phantoms,maps"', "[[data]] phantoms,maps: names several"),
        ('[[exclude]]\nmethod = "autoencoder"\ndata = "phantoms"\noptions = { snr = 0.1 }',
         '[[exclude]]\ndata = "phantoms"\n[[exclude]]\ndata = "maps"', "[[exclude]] leaves no trial"),
    ],
)  # fmt: skip
def test_a_study_that_says_something_else_is_refused(
    bench: Call, tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in TEXT
    path = tmp_path / "study.toml"
    path.write_text(TEXT.replace(old, new), encoding="utf-8")
    code, out, err = bench("study", "plan", path)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_study_of_one_block_is_the_run_of_it(bench: Call, tmp_path: Path) -> None:
    text = TEXT[: TEXT.index('[[data]]\nname = "maps"')] + '[[method]]\nname = "supervised"\n[[method]]\nname = "rim"\n'
    path, out = tmp_path / "study.toml", tmp_path / "out"
    path.write_text(text, encoding="utf-8")
    assert bench("study", "run", path, "--backend", "serial", "--out", out)[0] == 0
    options = ["--set", "phantoms.box=8", "--set", "phantoms.per_class=30", "--seeds", "2", "--epochs", "1"]
    options += ["--methods", "supervised,rim", "--fractions", "20,40", "--views", "turns,rotations"]
    assert bench("run", *options, "--backend", "serial", "--out", tmp_path / "run")[0] == 0
    ours, theirs = (pd.read_csv(folder / "rows.csv") for folder in (out, tmp_path / "run"))
    assert ours[["trial", "accuracy", "split"]].equals(theirs[["trial", "accuracy", "split"]])
    lock = json.loads((out / command.LOCK).read_text(encoding="utf-8"))
    assert set(lock["trials"]) == set(ours["trial"])
    code, said, _ = bench("study", "plan", path, "--time", "--backend", "serial", "--out", out)
    assert code == 0
    assert f"{len(ours)} trials in all." in said
    assert "About 0 s to go." in said
    code, said, _ = bench("study", "run", path, "--backend", "serial", "--out", out)
    assert code == 0
    assert f"{len(ours)} finished before, 0 to run" in said
    code, said, _ = bench("study", "status", path, "--out", out)
    assert code == 0
    assert f"{len(ours)} of {len(ours)} done: phantoms (box=8" in said
    assert said.endswith("All done.\n")
    code, said, _ = bench("study", "report", path, "--out", out)
    assert code == 0
    assert str(out / "report.html") in said
    path.write_text(text.replace("[20, 40]", "[20, 40, 60]"), encoding="utf-8")
    more = len(ours) * 3 // 2
    assert f"{len(ours)} of {more} done" in bench("study", "status", path, "--out", out)[1]
    (next((out / "trials").glob("*")) / "result.json").unlink()
    assert f"{len(ours) - 1} of {more} done" in bench("study", "status", path, "--out", out)[1]
    assert bench("study", "status", path, "--out", tmp_path / "nowhere")[0] == 2
    path.write_text(text.replace("Try", "Another"), encoding="utf-8")
    code, _, err = bench("study", "run", path, "--backend", "serial", "--out", out)
    assert code == 2
    assert "holds the study 'Try'" in err


def test_the_study_of_runs_asks_for_the_same(bench: Call, tmp_path: Path) -> None:
    out, written = tmp_path / "out", tmp_path / "again.toml"
    options = ["--fractions", "20", "--backend", "serial", "--out", out]
    assert bench("run", *TINY, *options, "--methods", "supervised,rim")[0] == 0
    assert bench("run", *TINY, *options, "--methods", "supervised", "--set", "supervised.mixup=0.5")[0] == 0
    assert bench("study", "from", out, "--out", written)[0] == 0
    keys = set(pd.read_csv(out / "rows.csv")["trial"])
    assert bench("study", "run", written, "--backend", "serial", "--out", tmp_path / "second")[0] == 0
    assert set(pd.read_csv(tmp_path / "second" / "rows.csv")["trial"]) == keys
    code, _, err = bench("study", "from", out, "--out", written)
    assert code == 2
    assert "exists" in err
    assert bench("run", *TINY, *options, "--methods", "rim", "--set", "phantoms.seed=1")[0] == 0
    code, _, err = bench("study", "from", out, "--out", tmp_path / "third.toml")
    assert code == 2
    assert "run with different methods" in err


def test_a_study_of_very_many_trials_has_to_be_meant(
    bench: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "study.toml"
    path.write_text(TEXT, encoding="utf-8")
    (tmp_path / "maps").mkdir()
    monkeypatch.setattr(command, "MANY", 10)
    code, _, err = bench("study", "run", path, "--backend", "serial", "--out", tmp_path / "out")
    assert code == 2
    assert "add --yes" in err
    assert not (tmp_path / "out").exists()


def test_the_committed_schema_is_the_one_that_is_used() -> None:
    said = json.loads((ROOT / "studies" / "study.schema.json").read_text(encoding="utf-8"))
    assert {key: value for key, value in said.items() if key not in ("$schema", "title")} == json.loads(
        json.dumps(STUDY)
    )


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.toml")), ids=lambda path: str(path.stem))
def test_our_studies_can_be_planned(path: Path) -> None:
    study = Study.read(path)
    assert study.requests({"out": "out"})
