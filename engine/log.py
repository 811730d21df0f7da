"""What a run says: lines for people, metrics.jsonl for programs, TensorBoard for curves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from torch.utils.tensorboard import SummaryWriter

from common.files import atomic_write

# Begin the names of what is said when a run is over: of the best network of a training, of the pick of a search.
BEST, PICKED = "best", "picked"


class Silence:
    """The log of a process that is not the first of its run."""

    leaks = 0

    def config(self, resolved: Mapping[str, Any]) -> None:
        """Not written."""

    def record(self, group: str, epoch: int, values: Mapping[str, float]) -> None:
        """Not written."""

    def info(self, line: Any) -> None:
        """Not shown."""

    def close(self) -> None:
        """There is nothing to close."""


class RunLog:
    """The log of one run in one folder.

    Args:
        folder: logs/log/<version>.
        done: the epochs of the run that a checkpoint holds; records of later ones are dropped, being redone. None
            only adds to the log.
    """

    def __init__(self, folder: Path, done: int | None = None) -> None:
        self.folder = folder
        self.leaks = 0  # breaches of the leak audit that were allowed, here or in what this run builds on
        self.console = Console(stderr=False, highlight=False)
        folder.mkdir(parents=True, exist_ok=True)
        self.metrics = folder / "metrics.jsonl"
        if done is not None and self.metrics.exists():
            self._rewind(done)
        self._file = self.metrics.open("a", encoding="utf-8")
        purge = None if done is None else done + 1
        self._board = SummaryWriter(str(folder), purge_step=purge)

    def _rewind(self, done: int) -> None:
        kept = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:  # the line the kill cut in two
                continue
            # What is said when a run is over is said again.
            if record["epoch"] <= done and not any(key.startswith((f"{BEST}/", f"{PICKED}/")) for key in record):
                kept.append(line + "\n")
        with atomic_write(self.metrics) as file:
            file.writelines(kept)

    def config(self, resolved: Mapping[str, Any]) -> None:
        """Write the resolved configuration beside the metrics."""
        with atomic_write(self.folder / "config.yaml") as file:
            yaml.safe_dump(dict(resolved), file, sort_keys=False)

    def record(self, group: str, epoch: int, values: Mapping[str, float]) -> None:
        """Append one line to metrics.jsonl and a point to every curve, all named ``group/name`` (docs/metrics.md)."""
        named = {f"{group}/{name}": value for name, value in values.items()}
        leaks = {"leaks": self.leaks} if self.leaks else {}
        self._file.write(json.dumps({"epoch": epoch, **leaks, **named}) + "\n")
        self._file.flush()
        for name, value in named.items():
            self._board.add_scalar(name, value, epoch)

    def info(self, line: Any) -> None:
        """Show a line (or a rich table) to people."""
        self.console.print(line, soft_wrap=isinstance(line, str))

    def close(self) -> None:
        """Flush everything."""
        self._file.close()
        self._board.close()


def numbers(values: Mapping[str, float]) -> str:
    """``a 1.23  b 0.4``: numbers in one line, four significant digits."""
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())
