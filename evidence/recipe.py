"""The one recipe that everything is searched and trained under, and which split selects and which is reported."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from common.errors import UserError
from engine.config import Config, load_config
from engine.run import Workers
from retrain.settings import RetrainSettings
from search.settings import SearchSettings
from space.cost import limits
from space.settings import ModelSettings, SpaceSettings
from tasks.base import Task
from tasks.find import find_task, task_names

ONLY = {"search": ("--search.", "--space."), "retrain": ("--retrain.",)}  # what one stage alone knows
EPOCHS_CHOSEN_BY = "val"  # where a retraining validates more than once


@dataclass
class Machine:
    """What a run may say of the machine; it is no part of the recipe, but for the precision.

    Args:
        gpu: as of every run.
        workers: as of every run.
        precision: as of every run.
        allow_leak: as of every run.
    """

    gpu: str = ""
    workers: Workers = 0
    precision: str = "auto"
    allow_leak: bool = False


@dataclass(frozen=True)
class Splits:
    """Which split does what.

    Args:
        trained: weights and architectures are fitted to these; an architecture is selected on a share of their images.
        chosen: epochs are chosen by these; empty where the last epoch counts.
        reported: what networks are compared by.
    """

    trained: tuple[str, ...]
    chosen: tuple[str, ...]
    reported: tuple[str, ...]

    def check(self) -> None:
        """Refuse to report what something was fitted to or selected by.

        Raises:
            UserError: naming the split.
        """
        # A task reports val no longer where it is trained on, and then nothing with a truth to score by is left.
        for name in (EPOCHS_CHOSEN_BY, *self.reported):
            if name in self.trained:
                raise UserError(
                    f"the split {name!r} would be reported, but it is trained on; leave it out of SPLIT (data.split) "
                    "or name another data.test_split"
                )
            if name in self.reported and name in self.chosen:
                raise UserError(
                    f"the split {name!r} would be reported, but retrain.val_every chooses the best epoch by it; leave "
                    "retrain.val_every out, and the last epoch counts"
                )

    def describe(self) -> str:
        """Which is which, in a line."""
        epochs = f"epochs are chosen by {'+'.join(self.chosen)}" if self.chosen else "the last epoch counts"
        return (
            f"architectures are selected on images of {'+'.join(self.trained)}, {epochs}; "
            f"reported, where there is a truth to score by: {', '.join(self.reported)}"
        )


@dataclass(frozen=True)
class Recipe:
    """Everything that is the same for every network.

    Args:
        search: configuration of the searches.
        retrain: configuration of the trainings.
        search_flags: command line of a search that gives its configuration.
        retrain_flags: the same of a training.
        task: the task over its data.
        splits: which split does what.
    """

    search: Config
    retrain: Config
    search_flags: tuple[str, ...]
    retrain_flags: tuple[str, ...]
    task: Task
    splits: Splits

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for all cells, by dotted key."""
        flat: dict[str, Any] = dict(self.task.identity)
        for stage, config in (("search", self.search), ("retrain", self.retrain)):
            for section, value in config.as_dict().items():
                keys = value.items() if isinstance(value, dict) else ()
                flat |= {f"{stage}:{section}.{key}": inner for key, inner in keys if key != "root"}
            flat[f"{stage}:precision"] = config.top.precision
        return {**flat, "task": self.task.name}


def read(argv: Sequence[str]) -> Recipe:
    """The recipe of a command line.

    Args:
        argv: settings as both stages know them; those of one stage's sections go to it alone.

    Raises:
        UserError: the configuration or the data are refused, or a split would be reported that selects.
    """
    flags = [*_joined(argv)]
    search_flags = tuple(flag for flag in flags if not flag.startswith(ONLY["retrain"]))
    retrain_flags = tuple(flag for flag in flags if not flag.startswith(ONLY["search"]))
    search = _load("search", search_flags, {"space": SpaceSettings, "search": SearchSettings})
    search.space.validate()
    search.search.validate()
    if search.search.budget.latency is not None:
        raise UserError(
            "search.budget.latency holds for the machine it was measured on, which cells of a study need not share; "
            "say search.budget.flops or search.budget.parameters"
        )
    retrain = _load("retrain", retrain_flags, {"retrain": RetrainSettings})
    if not any(flag.startswith("--retrain.val_every=") for flag in flags):
        # Validated once, at its end, a training has one network to choose from.
        retrain_flags += (f"--retrain.val_every={retrain.retrain.epochs}",)
        retrain = _load("retrain", retrain_flags, {"retrain": RetrainSettings})
    operations = [*search.space.encoder.candidates, *search.space.decoder.candidates]
    for config, width in ((search, search.search.width), (retrain, retrain.retrain.width)):
        config.model.check_width(width, operations)
    task = retrain.task(retrain.data)
    splits = _splits(search, retrain, task)
    splits.check()
    return Recipe(search, retrain, search_flags, retrain_flags, task, splits)


def _load(stage: str, flags: Sequence[str], sections: dict[str, type]) -> Config:
    return load_config(
        stage,
        flags,
        find=find_task,
        usual=task_names()[0],
        top=Machine,
        sections={"model": ModelSettings, **sections},
    )


def _joined(words: Sequence[str]) -> Iterator[str]:
    """``--key value`` as ``--key=value``; whatever is neither stays, for the configuration to refuse."""
    rest = iter(words)
    for word in rest:
        value = next(rest, None) if word.startswith("--") and "=" not in word else None
        yield word if value is None else f"{word}={value}"


def _splits(search: Config, retrain: Config, task: Task) -> Splits:
    trained = [part for config in (search, retrain) for part in getattr(config.data, "split", "train").split("+")]
    settings: RetrainSettings = retrain.retrain
    chosen = (EPOCHS_CHOSEN_BY,) if settings.val_every < settings.epochs else ()
    return Splits(tuple(dict.fromkeys(trained)), chosen, tuple(task.final_splits))


def sizes(recipe: Recipe) -> dict[str, int]:
    """What the cost of a trained network depends on besides its operations, as ``genotype_cost`` takes it."""
    model: ModelSettings = recipe.retrain.model
    settings = dataclasses.asdict(model)
    return {
        "width": recipe.retrain.retrain.width,
        **{key: settings[key] for key in ("head_scale", "relation_width")},
        **limits(recipe.retrain.data),
    }
