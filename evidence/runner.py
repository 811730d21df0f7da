"""Runs cells, some side by side, where they are to run; what is done is kept, what was begun goes on."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from common.files import read_json, write_json
from common.lock import held
from engine.stops import terminated_as_interrupted
from evidence.cells import RESUME, Cell, Folder
from evidence.places import Here, Place, Process, Program

POLL_SECONDS = 0.1


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
    program: Program
    process: Process
    began: float
    before: float  # seconds of earlier attempts
    attempts: int


class Runner:
    """Runs the cells of a folder.

    Args:
        folder: where they are kept.
        jobs: how many run side by side.
        say: shows a line to people.
        place: where they run; None for this machine.
    """

    def __init__(self, folder: Folder, jobs: int, say: Callable[[str], None], place: Place | None = None) -> None:
        self.folder, self.jobs, self.say = folder, jobs, say
        self.place = place or Here(jobs)
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
        log = self.folder.root / "output" / f"{cell.name}.txt"
        program = Program(cell.command, RESUME, cell.begun, log)
        found = self.place.find(program) if attempts else None
        if found is not None and (found.poll() is None or cell.output.exists()):
            return Running(cell, program, found, time.monotonic(), before, attempts)
        log.parent.mkdir(parents=True, exist_ok=True)
        cell.output.unlink(missing_ok=True)  # of an earlier time, whose cell file somebody removed
        attempts += 1
        self._note(cell, before, attempts)
        return Running(cell, program, self.place.start(program, self.lock), time.monotonic(), before, attempts)

    def _ended(self, one: Running) -> Failure | None:
        seconds = one.before + self.place.seconds(one.program, one.began)
        if one.process.poll() == 0 and one.cell.output.exists():
            self.folder.finish(one.cell, seconds, one.attempts)
            self._attempts(one.cell).unlink()
            shutil.rmtree(one.cell.spent, ignore_errors=True)  # a gigabyte each at the published sizes
            return None
        self._note(one.cell, seconds, one.attempts)
        return Failure(one.cell, _last_line(one.program.log), one.program.log)

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

    def _note(self, cell: Cell, seconds: float, attempts: int) -> None:
        write_json(self._attempts(cell), {"seconds": seconds, "attempts": attempts})

    def _earlier(self, cell: Cell) -> tuple[float, int]:
        path = self._attempts(cell)
        if not path.exists():
            return 0.0, 0
        known = read_json(path, "what earlier attempts took")
        return known["seconds"], known["attempts"]


def _last_line(log: Path) -> str:
    if not log.exists():
        return "it never began; what the cluster said of it lies in the folder slurm"
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
