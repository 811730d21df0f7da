"""Where cells run: as programs on this machine, or as jobs of Slurm, submitted by submitit."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from common.errors import UserError, check_known
from common.processor import cores

PROJECT = Path(__file__).parents[1]
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
CPUS = "SLURM_CPUS_PER_TASK"
MOST_TIMES = 100  # that a job whose time is up comes back into the queue
ASK_SECONDS = 2.0  # between two questions to Slurm about a job that should be ending
REMEDY = "install it: .venv/bin/python -m pip install -e '.[slurm]'"


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

    def start(self, program: Program, lock: IO[Any]) -> tuple[Process, str]:
        """Begin a program; also by what name it is found later, "" where it is not."""

    def find(self, name: str, program: Program) -> Process | None:
        """One that an earlier runner began."""

    def seconds(self, program: Program, since: float) -> float:
        """What a program took that ended just now and began at the monotonic time ``since``; a queue costs nothing."""


class Here:
    """This machine, whose threads are divided among the programs that run side by side.

    Args:
        jobs: how many do.
    """

    def __init__(self, jobs: int) -> None:
        threads = str(max(1, total_threads() // jobs))
        self.environment = {**os.environ, **dict.fromkeys(THREADS, threads), "PYTHONPATH": _python_path()}

    def start(self, program: Program, lock: IO[Any]) -> tuple[Process, str]:
        """Begin it; it holds the lock until it ends, also beyond the end of this process."""
        with program.log.open("ab") as out:
            process = subprocess.Popen(
                program.arguments(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self.environment,
                pass_fds=[lock.fileno()],
                start_new_session=True,  # so that Ctrl-C reaches it once, and through the runner
            )
        return process, ""

    def find(self, name: str, program: Program) -> Process | None:
        """None: as long as one of an earlier runner lives, its lock keeps everybody else out."""
        return None

    def seconds(self, program: Program, since: float) -> float:
        """All of them."""
        return time.monotonic() - since


class Slurm:
    """A cluster. Jobs outlive the runner, on a login node say, and the next one waits for them.

    Args:
        folder: where submitit keeps what it needs; nodes must see it.
        parameters: of sbatch, such as ``{"partition": "gpu", "time": "240"}``, with _ for - (time is in minutes).

    Raises:
        UserError: submitit is not installed, there is no Slurm here, or sbatch has no such parameter.
    """

    def __init__(self, folder: Path, parameters: Mapping[str, str]) -> None:
        try:
            import submitit
            from submitit.slurm.slurm import _get_default_parameters
        except ImportError as error:
            raise UserError(f"SLURM needs the package submitit; {REMEDY}") from error
        self.folder = folder.absolute()
        try:
            self.executor = submitit.SlurmExecutor(self.folder, max_num_timeout=MOST_TIMES)
        except RuntimeError as error:
            raise UserError("SLURM is given, but this machine has no srun; type this on a login node") from error
        for name in parameters:
            check_known("SLURM", name, sorted(_get_default_parameters()), "sbatch")
        typed = {name: int(value) if value.isdecimal() else value for name, value in parameters.items()}
        path = f"export PYTHONPATH={shlex.quote(_python_path())}"
        self.executor.update_parameters(**{"job_name": "mmnas", **typed, "setup": [path]})
        self.find_job = submitit.SlurmJob

    def start(self, program: Program, lock: IO[Any]) -> tuple[Process, str]:
        """Submit it.

        Raises:
            UserError: Slurm does not take the job.
        """
        _seconds_file(program).unlink(missing_ok=True)
        try:
            job = self.executor.submit(_requeued(program, os.getcwd()))
        except Exception as error:  # sbatch's own words are the message
            said = str(error).strip().splitlines()
            raise UserError(f"Slurm did not take the job: {said[-1] if said else type(error).__name__}") from error
        return _Job(job), job.job_id

    def find(self, name: str, program: Program) -> Process | None:
        """A job by its number, also one that has ended."""
        return _Job(self.find_job(self.folder, name)) if name else None

    def seconds(self, program: Program, since: float) -> float:
        """What the node has written down, for every time the job was run."""
        path = _seconds_file(program)
        return sum(map(float, path.read_text().split())) if path.exists() else time.monotonic() - since


class _Job:
    """A job of Slurm as a process."""

    def __init__(self, job: Any) -> None:
        self.job = job

    def ended(self, ask: bool = False) -> bool:
        return self.job.done(force_check=ask)

    def poll(self) -> int | None:
        return 0 if self.ended() else None

    def terminate(self) -> None:
        # scancel sends SIGTERM, and SIGKILL half a minute later.
        self.job.cancel(check=False)

    def kill(self) -> None:
        self.terminate()

    def wait(self) -> int:
        while not self.ended(ask=True):
            time.sleep(ASK_SECONDS)
        return 0


def _requeued(program: Program, folder: str) -> Any:
    """The program as submitit runs it on a node, and puts it back into the queue where its time is up."""
    from submitit.helpers import Checkpointable

    class Requeued(Checkpointable):
        def __call__(self) -> None:
            run_on_node(program, folder)

    return Requeued()


def run_on_node(program: Program, folder: str) -> None:
    """Run a program and write down how long it took.

    Slurm tells all processes of a job by SIGUSR2 that its time is up: submitit puts it back into the queue, and the
    SIGTERM that follows lets the program save what it has.
    """
    environment = dict(os.environ)
    if CPUS in environment:
        environment.update(dict.fromkeys(THREADS, environment[CPUS]))
    began = time.monotonic()
    os.chdir(folder)
    with program.log.open("ab") as out:
        process = subprocess.Popen(
            program.arguments(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
            preexec_fn=_deaf_to_the_clock,
        )
        try:
            process.wait()
        finally:
            with _seconds_file(program).open("a") as file:
                file.write(f"{time.monotonic() - began:.3f}\n")


def _deaf_to_the_clock() -> None:
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def _seconds_file(program: Program) -> Path:
    return program.log.with_suffix(".seconds")


def _python_path() -> str:
    return os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])


def parse_parameters(texts: Sequence[str]) -> dict[str, str]:
    """Parameters of sbatch from ``key=value`` texts.

    Raises:
        UserError: one is no such text.
    """
    pairs = [text.partition("=") for text in texts]
    for (key, equals, value), text in zip(pairs, texts, strict=True):
        if not (key and equals and value):
            raise UserError(f"SLURM={text!r} should be key=value, as in SLURM='partition=gpu time=240'")
    return {key: value for key, _, value in pairs}


def total_threads() -> int:
    """Threads to divide: what OMP_NUM_THREADS says, or as many as this program may use cores."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() and int(said) else cores()
