"""What a study of evidence found, as its evidence.json holds it: groups of networks, comparisons and the verdict"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import read_json
from report.charts import Dots
from report.facts import quoted

FILE = "evidence.json"
EXPLAINED = "ahead, behind: "  # begins a note that pages give beside the table of these words


@dataclass(frozen=True)
class Against:
    """The searched networks against others: the difference, its interval of 95 %, p after Holm, and the word for it."""

    against: str
    difference: float
    low: float
    high: float
    p: float
    word: str


@dataclass(frozen=True)
class Network:
    """A network of a study: its group, its scores by training seed, what its backbone costs, and its operations."""

    name: str
    group: str
    scores: tuple[float, ...]
    flops: int
    parameters: int
    encoder: tuple[str, ...]
    decoder: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Over training seeds."""
        return sum(self.scores) / len(self.scores)


@dataclass(frozen=True)
class Study:
    """A study of evidence.

    Args:
        version: its name.
        task: name of the task.
        metric: what networks are compared by, on the splits named.
        splits: those reported.
        recipe: fingerprints of the data, and both stages' settings as ``search:search.epochs``.
        groups: networks of one kind, searched and random ones among them.
        comparisons: of the searched networks.
        best_of: how many random networks cost as much as a search, and what the best of so many is expected to score.
        networks: all of them.
        training_seeds: of every network.
        seconds: of a search and of a training, the median.
        margin: the difference that counts, half the deviation over training seeds.
        roles: which split does what.
        about: commit, date, and the command where it was noted.
        verdict: the sentence.
        notes: what has to be known besides.
    """

    version: str
    task: str
    metric: str
    splits: tuple[str, ...]
    recipe: Mapping[str, Any]
    groups: tuple[Dots, ...]
    comparisons: tuple[Against, ...]
    best_of: tuple[int, float]
    networks: tuple[Network, ...]
    training_seeds: tuple[int, ...]
    seconds: tuple[float, float]
    margin: float
    roles: Mapping[str, Any]
    about: Mapping[str, Any]
    verdict: str
    notes: tuple[str, ...]

    @property
    def once(self) -> list[tuple[str, Network]]:
        """Every network once, with all names it has: one may stand in several groups."""
        named: dict[tuple[Any, ...], list[Network]] = {}
        for one in self.networks:
            named.setdefault((one.encoder, one.decoder, one.scores), []).append(one)
        return [("; ".join(one.name for one in same), same[0]) for same in named.values()]

    @property
    def command(self) -> tuple[str, ...]:
        """What it was last started with, a quoted word each; nothing where that is unknown."""
        return quoted(self.about.get("command"))


def studies_of(logs: Path, tasks: set[str]) -> list[Study]:
    """The finished studies of some tasks under a logs folder, or in it, where it is a study's own.

    Raises:
        UserError: a file is damaged.
    """
    paths = [logs / FILE, *sorted((logs / "evidence").glob(f"*/{FILE}"))]
    found = [study_of(path) for path in paths if path.exists()]
    return [study for study in found if study.task in tasks]


def study_of(path: Path) -> Study:
    """Read a study.

    Raises:
        UserError: the file is damaged.
    """
    given = read_json(path, "the result of a study")
    try:
        return Study(
            version=path.resolve().parent.name,
            task=given["task"],
            metric=given["metric"],
            splits=tuple(given["splits"]["reported"]),
            recipe=dict(given["recipe"]),
            groups=tuple(_dots(group) for group in given["groups"]),
            comparisons=tuple(_against(one, given["verdict"]["words"]) for one in given["comparisons"]),
            best_of=(int(given["k"]), float(given["expected_best"])),
            networks=tuple(_network(one, group["name"]) for group in given["groups"] for one in group["networks"]),
            training_seeds=tuple(given["training_seeds"]),
            seconds=(float(given["search_seconds"]), float(given["training_seconds"])),
            margin=float(given["verdict"]["margin"]),
            roles=dict(given["splits"]),
            about=dict(given["provenance"]),
            verdict=given["verdict"]["sentence"],
            notes=tuple(line for line in given["notes"] if not line.startswith(EXPLAINED)),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise UserError(f"{path} is no result of a study; run make evidence again, which writes it anew") from error


def _dots(group: Mapping[str, Any]) -> Dots:
    means = {one["name"]: sum(one["scores"]) / len(one["scores"]) for one in group["networks"]}
    interval = group["interval"] or {"low": None, "high": None}
    return Dots(group["name"], means, float(group["mean"]), interval["low"], interval["high"])


def _network(one: Mapping[str, Any], group: str) -> Network:
    costs, sides = (int(one["flops"]), int(one["parameters"])), (tuple(one["encoder"]), tuple(one["decoder"]))
    return Network(one["name"], group, tuple(map(float, one["scores"])), *costs, *sides)


def _against(one: Mapping[str, Any], words: Mapping[str, str]) -> Against:
    interval = one["interval"]
    numbers = (float(value) for value in (one["difference"], interval["low"], interval["high"], one["p_holm"]))
    return Against(one["against"], *numbers, words[one["against"]])
