"""The course of a run, alike in both stages: from what was saved, if anything was, to the end of its epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from common.errors import UserError
from engine import about
from engine.held import check_run, taken_back
from engine.log import RunLog, Silence
from engine.loop import Loop, Stage
from engine.optim import Training
from engine.run import RunFiles, RunOptions, check_identity
from engine.runtime import Runtime


class Course:
    """A run that begins, or goes on from its last checkpoint.

    Args:
        files: where it writes.
        runtime: device, precision and processes.
        identity: what must be the same when it goes on.

    Raises:
        UserError: it was begun otherwise, or all its checkpoints are damaged.
    """

    def __init__(self, files: RunFiles, runtime: Runtime, identity: Mapping[str, Any]) -> None:
        self.files, self.runtime, self.identity = files, runtime, identity
        with runtime.ranks.in_turn():  # the first one sets damaged checkpoints aside
            self.state = files.saved()
        if self.state:
            check_run(files.read, self.state)
            check_identity(identity, self.state["identity"], files.version)
        places = runtime.ranks.of_all(self.state and [self.state["epoch"], self.state["step"]])
        if places.count(places[0]) != len(places):
            raise UserError(
                f"the processes of this run do not see the same checkpoint under {files.checkpoints}; the logs folder "
                "must be on a file system that all of them share"
            )

    def open(
        self, stage: str, resolved: Mapping[str, Any], argv: Sequence[str] | None, data: Mapping[str, Any], leaks: int
    ) -> RunLog | Silence:
        """Make the folders and the log, and note with what the run is begun.

        Args:
            stage: its name.
            resolved: the configuration.
            argv: the command line without the program's name; None for the real one.
            data: fingerprints of the data.
            leaks: how many breaches of the leak audit were allowed.

        Raises:
            UserError: more epochs are over than are wanted.
        """
        epochs = resolved[stage]["epochs"]
        if self.state and self.state["epoch"] > epochs:
            raise UserError(
                f"the run {self.files.version!r} has {self.state['epoch']} epochs behind it, more than "
                f"{stage}.epochs={epochs}; leave that out, or choose another VERSION"
            )
        self.files.create()
        if not self.runtime.ranks.first:
            return Silence()
        log = RunLog(self.files.log, self.state["epoch"] if self.state else 0)
        log.config(resolved)
        log.leaks = leaks
        about.note(self.files.log, stage, argv, self.runtime, data)
        return log

    def note(self, **facts: Any) -> None:
        """Add to what the run was begun with."""
        if self.runtime.ranks.first:
            about.add(self.files.log, **facts)

    def train(self, stage: Stage, training: Training, options: RunOptions, log: RunLog | Silence) -> None:
        """Train to the last epoch.

        Raises:
            UserError: see ``Loop.run``, or the checkpoint does not hold what the stage needs.
            KeyboardInterrupt: the run was told to stop, and is saved.
        """
        reseed(self.runtime)
        loop = Loop(stage, training, self.runtime, self.files, log, options, self.identity)
        if self.state:
            with taken_back(self.files.read):
                loop.resume(self.state)
        loop.run()
        if self.runtime.ranks.first:
            about.add(self.files.log, threads=torch.get_num_threads())
        self.runtime.ranks.wait()  # the first one may still have been writing


def reseed(runtime: Runtime) -> None:
    """Let every process of several draw its own dropout; until now all drew alike, for the same weights."""
    if not runtime.ranks.alone:
        torch.manual_seed(int(runtime.rng("process", runtime.ranks.rank).integers(2**62)))
