"""What a run left in its files, found by its folder logs/log/<version> and read as it stands; nothing is computed"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import read_json
from common.lock import is_held
from common.yaml_files import read_yaml
from engine import about
from engine.log import BEST, PICKED
from genotypes.genotype import Genotype, load, load_epochs
from outcome.details import DETAILS, Details
from report.splits import read_splits

LOST = (
    "the genotype that was picked is not where the search wrote it: what stands here instead are the most probable "
    "operations of its last epoch, which a selector may have passed over"
)
AFTER = ("", "_val", "_test")  # of a training, and of scoring its network again


@dataclass(frozen=True)
class Left:
    """The files of a run, with whatever is missing left empty.

    Args:
        folder: of its log.
        config: the resolved configuration.
        goes: what it was begun and gone on with, oldest first.
        metrics: numbers by name and epoch.
        history: the most probable genotype of every epoch of a search.
        found: what a search came out with.
        results: what a training's network scored, oldest first.
        details: of the splits that were scored, by name.
        damaged: what is wrong with files that the rest can be told without.
        held: whether a process works on it now.
    """

    folder: Path
    config: Mapping[str, Any]
    goes: tuple[Mapping[str, Any], ...]
    metrics: Mapping[str, Mapping[int, float]]
    history: tuple[Genotype, ...]
    found: Genotype | None
    results: tuple[Mapping[str, Any], ...]
    details: Mapping[str, Details]
    damaged: tuple[str, ...]
    held: bool

    @property
    def version(self) -> str:
        """The run's name."""
        return self.folder.name

    @property
    def over(self) -> bool:
        """Whether the run came to its end, and did not only have its network scored meanwhile."""
        if self.goes:
            return about.NEXT in self.goes[-1]
        return bool(self.results) or any(name.startswith((f"{BEST}/", f"{PICKED}/")) for name in self.metrics)


def read(folder: Path) -> Left:
    """Read a run.

    Args:
        folder: logs/log/<version>.

    Raises:
        UserError: there is no such run, or a file is damaged that it cannot be told without.
    """
    if not folder.is_dir():
        raise UserError(f"there is no run {folder.name!r} under {folder.parent}; make runs lists what there is")
    config_file, logs, version = folder / "config.yaml", folder.parents[1], folder.name
    history = logs / "ckpts" / "arch" / f"{version}.json"
    config = read_yaml(config_file, "a run's configuration") if config_file.exists() else {}
    if not isinstance(config, Mapping):
        raise UserError(f"{config_file} should be a run's configuration, a mapping; bring a copy back")
    goes = about.goes(folder)
    if not isinstance(goes, list) or not all(isinstance(each, Mapping) for each in goes):
        raise UserError(f"{folder / about.FILE} should be a list of what a run was begun with; bring a copy back")
    found = _found(folder, config)
    details, damaged = _details(logs / "ckpts" / "result_test", version)
    if "search" in config and history.exists() and found is None and goes and about.NEXT in goes[-1]:
        damaged += (LOST,)
    return Left(
        folder,
        config,
        tuple(goes),
        _metrics(folder / "metrics.jsonl"),
        tuple(load_epochs(history) if history.with_suffix(".alphas.json").exists() else ()),
        found,
        tuple(_results(logs / "ckpts" / "result_test", version)),
        details,
        damaged,
        is_held(folder / ".lock"),
    )


def _metrics(path: Path) -> dict[str, dict[int, float]]:
    """Finite numbers by name and epoch; of what was said twice the last."""
    found: dict[str, dict[int, float]] = {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):  # the line that a kill cut in two
            continue
        if not isinstance(record, dict) or not isinstance(record.get("epoch"), int):
            continue
        for name, value in record.items():
            if name != "epoch" and is_number(value):
                found.setdefault(name, {})[record["epoch"]] = value
    return found


def is_number(value: Any) -> bool:
    """Whether a value of a file is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _found(folder: Path, config: Mapping[str, Any]) -> Genotype | None:
    """What the search came out with: its copy beside the log, or of older searches the file they were told to write.

    That was named from the folder in which the search was typed, which is one of those above its log.
    """
    place, task = config.get("genotypes"), config.get("task")
    paths = [folder / about.FOUND]
    if isinstance(place, str) and isinstance(task, str):
        bases = (Path(), *folder.resolve().parents)
        paths += [base / place / task / f"{folder.name}.json" for base in bases]
    path = next((path for path in paths if path.exists()), None)
    return None if path is None else load(str(path))


def _results(folder: Path, version: str) -> Iterator[Mapping[str, Any]]:
    for ending in AFTER:
        path = folder / f"metrics_{version}{ending}.json"
        if path.exists():
            found = read_json(path, "the numbers of a training")
            if not isinstance(found, Mapping) or not isinstance(found.get("metrics"), Mapping):
                raise UserError(f"{path} holds no numbers of a training; bring a copy back or remove it")
            yield found


def _details(folder: Path, version: str) -> tuple[dict[str, Details], tuple[str, ...]]:
    """By split, of one that was scored again the last; and what is wrong with files that are no such thing."""
    found: dict[str, Details] = {}
    damaged = []
    for path in (folder / f"{DETAILS}{version}{ending}.json" for ending in AFTER):
        try:
            found |= read_splits(path) if path.exists() else {}
        except UserError as error:
            damaged.append(f"{error}, so this page leaves out what it told; bring a copy back or remove it")
    return found, tuple(damaged)
