"""The facts of a run as a report tells them: typed numbers and texts, out of the files that it left. No drawing"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.log import BEST, PICKED
from genotypes.genotype import SIDES, Genotype, Swap
from outcome.details import Beside, Details
from report.left import Left, is_number, read

VAL, GUESSING = "val", "guessing"


@dataclass(frozen=True)
class Series:
    """A number over the epochs, which are counted from 1."""

    name: str
    epochs: tuple[int, ...]
    values: tuple[float, ...]

    def since(self, first: float) -> Series:
        """What of it is no earlier than an epoch."""
        left = [(epoch, value) for epoch, value in zip(self.epochs, self.values, strict=True) if epoch >= first]
        return Series(self.name, tuple(epoch for epoch, _ in left), tuple(value for _, value in left))


@dataclass(frozen=True)
class Score:
    """What a network scored on a split, and what guessing would, where that is known.

    ``beside`` has its interval and what other baselines score, where every sample is known.
    """

    split: str
    metric: str
    value: float
    chance: float | None
    beside: Beside | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of 95 %, over the split's images."""
        if self.beside is None or self.beside.low is None or self.beside.high is None:
            return None
        return self.beside.low, self.beside.high

    @property
    def baselines(self) -> dict[str, float]:
        """What would be scored without the network, by name, guessing among them."""
        guess = {} if self.chance is None else {GUESSING: self.chance}
        return {**(self.beside.baselines if self.beside else {}), **guess}


@dataclass(frozen=True)
class Block:
    """A block with a choice, as a search went through it.

    Args:
        side: encoder or decoder.
        number: from 1.
        picked: the operation that the search came out with.
        candidates: operations it had the choice of.
        epochs: after which the probabilities stood.
        probabilities: (candidates, epochs).
        settled: the epoch from which the most probable operation no longer changed, of those with architecture steps.
        swaps: other operations with what the loss would change by, best first.
    """

    side: str
    number: int
    picked: str
    candidates: tuple[str, ...]
    epochs: tuple[int, ...]
    probabilities: tuple[tuple[float, ...], ...]
    settled: int | None
    swaps: tuple[Swap, ...]

    @property
    def probability(self) -> float | None:
        """Of the operation that was picked, in the end."""
        last = {name: row[-1] for name, row in zip(self.candidates, self.probabilities, strict=True)}
        return last.get(self.picked)

    @property
    def most_probable(self) -> str:
        """The operation that alpha stands for in the end."""
        last = [row[-1] for row in self.probabilities]
        return self.candidates[last.index(max(last))]


@dataclass(frozen=True)
class Run:
    """A run.

    Args:
        version: its name.
        folder: of its log.
        stage: search, retrain, or of a trained network that was only scored val or test.
        state: done, running or stopped.
        task: name of the task.
        title: of the task, for people.
        objective: the metric that counts.
        settings: the configuration by dotted key.
        about: what it was last begun or gone on with (``engine.about``), and how often that was.
        samples: how many did what.
        series: numbers over the epochs by name.
        genotype: the architecture, where there is one.
        blocks: of a search, those with a choice.
        standing: of a search, how good the supernet finds the pick.
        scores: of the pick on validation images with the supernet's weights, or of the trained network.
        details: of a trained network, the splits it was scored on.
        chance: what guessing would score on the validation split, by metric.
        cost: of the backbone.
        seconds: by part, all goes together.
        audit: the leak audit's line.
        leaks: how many breaches were allowed.
        said: what the run said of itself in the end.
        warnings: what it warned of, and what of it is damaged.
        notes: what people should know of the data and the scores.
    """

    version: str
    folder: Path
    stage: str
    state: str
    task: str
    title: str
    objective: str
    settings: Mapping[str, Any]
    about: Mapping[str, Any]
    samples: Mapping[str, int]
    series: Mapping[str, Series]
    genotype: Genotype | None
    blocks: tuple[Block, ...]
    standing: Mapping[str, float]
    scores: tuple[Score, ...]
    details: tuple[Details, ...]
    chance: Mapping[str, float]
    cost: Mapping[str, float]
    seconds: Mapping[str, float]
    audit: str | None
    leaks: int
    said: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def best(self) -> Score | None:
        """The score that counts: of a training the first split's, of a search that of its pick."""
        return next((score for score in self.scores if score.metric == self.objective), None)

    @property
    def command(self) -> tuple[str, ...]:
        """What it was last started with, a quoted word each, to begin it anew; nothing where that is unknown."""
        return tuple(word for word in quoted(self.about.get("command")) if not word.startswith("--resume="))

    @property
    def names(self) -> Mapping[str, str]:
        """What the names of estimator, sampler and selector stand for, as a search noted it."""
        return self.about.get("names") or {}

    def setting(self, key: str) -> Any:
        """A key of the configuration; None where there is none."""
        return self.settings.get(key)


def quoted(command: Any) -> tuple[str, ...]:
    """The words of a command as a shell takes them; nothing of what is no command."""
    return tuple(shlex.quote(str(word)) for word in command) if isinstance(command, list) else ()


def run_of(folder: Path) -> Run:
    """The facts of a run.

    Args:
        folder: logs/log/<version>.

    Raises:
        UserError: there is no such run, or a file is damaged that it cannot be told without.
    """
    left = read(folder)
    last = left.goes[-1] if left.goes else {}
    remarks = _texts(last.get("remarks"))
    result = left.results[0] if left.results else {}
    settings = dict(flat(left.config))
    stage = "search" if "search" in left.config else _retrain_or_score(settings)
    genotype = left.found or (left.history[-1] if left.history else _trained(result))
    found = genotype if stage == "search" and genotype else None
    provenance = found.provenance if found else {}
    series = {name: Series(name, *zip(*sorted(points.items()), strict=True)) for name, points in _over_epochs(left)}
    scores = _of_pick(left, last) if stage == "search" else [*_of_training(left)]
    audit = next((one for one in (last.get("audit"), result.get("audit"), provenance.get("audit")) if one), {})
    return Run(
        version=left.version,
        folder=left.folder,
        stage=stage,
        state="done" if left.over else "running" if left.held else "stopped",
        task=str(settings.get("task") or result.get("task") or (genotype.task if genotype else None) or "unknown"),
        title=str(last.get("title") or settings.get("task") or result.get("task") or "a task"),
        objective=str(last.get("objective") or _likely_objective(series, scores)),
        settings=settings,
        about={**provenance, **_of_results(result), **last, "goes": len(left.goes)},
        samples=_numbers(last.get("samples")),
        series=series,
        genotype=genotype,
        blocks=tuple(_blocks(left, found)) if found else (),
        standing=_of_prefix(left, f"{PICKED}/"),
        scores=tuple(scores),
        details=tuple(left.details.values()),
        chance=_numbers(last.get("chance")),
        cost=_numbers(result.get("cost") or (genotype.cost if genotype else None)),
        seconds=_summed(_numbers(each.get("seconds")) for each in left.goes),
        audit=_text(audit.get("line")) if isinstance(audit, Mapping) else None,
        leaks=int(max(left.metrics.get("leaks", {0: 0}).values())),
        said=_texts(last.get("diagnosis")),
        warnings=(*_texts(last.get("warnings")), *left.damaged),
        notes=(*remarks, *(line for line in _notes_of(left.results) if line.partition(": ")[2] not in remarks)),
    )


def _retrain_or_score(settings: Mapping[str, Any]) -> str:
    run = settings.get("run")
    return run if run in ("val", "test") else "retrain"


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A nested mapping by dotted key."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _numbers(given: Any) -> dict[str, float]:
    return {str(name): value for name, value in given.items() if is_number(value)} if isinstance(given, Mapping) else {}


def _text(given: Any) -> str | None:
    return given if isinstance(given, str) else None


def _texts(given: Any) -> tuple[str, ...]:
    return tuple(line for line in given if isinstance(line, str)) if isinstance(given, list) else ()


def _summed(parts: Iterator[Mapping[str, float]]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for seconds in parts:
        total.update(seconds)
    return dict(total)


def _over_epochs(left: Left) -> Iterator[tuple[str, Mapping[int, float]]]:
    for name, points in left.metrics.items():
        if "/" in name and not name.startswith((f"{BEST}/", f"{PICKED}/")):
            yield name, points


def _of_prefix(left: Left, prefix: str) -> dict[str, float]:
    """The last value of every number whose name begins so."""
    return {
        name.removeprefix(prefix): points[max(points)]
        for name, points in left.metrics.items()
        if name.startswith(prefix)
    }


def _of_pick(left: Left, last: Mapping[str, Any]) -> list[Score]:
    chance = _numbers(last.get("chance"))
    picked = _of_prefix(left, f"{PICKED}/{VAL}/")
    return [Score(VAL, name, value, chance.get(name)) for name, value in picked.items()]


def _of_training(left: Left) -> Iterator[Score]:
    """Of the files of scores, or of the log where they are gone; of a split that was scored again the last."""
    found: dict[tuple[str, str], Score] = {}
    for result in left.results:
        guessed = result.get("chance") if isinstance(result.get("chance"), Mapping) else {}
        for split, metrics in result["metrics"].items():
            chance = _numbers(guessed.get(split))
            for name, value in _numbers(metrics).items():
                told = left.details.get(split)
                found[split, name] = Score(split, name, value, chance.get(name), told and told.beside.get(name))
    if not left.results:
        for key, value in _of_prefix(left, f"{BEST}/").items():
            split, _, name = key.partition("/")
            found[split, name] = Score(split, name, value, None)
    yield from found.values()


def _likely_objective(series: Mapping[str, Series], scores: Sequence[Score]) -> str:
    """Of a run that did not note it: the recall sum where there is one, else what stands first."""
    names = [name.removeprefix(f"{VAL}/") for name in series if name.startswith(f"{VAL}/")]
    names += [score.metric for score in scores]
    return "rsum" if "rsum" in names else names[0] if names else "score"


def _of_results(result: Mapping[str, Any]) -> dict[str, Any]:
    return {key: result[key] for key in ("seed", "threads", "commit", "date", "data", "epoch") if key in result}


def _trained(result: Mapping[str, Any]) -> Genotype | None:
    blocks = result.get("genotype")
    if not isinstance(blocks, Mapping):
        return None
    cost = result.get("cost") if isinstance(result.get("cost"), Mapping) else None
    return Genotype.from_dict({"task": result.get("task"), "cost": cost, **{side: blocks.get(side) for side in SIDES}})


def _notes_of(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was said of splits, once where a split was scored again."""
    all_notes = [notes for result in results if isinstance(notes := result.get("notes"), Mapping)]
    said = (f"{split}: {line}" for notes in all_notes for split, lines in notes.items() for line in _texts(lines))
    return [*dict.fromkeys(said)]


def _blocks(left: Left, found: Genotype) -> Iterator[Block]:
    sizes = [len(getattr(found, side)) for side in SIDES]
    history = [one for one in left.history if one.probabilities and sizes == [len(one.encoder), len(one.decoder)]]
    for side in SIDES:
        for index, picked in enumerate(getattr(found, side)):
            over = [one.probabilities[side][index] for one in history]
            if over and len(over[-1]) > 1:
                candidates = tuple(over[-1])
                rows = tuple(tuple(epoch.get(name, 0.0) for epoch in over) for name in candidates)
                epochs, settled = tuple(range(1, len(over) + 1)), settled_in(history, side, index)
                yield Block(side, index + 1, picked, candidates, epochs, rows, settled, found.others(side, index))


def settled_in(history: Sequence[Genotype], side: str, index: int) -> int | None:
    """The first epoch (from 1) from which a block's most probable operation stayed; None before architecture steps."""
    moved = [
        (epoch, getattr(one, side)[index])
        for epoch, one in enumerate(history, 1)
        if one.provenance.get("architecture_steps", 1)
    ]
    settled = None
    for epoch, name in reversed(moved):
        if name != moved[-1][1]:
            break
        settled = epoch
    return settled
