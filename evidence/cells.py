"""Cells: a search or a training as a command line, the file that says it is done, and what it found."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import read_json, write_json
from engine.run import RunFiles, RunOptions
from genotypes.genotype import Genotype, load

RESUME = "--resume=true"


@dataclass(frozen=True)
class Cell:
    """A program to run.

    Args:
        name: of its files.
        label: for people.
        command: what Python is given.
        begun: where any of these is, ``RESUME`` is added to the command.
        output: the JSON that the program leaves.
        spent: a folder that nobody needs once the cell is done.
    """

    name: str
    label: str
    command: tuple[str, ...]
    begun: tuple[Path, ...]
    output: Path
    spent: Path


@dataclass(frozen=True)
class Done:
    """A cell that is done.

    Args:
        name: of the cell.
        seconds: it took, all attempts together.
        attempts: in how many goes.
        output: what the program left.
    """

    name: str
    seconds: float
    attempts: int
    output: Mapping[str, Any]


class Folder:
    """The folder of one collection of evidence.

    Args:
        logs: where runs write.
        version: its name.

    Raises:
        UserError: the name is no file name.
    """

    def __init__(self, logs: str, version: str) -> None:
        if not re.fullmatch(r"[\w+][\w.+-]{0,99}", version):
            raise UserError(
                f"VERSION={version[:80]!r} is no name; use up to 100 letters, digits, '-', '_', '+' and '.'"
            )
        self.version, self.root = version, Path(logs) / "evidence" / version
        self.plan = self.root / "plan.json"
        self.genotypes = self.root / "genotypes"
        self.results = self.root / "evidence.json"
        self.table = self.root / "evidence.md"
        self.figure = self.root / "evidence.svg"

    def done(self, name: str) -> Done | None:
        """What a cell found, or None while it is not done.

        Raises:
            UserError: its file is not one that this program wrote.
        """
        path = self.root / "cells" / f"{name}.json"
        if not path.exists():
            return None
        found = read_json(path, "a cell that is done")
        if not isinstance(found, dict) or set(found) != set(Done.__dataclass_fields__):
            raise UserError(f"{path} is no cell of this program; remove it to run the cell again")
        return Done(**found)

    def finish(self, cell: Cell, seconds: float, attempts: int) -> Done:
        """Write that a cell is done, whole or not at all.

        Raises:
            UserError: it left nothing readable behind.
        """
        done = Done(cell.name, seconds, attempts, read_json(cell.output, f"what {cell.label} found"))
        write_json(self.root / "cells" / f"{cell.name}.json", asdict(done))
        return done

    def search(self, seed: int, flags: Sequence[str], task: str) -> Cell:
        """The search of a seed."""
        name = f"search-{seed}"
        own = (f"--seed={seed}", f"--genotypes={self.genotypes}")
        return self.cell(name, f"search, seed {seed}", "search", (*flags, *own), self.genotypes / task / f"{name}.json")

    def training(self, network: Genotype, seed: int, flags: Sequence[str], label: str) -> Cell:
        """The training of a network with a seed; the same for every group the network is in."""
        name = f"train-{key(network)}-{seed}"
        own = (f"--seed={seed}", f"--geno={self.genotypes / key(network)}.json")
        output = self.root / "ckpts" / "result_test" / f"metrics_{name}.json"
        return self.cell(name, f"{label}, training seed {seed}", "retrain", (*flags, *own), output)

    def cell(self, name: str, label: str, program: str, flags: Sequence[str], output: Path) -> Cell:
        """A run of a program that takes the options of a run."""
        files = RunFiles(RunOptions(version=name, resume=self._begun(name), logs=str(self.root)), program)
        command = ("-m", program, *flags, f"--version={name}", f"--logs={self.root}")
        return Cell(name, label, command, (files.last, files.log), output, files.checkpoints)

    def _begun(self, name: str) -> bool:
        return (self.root / "log" / name).exists() or (self.root / "ckpts" / name / "last.pt").exists()

    def found(self, seed: int) -> Genotype | None:
        """What the search of a seed found, or None while it is not done."""
        done = self.done(f"search-{seed}")
        return None if done is None else Genotype.from_dict(done.output)

    def write_genotype(self, network: Genotype) -> None:
        """Leave a network where its trainings find it."""
        path = self.genotypes / f"{key(network)}.json"
        if not path.exists() or load(str(path)) != network:
            network.save(path)


def key(network: Genotype) -> str:
    """A short name that two networks share only if they are the same."""
    return hashlib.sha256(json.dumps([network.encoder, network.decoder]).encode()).hexdigest()[:10]
