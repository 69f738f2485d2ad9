"""Runs as a user starts them, in processes that may be killed, and what is left of them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from conftest import BENCH

from bench.trials.rows import COSTS
from bench.trials.store import Store

HOST_COLUMNS = [*(c for c in COSTS if c != "optimiser_steps"), "device"]
# Seven trials of some seconds: a shared autoencoder, what waits for it, methods with one stage and with several.
SMALL = ["--set", "phantoms.box=8", "--set", "phantoms.per_class=40", "--epochs", "8", "--seeds", "1"]
SMALL += ["--methods", "autoencoder,pretrained,self_training,supervised", "--fractions", "20,40"]
SMALL += ["--checkpoint-every", "0"]
SERIAL = [*SMALL, "--backend", "serial"]
FAULTY = Path(__file__).with_name("faulty.py")


@pytest.fixture(scope="session", autouse=True)
def _linux() -> None:
    if sys.platform != "linux":
        pytest.skip("the faults are made with Linux's /proc and signals")


class Command:
    """`bench …` in a process group of its own, marked so that whatever it starts can be found again."""

    def __init__(self, folder: Path, *arguments: object, extra: dict[str, str] | None = None) -> None:
        self.mark = uuid.uuid4().hex
        self.log = folder / f"{self.mark}.log"
        environment = os.environ | {"SUBTOMOBENCH_MARK": self.mark, "OMP_NUM_THREADS": "1"} | (extra or {})
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [BENCH, *map(str, arguments)], stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def wait(self, seconds: float = 280) -> int:
        return self.process.wait(seconds)

    def output(self) -> str:
        return self.log.read_text()

    def family(self) -> list[int]:
        """Ids of the living processes that this command started, itself included."""
        return [int(path.name) for path in Path("/proc").glob("[0-9]*") if self._is_ours(path)]

    def _is_ours(self, process: Path) -> bool:
        """By the mark; or by the session, for Ray's agents write their titles over their environment."""
        try:
            if f"SUBTOMOBENCH_MARK={self.mark}" in (process / "environ").read_text(errors="replace"):
                return True
            state, _, _, session = (process / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it has ended meanwhile, or waits for its parent to notice
            return False
        return int(session) == self.process.pid and state != "Z"

    def name_of(self, pid: int) -> str:
        """What a process calls itself: Ray's workers say what they do."""
        try:
            return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").replace("\0", " ").strip()
        except OSError:
            return ""

    def until(self, condition: Callable[[], bool], seconds: float = 200) -> None:
        """Wait for something while the command runs."""
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < end, f"waited {seconds} s; {self.output()}"
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL to the driver alone, as `kill -9` and the kernel's own killer do it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        for pid in self.family():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
        self.process.wait()


Start = Callable[..., Command]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `bench` with some arguments; whatever of it still lives at the end of the test is killed."""
    commands: list[Command] = []

    def begin(*arguments: object, extra: dict[str, str] | None = None) -> Command:
        commands.append(Command(tmp_path, *arguments, extra=extra))
        return commands[-1]

    yield begin
    for command in commands:
        command.end()


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of SMALL, never interrupted, from one process."""
    folder = tmp_path_factory.mktemp("whole")
    command = Command(folder, "run", *SERIAL, "--out", folder / "out")
    try:
        assert command.wait() == 0, command.output()
    finally:
        command.end()
    return folder / "out"


def comparable(out: Path, name: str = "rows.csv") -> bytes:
    """The bytes of rows or leaderboard without the columns that tell of time and host."""
    table = pd.read_csv(out / name, dtype=str, keep_default_na=False)
    return table.drop(columns=[c for c in HOST_COLUMNS if c in table]).to_csv(index=False).encode()


def assert_same(out: Path, expected: Path) -> None:
    """Byte for byte the numbers of an uninterrupted run."""
    for name in ("rows.csv", "leaderboard.csv", "differences.csv"):
        assert comparable(out, name) == comparable(expected, name), name


def finished(out: Path) -> dict[str, bytes]:
    """The records of the trials that are done, as they lie there."""
    if not (out / "plan.json").is_file():
        return {}
    store = Store(out)
    done = [record.key for record in store.records() if record.status == "done"]
    return {key: (store.home(key) / "result.json").read_bytes() for key in done}


def go_on(start: Start, out: Path, arguments: list[str], *changes: str) -> Command:
    """What a user does after a crash: --resume, or the first command again where nothing had begun."""
    begun = (out / "request.json").is_file()
    command = start("run", *(["--resume"] if begun else arguments), *changes, "--out", out)
    assert command.wait() == 0, command.output()
    return command


@pytest.fixture
def faulty(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine with a package of methods that misbehave (faulty.py)."""
    package = tmp_path / "package"
    info = package / "faulty-1.0.dist-info"
    info.mkdir(parents=True)
    shutil.copy(FAULTY, package)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n")
    names = ["raises", "gives_nan", "hangs", "sleeps", "gives_nothing", "gives_garbage", "stretches", "exits"]
    names += ["is_killed", "dies_once", "eats_memory", "grows", "leaves_a_mess"]
    points = "\n".join(f"{name} = faulty:{name.title().replace('_', '')}" for name in names)
    (info / "entry_points.txt").write_text(f"[bench.methods]\n{points}\n")
    return {"PYTHONPATH": os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])}


def statuses(out: Path) -> dict[str, str]:
    rows = pd.read_csv(out / "rows.csv")
    return dict(zip(rows["method"], rows["status"]))
