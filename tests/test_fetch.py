"""`bench data fetch` against a server on this machine that breaks off, lies, and counts what it sent."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from bench.base.errors import BenchError
from bench.simulation import fetch as fetching
from bench.simulation.fetch import fetch

ENTRY = gzip.compress(np.random.default_rng(0).bytes(300_000))


class _Archive(ThreadingHTTPServer):
    entry: bytes = ENTRY
    break_off: list[int]  # after so many bytes, one answer each
    sent: list[int]


class _Handler(BaseHTTPRequestHandler):
    server: _Archive

    def do_GET(self) -> None:
        if self.path != "/1ABC.cif.gz":
            self.send_error(404)
            return
        etag = hashlib.md5(self.server.entry).hexdigest()
        start = 0
        if self.headers.get("Range") and self.headers.get("If-Range") == etag:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        rest = self.server.entry[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.send_header("ETag", etag)
        self.end_headers()
        part = rest[: self.server.break_off.pop(0)] if self.server.break_off else rest
        self.server.sent.append(len(part))
        self.wfile.write(part)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def archive() -> Iterator[tuple[_Archive, str]]:
    with _Archive(("127.0.0.1", 0), _Handler) as server:
        server.break_off, server.sent = [], []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _silent(_: str) -> None:
    pass


def test_an_entry_is_fetched_once_and_its_checksum_kept(archive: tuple[_Archive, str], tmp_path: Path) -> None:
    server, url = archive
    (path,) = fetch(["1ABC"], tmp_path, _silent, url)
    assert path.read_bytes() == ENTRY
    assert json.loads((tmp_path / "checksums.json").read_text()) == {path.name: hashlib.sha256(ENTRY).hexdigest()}
    fetch(["1ABC"], tmp_path, _silent, url)
    assert server.sent == [len(ENTRY)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1ABC.cif.gz", "checksums.json"]


def test_a_broken_download_goes_on_where_it_stopped(archive: tuple[_Archive, str], tmp_path: Path) -> None:
    server, url = archive
    server.break_off = [70_000, 100_000]
    (path,) = fetch(["1ABC"], tmp_path, _silent, url)
    assert path.read_bytes() == ENTRY
    assert len(server.sent) == 3
    assert sum(server.sent) <= len(ENTRY) + 2 * 2**16  # of each broken answer at most one block is lost


def test_an_entry_that_changed_meanwhile_starts_anew(
    archive: tuple[_Archive, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, url = archive
    server.break_off = [70_000] * fetching.ATTEMPTS
    monkeypatch.setattr(fetching.time, "sleep", lambda _: None)
    with pytest.raises(BenchError, match="goes on where it stopped"):
        fetch(["1ABC"], tmp_path, _silent, url)
    server.entry = gzip.compress(b"another version" * 1000)
    (path,) = fetch(["1ABC"], tmp_path, _silent, url)
    assert path.read_bytes() == server.entry


def test_a_damaged_file_is_not_kept(archive: tuple[_Archive, str], tmp_path: Path) -> None:
    server, url = archive
    server.entry = ENTRY[:-2000]
    with pytest.raises(BenchError, match="damaged"):
        fetch(["1ABC"], tmp_path, _silent, url)
    assert not list(tmp_path.glob("*.gz"))


def test_a_file_that_was_changed_by_hand_is_neither_used_nor_overwritten(
    archive: tuple[_Archive, str], tmp_path: Path
) -> None:
    (path,) = fetch(["1ABC"], tmp_path, _silent, archive[1])
    path.write_bytes(b"mine")
    with pytest.raises(BenchError, match="move it away"):
        fetch(["1ABC"], tmp_path, _silent, archive[1])
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", '{"1ABC.cif.gz": 1}', "{"])
def test_checksums_of_other_types_are_refused(content: str, archive: tuple[_Archive, str], tmp_path: Path) -> None:
    (tmp_path / "checksums.json").write_text(content)
    with pytest.raises(BenchError, match=r"checksums\.json: damaged \(.*\); remove it$"):
        fetch(["1ABC"], tmp_path, _silent, archive[1])
    assert archive[0].sent == []


def test_unknown_ids_and_no_network_are_said_in_one_line(
    archive: tuple[_Archive, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BenchError, match="9ZZZ: the Protein Data Bank has no such entry"):
        fetch(["9ZZZ"], tmp_path, _silent, archive[1])
    with pytest.raises(BenchError, match="not a PDB id"):
        fetch(["../etc"], tmp_path, _silent, archive[1])
    monkeypatch.setattr(fetching.time, "sleep", lambda _: None)
    for mirror in ("http://127.0.0.1:1", "http://" + "a" * 300, "word"):
        with pytest.raises(BenchError, match="without a network"):
            fetch(["1ABC"], tmp_path, _silent, mirror)
