"""Cells as jobs of Slurm, submitted by submitit; they outlive the program that submitted them."""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from common.errors import UserError, check_known
from evidence.places import THREADS, Process, Program, python_path

CPUS = "SLURM_CPUS_PER_TASK"
MOST_TIMES = 100  # that a job whose time is up comes back into the queue
ASK_SECONDS = 2.0  # between two questions to Slurm about a job that should be ending
SUBMITTED = "_submitted.pkl"  # behind a job's number, names the file without which submitit's job runs nothing
REMEDY = "install it: .venv/bin/python -m pip install -e '.[slurm]'"


class Slurm:
    """A cluster. Jobs outlive the runner, on a login node say, and the next one waits for them.

    Args:
        folder: where submitit keeps what it needs, by program; nodes must see it.
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
        self.folder, self.submitit = folder.absolute(), submitit
        try:
            submitit.SlurmExecutor(self.folder)
        except RuntimeError as error:
            raise UserError("SLURM is given, but this machine has no srun; type this on a login node") from error
        for name in parameters:
            check_known("SLURM", name, sorted(_get_default_parameters()), "sbatch")
        typed = {name: int(value) if value.isdecimal() else value for name, value in parameters.items()}
        path = f"export PYTHONPATH={shlex.quote(python_path())}"
        self.parameters = {"job_name": "mmnas", **typed, "setup": [path]}

    def start(self, program: Program, lock: IO[Any]) -> Process:
        """Submit it.

        Raises:
            UserError: Slurm does not take the job.
        """
        _seconds_file(program).unlink(missing_ok=True)
        executor = self.submitit.SlurmExecutor(self._folder_of(program), max_num_timeout=MOST_TIMES)
        executor.update_parameters(**self.parameters)
        try:
            job = executor.submit(_requeued(program, os.getcwd()))
        except Exception as error:  # sbatch's own words are the message
            said = str(error).strip().splitlines()
            raise UserError(f"Slurm did not take the job: {said[-1] if said else type(error).__name__}") from error
        return _Job(job)

    def find(self, program: Program) -> Process | None:
        """The job submitted last, by what submitit left of it.

        Of a runner that was killed before submitit had left that, the job ends by itself without having run anything.
        """
        folder = self._folder_of(program)
        left = sorted(folder.glob(f"*{SUBMITTED}"), key=lambda path: path.stat().st_mtime)
        return _Job(self.submitit.SlurmJob(folder, left[-1].name.removesuffix(SUBMITTED))) if left else None

    def _folder_of(self, program: Program) -> Path:
        return self.folder / program.log.stem

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
    process = program.begin(environment, preexec_fn=_deaf_to_the_clock)
    try:
        process.wait()
    finally:
        with _seconds_file(program).open("a") as file:
            file.write(f"{time.monotonic() - began:.3f}\n")


def _deaf_to_the_clock() -> None:
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def _seconds_file(program: Program) -> Path:
    return program.log.with_suffix(".seconds")


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
