"""Where cells run: what a place is, and this machine as one; ``evidence/slurm.py`` is another."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from common.processor import cores

PROJECT = Path(__file__).parents[1]
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Program:
    """A program that Python runs in this folder.

    Args:
        command: what Python is given.
        resume: what it is given besides, where it has begun.
        begun: where any of these is, it has.
        log: where it writes what it says.
    """

    command: tuple[str, ...]
    resume: str
    begun: tuple[Path, ...]
    log: Path

    def arguments(self) -> list[str]:
        """The whole command line, as things stand now."""
        return [sys.executable, *self.command, *([self.resume] if any(path.exists() for path in self.begun) else [])]

    def begin(self, environment: Mapping[str, str], **more: Any) -> subprocess.Popen[bytes]:
        """Begin it here; ``more`` goes to Popen."""
        with self.log.open("ab") as out:
            return subprocess.Popen(
                self.arguments(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                **more,
            )


class Process(Protocol):
    """A program under way; the methods are those of ``subprocess.Popen``."""

    def poll(self) -> int | None:
        """Its status once it has ended; of a job 0 in any case, and what it left tells how it went."""

    def terminate(self) -> None:
        """Let it save what it has, and end."""

    def kill(self) -> None:
        """End it."""

    def wait(self) -> int:
        """Wait for its end."""


class Place(Protocol):
    """Where programs run."""

    def start(self, program: Program, lock: IO[Any]) -> Process:
        """Begin a program."""

    def find(self, program: Program) -> Process | None:
        """The program as an earlier runner began it, under way or ended, even if that one was killed while it did."""

    def seconds(self, program: Program, since: float) -> float:
        """What a program took that ended just now and began at the monotonic time ``since``; a queue costs nothing."""


class Here:
    """This machine, whose threads are divided among the programs that run side by side.

    Args:
        jobs: how many do.
    """

    def __init__(self, jobs: int) -> None:
        threads = str(max(1, total_threads() // jobs))
        self.environment = {**os.environ, **dict.fromkeys(THREADS, threads), "PYTHONPATH": python_path()}

    def start(self, program: Program, lock: IO[Any]) -> Process:
        """Begin it; it holds the lock until it ends, also beyond the end of this process."""
        # A session of its own, so that Ctrl-C reaches it once, and through the runner.
        return program.begin(self.environment, pass_fds=[lock.fileno()], start_new_session=True)

    def find(self, program: Program) -> Process | None:
        """None: as long as one of an earlier runner lives, its lock keeps everybody else out."""
        return None

    def seconds(self, program: Program, since: float) -> float:
        """All of them."""
        return time.monotonic() - since


def python_path() -> str:
    """PYTHONPATH for programs of this project, wherever they are begun."""
    return os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])


def total_threads() -> int:
    """Threads to divide: what OMP_NUM_THREADS says, or as many as this program may use cores."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() and int(said) else cores()
