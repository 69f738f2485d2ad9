"""A file of ours that does not fit its schema is refused in one line, or counts as not there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Bench

from bench.base import json_files
from bench.base.errors import BenchError
from bench.base.json_files import NUMBER, listing, read_json, record
from bench.data.subtomograms import Subtomograms
from bench.trials.plan import Request
from bench.trials.schemas import REQUESTS
from bench.trials.store import Store
from bench.trials.trial import Result, Status, Trial

NESTED = "[" * 100_000 + "]" * 100_000
REQUEST = Request(out="o").kept("quick")
MakeTrial = Callable[..., Trial]


def _set(folder: Path) -> Path:
    folder.mkdir()
    volumes = np.random.default_rng(0).normal(size=(6, 8, 8, 8)).astype(np.float32)
    Subtomograms(volumes, np.arange(6) % 2, ("a", "b"), 10.0, "mine").save(folder)
    (folder / "manifest.json").write_text('{"recipe": {}}')
    return folder


@pytest.mark.parametrize(
    "content",
    [
        NESTED,
        '{"a": ' * 100_000,
        "[" * 100_000,
        '["' + "[" * 100_000,
        "",
        "{",
        "\ud800".encode("utf-8", "surrogatepass"),
        b"\x80\x04N.",
        ('["\u2222", ' + NESTED).encode("utf-16"),
        "[1" + "0" * 5000 + "]",
        "[" + " " * 1000 + "]",
        '["a"]',
        "[true]",
        '{"x\\n\\u001b[2J": 1}',
    ],
    ids=range(14),
)
def test_what_does_not_fit_is_one_line(content: str | bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setattr(json_files, "LARGEST_IN_BYTES", 1000 if b"   " in path.read_bytes() else 2**28)
    with pytest.raises(BenchError, match=r"a\.json: damaged \(.*\); mend it") as caught:
        read_json(path, listing(NUMBER), "mend it")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("found", [[], [1, 2.5], [1e300] * 1000])
def test_what_fits_is_what_json_says(found: list[float], tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(found))
    assert read_json(tmp_path / "a.json", listing(NUMBER), "") == found


def test_brackets_in_strings_do_not_count(tmp_path: Path) -> None:
    text = r'"\\' + "[" * 1000 + r"\" {"
    (tmp_path / "a.json").write_text(json.dumps({"[" * 100: [[[text, text]]]}))
    assert read_json(tmp_path / "a.json", {"type": "object"}, "") == {"[" * 100: [[[text, text]]]}


def test_a_record_has_its_properties_and_no_others() -> None:
    schema = record(a=NUMBER)
    assert json_files.misfit({"a": 1}, schema) == ""
    assert "'a' is a required property" in json_files.misfit({}, schema)
    assert "'b' was unexpected" in json_files.misfit({"a": 1, "b": 1}, schema)
    assert json_files.misfit({"a": "x"}, schema).startswith("$.a: 'x' is not of type 'number'")


def test_the_schema_of_requests_has_what_a_run_keeps() -> None:
    assert set(REQUESTS["items"]["properties"]) == set(REQUEST)
    full = Request(
        "o",
        "folder",
        "d",
        "m2",
        "5",
        1,
        "quick",
        "fair",
        "turns",
        "last",
        4,
        1,
        ("a.b=1",),
        "cpu",
        "ray",
        1,
        0.5,
        None,
        True,
        1.5,
    )
    for request in (REQUEST, full.kept("paper")):
        assert json_files.misfit(json.loads(json.dumps([request])), REQUESTS) == ""


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        "[{}]",
        NESTED,
        *[
            json.dumps([REQUEST | change])
            for change in (
                {"methods": None},
                {"settings": "a"},
                {"seeds": "1"},
                {"seeds": -1},
                {"more": 1},
                {"deterministic": 1},
            )
        ],
    ],
    ids=range(10),
)
def test_a_request_that_a_run_did_not_write_is_not_gone_on_with(content: str, bench: Bench, tmp_path: Path) -> None:
    store = Store.create(tmp_path / "out")
    (store.folder / "request.json").write_text(content)
    code, _, err = bench("run", "--resume", "--out", store.folder)
    assert (code, err.count("\n")) == (2, 1)
    assert "request.json: damaged" in err
    assert not (store.folder / "plan.json").exists()


@pytest.mark.parametrize(("name", "content"), [
    ("store.json", NESTED), ("store.json", '{"format": "3", "version": 1}'),
    ("plan.json", NESTED), ("plan.json", "[]"), ("plan.json", '{"0123456789abcdef": 3}'),
    ("plan.json", {"seed": "0"}), ("plan.json", {"protocol": "unknown"}), ("plan.json", {"settings": [["alpha"]]}),
    ("plan.json", {"budget": None}), ("plan.json", {"more": 1}),
])  # fmt: skip
def test_a_results_folder_of_other_types_is_refused(
    name: str, content: str | dict[str, Any], bench: Bench, make_trial: MakeTrial, tmp_path: Path
) -> None:
    store, trial = Store.create(tmp_path / "out"), make_trial()
    changed = content if isinstance(content, str) else json.dumps({trial.key(): asdict(trial) | content})
    (store.folder / name).write_text(changed)
    code, _, err = bench("status", store.folder)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{name}: damaged" in err


def test_a_result_of_other_types_is_missing(make_trial: MakeTrial, tmp_path: Path) -> None:
    from bench.base.files import digest

    store, trial = Store.create(tmp_path / "out"), make_trial()
    store.write(trial, Result(Status.DONE, history=[(1, 2.0, 3.0, "a")], confusion=((1, 0), (0, 1))), "cpu")
    path = store.home(trial.key()) / "result.json"
    written = json.loads(path.read_text())
    assert store.status(trial) == Status.DONE
    for name, change in {
        "confusion": [["x"]],
        "history": [[1, None, 3.0, "a"]],
        "recall": [None],
        "class_names": [None],
        "scores": {},
        "error": 3,
        "more": 1,
    }.items():
        content = {k: v for k, v in written.items() if k != "checksum"}
        content["result"] = content["result"] | {name: change}
        path.write_text(json.dumps(content | {"checksum": digest(content)}))
        assert store.status(trial) == Status.MISSING, name
    path.write_text(NESTED)
    assert store.status(trial) == Status.MISSING


@pytest.mark.parametrize(("name", "content", "why"), [
    ("meta.json", NESTED, "deep"),
    ("meta.json", {"title": 5}, "not of type 'string'"),
    ("meta.json", {"class_names": [None, "b"]}, "not of type 'string'"),
    ("meta.json", {"class_names": "ab"}, "not of type 'array'"),
    ("meta.json", {"tomogram_ids": [1] * 6}, "tomogram id"),
    ("meta.json", {"voxel_size_in_angstroms": -1}, "minimum"),
    ("meta.json", {"fingerprint": "../up"}, "does not match"),
    ("labels.npy", np.arange(6).reshape(3, 2) % 2, "labels"),
    ("labels.npy", np.arange(6.0) % 2, "labels of float64"),
    ("labels.npy", np.arange(6) % 3, "a label without a name"),
    ("labels.npy", np.arange(6) % 2 - 2, "a label of -2"),
    ("labels.npy", np.arange(5) % 2, "labels"),
    ("volumes.npy", np.zeros((6, 8, 8, 8)), "volumes of float64"),
    ("volumes.npy", np.zeros((6, 8, 8, 8), np.float32, order="F") + np.float32(1), "Fortran order"),
    ("volumes.npy", np.zeros((6, 8, 8), np.float32), "volumes do not fit"),
])  # fmt: skip
def test_a_set_of_other_types_is_refused(name: str, content: Any, why: str, bench: Bench, tmp_path: Path) -> None:
    folder = _set(tmp_path / "set")
    if isinstance(content, np.ndarray):
        np.save(folder / name, content)
    elif isinstance(content, str):
        (folder / name).write_text(content)
    else:
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | content))
    code, _, err = bench("run", "--dataset", "particles", "--data", folder, "--out", tmp_path / "out")
    assert (code, err.count("\n")) == (2, 1), err
    assert "damaged" in err
    assert why in err
    assert not (tmp_path / "out" / "request.json").exists()


@pytest.mark.parametrize("content", [NESTED, "[]", '{"recipe": 1}', '{"recipe": {}, "recipe_hash": "../../x"}'])
def test_a_manifest_of_other_types_is_refused(content: str, bench: Bench, tmp_path: Path) -> None:
    from bench.commands.folder import claim

    (_set(tmp_path / "set") / "manifest.json").write_text(content)
    code, _, err = bench("run", "--dataset", "made", "--data", tmp_path / "set", "--out", tmp_path / "out")
    assert (code, err.count("\n")) == (2, 1)
    assert "manifest.json: damaged" in err
    with pytest.raises(BenchError, match=r"manifest\.json: damaged"):
        claim(tmp_path / "set", {})
