"""Structures from the Protein Data Bank: resumable, checked, kept."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import requests

from bench.base.errors import BenchError
from bench.base.files import check_name, file_digest, write_atomically
from bench.base.json_files import TEXT, Schema, read_json
from bench.simulation.structure import damage

MIRROR = "https://files.rcsb.org/download"
PAPER = ("1FNT", "2GLS", "1F1B", "2IDB", "1KP8", "3DY4", "4V4A", "5T2C")  # Table 1
CHECKSUMS = "checksums.json"
_CHECKSUMS: Schema = {"type": "object", "additionalProperties": TEXT}  # file → SHA-256
ATTEMPTS, TIMEOUT_IN_SECONDS = 4, 30
MAX_BYTES = 2**30  # of one compressed entry; the largest of the archive stay below 300 MB
_PART = 2**16

Note = Callable[[str], None]


def fetch(ids: list[str], folder: Path, note: Note, mirror: str = MIRROR) -> list[Path]:
    """Download the entries as `ID.cif.gz` into `folder`; one that is there and whole is kept.

    A download that broke off goes on where it stopped. `checksums.json` keeps the SHA-256 of each file.
    Raises BenchError for an unknown id, a damaged file, or without a network.
    """
    for pdb in ids:
        if not re.fullmatch(r"[0-9][A-Z0-9]{3}|PDB_[0-9A-Z]{8}", pdb):
            raise BenchError(f"--pdb {pdb}: not a PDB id; one has a digit and three letters or digits, as in 1FNT")
    check_name(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return [_one(pdb, folder, note, mirror) for pdb in ids]


def _one(pdb: str, folder: Path, note: Note, mirror: str) -> Path:
    path, known = folder / f"{pdb}.cif.gz", _checksums(folder)
    if path.exists():
        if known.get(path.name, digest := file_digest(path)) != digest:
            raise BenchError(f"{path}: changed since it was fetched; move it away to fetch it again")
        note(f"{path.name}: here already")
    else:
        part = folder / f".{path.name}.part"
        _download(f"{mirror.rstrip('/')}/{path.name}", part, pdb)
        if problem := damage(part):
            part.unlink()
            raise BenchError(f"{path}: arrived damaged ({problem}); fetch it again")
        digest = file_digest(part)
        part.rename(path)
        note(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, SHA-256 {digest[:12]}…")
    write_atomically(folder / CHECKSUMS, json.dumps(known | {path.name: digest}, indent=1) + "\n")
    return path


def _download(url: str, part: Path, pdb: str) -> None:
    """Fill `part`, from where it ends; a file that changed on the server starts anew."""
    mark, problem = part.with_suffix(".etag"), "incomplete"
    for attempt in range(1, ATTEMPTS + 1):
        have = part.stat().st_size if part.exists() and mark.exists() else 0
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": mark.read_text(encoding="utf-8")}
        try:
            with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_IN_SECONDS) as answer:
                if answer.status_code == 404:
                    raise BenchError(f"--pdb {pdb}: the Protein Data Bank has no such entry; check the id")
                if answer.status_code == 416:  # nothing is left to send, or the part is longer than the file
                    part.unlink()
                    continue
                answer.raise_for_status()
                goes_on = answer.status_code == 206
                expected = int(answer.headers.get("Content-Length", -1))
                mark.write_text(
                    answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "none", encoding="utf-8"
                )
                with part.open("ab" if goes_on else "wb") as handle:
                    began = handle.tell()
                    for block in answer.iter_content(_PART):
                        handle.write(block)
                        if handle.tell() > MAX_BYTES:
                            raise BenchError(f"{url}: more than {MAX_BYTES / 1e9:.1f} GB; not an entry of the archive")
                    if expected in (-1, handle.tell() - began):
                        mark.unlink()
                        return
        except (requests.RequestException, ValueError) as error:  # the latter: of an address that is none
            problem = type(error).__name__
        time.sleep(0.2 * 2**attempt)
    raise BenchError(
        f"{url}: not reached, or broken off ({problem}); call again, it goes on where it stopped; "
        f"without a network copy the structures into a folder and name it with --structures DIR"
    )


def _checksums(folder: Path) -> dict[str, str]:
    path = folder / CHECKSUMS
    return dict(read_json(path, _CHECKSUMS, "remove it")) if path.exists() else {}
