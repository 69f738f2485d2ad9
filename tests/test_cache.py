"""An entry is used where it is what was made, and made anew where it is anything else."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.base import cache as cache_module
from bench.base.cache import Cache
from bench.base.errors import BenchError
from bench.base.files import write_atomically


def _make(text: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / "sub").mkdir(exist_ok=True)
        (folder / "a").write_text(text)
        (folder / "sub" / "b").write_text(2 * text)

    return make


def _spoil(entry: Path, how: str) -> None:
    target = entry / "sub" / "b"
    if how == "truncated":
        target.write_text("ne")
    elif how == "changed":
        target.write_text("OLDOLD")
    elif how == "missing":
        target.unlink()
    elif how == "list missing":
        (entry / "contents.json").unlink()
    elif how == "list cut":
        (entry / "contents.json").write_bytes((entry / "contents.json").read_bytes()[:-3])
    elif how == "list of another kind":
        (entry / "contents.json").write_text('["a", "b"]')
    elif how == "list nested":
        (entry / "contents.json").write_text("[" * 100_000)
    elif how == "list of other types":
        (entry / "contents.json").write_text('{"entry": "data-key", "files": {"a": [[]]}}')
    elif how == "pickle":
        (entry / "contents.json").write_bytes(b"\x80\x04N.")
    elif how == "empty":
        shutil.rmtree(entry)
        entry.mkdir()
    else:  # another entry under this one's name
        shutil.rmtree(entry)
        other = Cache(entry.parent).entry("data", "other", _make("foreign"))
        shutil.copytree(other, entry)


HOW = [
    "truncated",
    "changed",
    "missing",
    "list missing",
    "list cut",
    "list of another kind",
    "list nested",
    "list of other types",
    "pickle",
    "empty",
    "foreign",
]


@pytest.mark.parametrize("how", HOW)
def test_what_is_not_as_it_was_made_is_made_anew(how: str, tmp_path: Path) -> None:
    said: list[str] = []
    cache = Cache(tmp_path, said.append)
    entry = cache.entry("data", "key", _make("old"))
    _spoil(entry, how)
    assert cache.entry("data", "key", _make("new")) == entry
    assert (entry / "a").read_text() == "new"
    assert (entry / "sub" / "b").read_text() == "newnew"
    assert len(said) == 1
    assert "made anew" in said[0]


def test_a_whole_one_is_used_as_it_is(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    entry = cache.entry("data", "key", _make("old"))
    assert cache.entry("data", "key", lambda _: pytest.fail("made twice")) == entry
    assert cache.entry("data", "key2", _make("new")) != entry


@pytest.mark.parametrize("how", ["shorter", "time set back", "another file", "moved away"])
def test_a_link_counts_by_what_it_names(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "SETTLED_IN_NS", 0)
    far, other = tmp_path / "far", tmp_path / "other"
    far.write_text("gigabytes")
    other.write_text("GIGABYTES")
    time.sleep(0.02)  # some ticks of the disk's clock

    def make(folder: Path) -> None:
        (folder / "near").unlink(missing_ok=True)
        (folder / "near").symlink_to(far)

    cache = Cache(tmp_path / "cache")
    cache.entry("data", "key", make)
    cache.entry("data", "key", lambda _: pytest.fail("made twice"))
    times = (far.stat().st_atime_ns, far.stat().st_mtime_ns)
    if how == "another file":
        other.replace(far)
    elif how == "moved away":
        far.rename(other)
    else:
        far.write_text("giga" if how == "shorter" else "GIGABYTES")
    if how != "moved away":
        os.utime(far, ns=times)
    made: list[int] = []
    cache.entry("data", "key", lambda folder: (made.append(1), make(folder))[1])
    assert made


def test_a_link_to_a_file_that_was_just_written_is_not_trusted(tmp_path: Path) -> None:
    """Within one tick of the clock a file can change twice: its times would not tell."""
    (tmp_path / "far").write_text("gigabytes")
    said: list[str] = []
    cache, made = Cache(tmp_path / "cache", said.append), []

    def make(folder: Path) -> None:
        made.append(1)
        (folder / "near").symlink_to(tmp_path / "far")

    cache.entry("data", "key", make)
    cache.entry("data", "key", make)
    assert len(made) == 2
    assert "may have changed while it was made" in said[0]


def test_what_broke_off_is_no_entry(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        _make("half")(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="space"):
        Cache(tmp_path).entry("data", "key", fail)
    assert not (tmp_path / "data-key").exists()
    seen = []
    Cache(tmp_path).entry("data", "key", lambda folder: seen.append(sorted(p.name for p in folder.iterdir())))
    assert seen == [[]]
    with pytest.raises(OSError, match="space"):
        Cache(tmp_path).entry("data", "more", fail, resumable=True)
    Cache(tmp_path).entry(
        "data", "more", lambda folder: seen.append(sorted(p.name for p in folder.iterdir())), resumable=True
    )
    assert seen[1] == ["a", "sub"]


def _slowly(folder: Path, made: Path) -> None:
    time.sleep(0.3)
    with made.open("a", encoding="utf-8") as file:
        file.write("x")
    _make("one")(folder)


def _ask(folder: Path, made: Path) -> None:
    Cache(folder).entry("data", "key", lambda aside: _slowly(aside, made))


def test_many_that_want_it_at_once_make_it_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("fork")
    askers = [spawn.Process(target=_ask, args=(tmp_path / "cache", tmp_path / "made")) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert (tmp_path / "made").read_text() == "x"


def test_one_that_is_killed_lets_go(tmp_path: Path) -> None:
    asker = multiprocessing.get_context("fork").Process(target=_ask, args=(tmp_path / "cache", tmp_path / "made"))
    asker.start()
    time.sleep(0.1)
    os.kill(asker.pid or 0, signal.SIGKILL)
    asker.join()
    _ask(tmp_path / "cache", tmp_path / "made")
    assert (tmp_path / "cache" / "data-key" / "a").read_text() == "one"


def test_a_file_is_whole_or_the_one_before_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "one")
    with pytest.raises(TypeError):
        write_atomically(path, 2)  # type: ignore[arg-type]
    assert path.read_text() == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(("error", "left"), [(BenchError("no signal"), False), (OSError("no room"), True)])
def test_what_cannot_be_made_leaves_nothing_and_what_was_interrupted_does(
    error: Exception, left: bool, tmp_path: Path
) -> None:
    def make(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise error

    with pytest.raises(type(error), match=str(error)):
        Cache(tmp_path).entry("data", "key", make, resumable=True)
    assert [path.name for path in tmp_path.rglob("half")] == ["half"] * left
