"""Runs cells as programs, some side by side; what is done is kept, what was begun goes on."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from common.files import read_json, write_json
from common.lock import held
from common.processor import cores
from engine.stops import terminated_as_interrupted
from evidence.cells import RESUME, Cell, Folder

PROJECT = Path(__file__).parents[1]
POLL_SECONDS = 0.1
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Failure:
    """A cell that ended otherwise than it should, and the last line it said."""

    cell: Cell
    line: str
    log: Path


@dataclass
class Running:
    """A cell under way."""

    cell: Cell
    process: subprocess.Popen[bytes]
    log: Path
    began: float
    before: float  # seconds of earlier attempts
    attempts: int


class Runner:
    """Runs the cells of a folder.

    Args:
        folder: where they are kept.
        jobs: how many run side by side; the machine's threads are divided among them.
        say: shows a line to people.
    """

    def __init__(self, folder: Folder, jobs: int, say: Callable[[str], None]) -> None:
        self.folder, self.jobs, self.say = folder, jobs, say
        threads = str(max(1, total_threads() // jobs))
        paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = {**os.environ, **dict.fromkeys(THREADS, threads), "PYTHONPATH": os.pathsep.join(paths)}
        self.lock: IO[Any] | None = None

    def run(self, cells: Sequence[Cell]) -> list[Failure]:
        """Run those of the cells that are not done, in their order, and give back which failed.

        Raises:
            UserError: another run works in the folder.
            KeyboardInterrupt: Ctrl-C or SIGTERM; every cell has stopped where it can go on.
        """
        todo = deque(cell for cell in cells if self.folder.done(cell.name) is None)
        total, done, failures = len(todo), 0, []
        running: list[Running] = []
        began = time.monotonic()
        with self._alone(), terminated_as_interrupted():
            try:
                while todo or running:
                    while todo and len(running) < self.jobs:
                        running.append(self._start(todo.popleft()))
                    time.sleep(POLL_SECONDS)
                    for one in [one for one in running if one.process.poll() is not None]:
                        running.remove(one)
                        done += 1
                        failure = self._ended(one)
                        failures += [failure] if failure else []
                        left = (time.monotonic() - began) / done * (total - done) / 60
                        what = f"FAILED: {failure.line}" if failure else f"{time.monotonic() - one.began:.0f} s"
                        self.say(f"[{done}/{total}] {one.cell.label}: {what}; about {left:.0f} min left")
            except KeyboardInterrupt:
                self._stop(running)
                raise
        return failures

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder's lock, which cells inherit: it outlives a run that is killed as long as its cells do."""
        self.folder.root.mkdir(parents=True, exist_ok=True)
        what = f"the evidence in {self.folder.root}"
        with held(self.folder.root / "lock", what, "choose another VERSION", self.say) as self.lock:
            yield

    def _start(self, cell: Cell) -> Running:
        before, attempts = self._earlier(cell)
        write_json(self._attempts(cell), {"seconds": before, "attempts": attempts + 1})
        log = self.folder.root / "output" / f"{cell.name}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        cell.output.unlink(missing_ok=True)  # of an earlier time, whose cell file somebody removed
        resume = [RESUME] if any(path.exists() for path in cell.begun) else []
        with log.open("ab") as out:
            process = start([*cell.command, *resume], out, self.environment, self.lock)
        return Running(cell, process, log, time.monotonic(), before, attempts + 1)

    def _ended(self, one: Running) -> Failure | None:
        seconds = one.before + time.monotonic() - one.began
        if one.process.returncode == 0 and one.cell.output.exists():
            self.folder.finish(one.cell, seconds, one.attempts)
            self._attempts(one.cell).unlink()
            shutil.rmtree(one.cell.spent, ignore_errors=True)  # a gigabyte each at the published sizes
            return None
        write_json(self._attempts(one.cell), {"seconds": seconds, "attempts": one.attempts})
        return Failure(one.cell, _last_line(one.log), one.log)

    def _stop(self, running: Sequence[Running]) -> None:
        """Let cells save what they have; a second Ctrl-C kills them."""
        self.say(f"stopping {len(running)} cells where they can go on; once more kills them")
        try:
            for one in running:
                one.process.terminate()
            for one in running:
                one.process.wait()
                self._ended(one)
        except KeyboardInterrupt:
            for one in running:
                one.process.kill()
                one.process.wait()

    def _attempts(self, cell: Cell) -> Path:
        return self.folder.root / "cells" / f"{cell.name}.begun"

    def _earlier(self, cell: Cell) -> tuple[float, int]:
        path = self._attempts(cell)
        if not path.exists():
            return 0.0, 0
        known = read_json(path, "what earlier attempts took")
        return known["seconds"], known["attempts"]


def start(arguments: Sequence[str], out: IO[bytes], environment: Mapping[str, str], lock: IO[Any]) -> subprocess.Popen:
    """Begin a Python program that writes into a file and holds a lock until it ends."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.STDOUT,
        env=environment,
        pass_fds=[lock.fileno()],
        start_new_session=True,  # so that Ctrl-C reaches it once, and through the runner
    )


def total_threads() -> int:
    """Threads to divide: what OMP_NUM_THREADS says, or as many as this program may use cores."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() and int(said) else cores()


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
