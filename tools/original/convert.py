"""Use a checkpoint of the original implementation: ``python -m tools.original FILE.pkl --geno mmnas_vqa``.

Reads {"state_dict": {"module.<name>": tensor, ...}, ...} and writes what ``make retrain RUN=val CKPT=...`` reads. The
sizes of the network are those of its tensors; what its rows of words and answers mean is found out from the data that
it was trained on (``--data.root``, ``--data.dataset``, ...), for the original numbers both as they first occur.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from common.arguments import home_path
from common.errors import UserError
from engine import checkpoint
from engine.config import load_config, peek
from engine.held import weights
from genotypes.genotype import Genotype, load
from retrain.model import build, save
from space.settings import ModelSettings
from tasks.base import Task
from tasks.find import find_task, task_names
from texts.words import Vocabulary
from tools.original import lists
from tools.original.names import network_state

USELESS = re.compile(r"linear_x_rel\.|.*\.alpha_(prob|gate)$")  # what no output of a trained network depends on
EMBEDDING, OUTPUTS = "network.embedding.weight", ("head.out.weight", "head.out.bias")
NAMED = 5  # tensors that an error names
VARIABLES = {"root": "DATA", "dataset": "DATASET", "split": "SPLIT", "feat": "FEAT"}  # of make, by key of data


@dataclass
class ImportOptions:
    """Options of an import.

    Args:
        geno: the genotype the checkpoint was trained with: path, path@epoch, or the name of a published one.
        out: the file to write; by default logs/imported/<name of the checkpoint>.pt.
    """

    geno: str | None = None
    out: str | None = None


class Older(NamedTuple):
    """What a checkpoint of the original implementation holds."""

    state: dict[str, Tensor]  # by our names
    skipped: list[str]  # by its own names
    epoch: int


class Sizes(NamedTuple):
    """The sizes of a network as its tensors tell them."""

    settings: ModelSettings
    width: int
    region_width: int


def read(path: Path) -> Older:
    """Read a checkpoint of the original implementation.

    Raises:
        UserError: it is missing, damaged, asks for code, or is no such checkpoint.
    """
    held = checkpoint.load(path)
    tensors = held.get("state_dict", held)
    if not isinstance(tensors, Mapping) or not any(isinstance(value, Tensor) for value in tensors.values()):
        raise UserError(
            f"{path} is no checkpoint of the original implementation, which has its tensors in 'state_dict'"
        )
    given = weights(path, {name: value for name, value in tensors.items() if isinstance(value, Tensor)})
    state, unknown = network_state(given)
    useless = [name for name in unknown if USELESS.match(name.removeprefix("module."))]
    strange = sorted(set(unknown) - set(useless))
    if strange:
        raise UserError(f"{path} has tensors that no network of the original has: {_some(strange)}")
    alphas = [name for name in state if name.endswith(".alpha")]
    if alphas:
        raise UserError(f"{path} is the network of a search; give that of a training (make retrain trains one anew)")
    epoch = held.get("epoch", 0)
    return Older(state, useless, epoch if type(epoch) is int else 0)


def sizes(path: Path, state: Mapping[str, Tensor], settings: ModelSettings) -> Sizes:
    """Take the sizes from the tensors; what they do not tell (dropout, head_scale) stays as the settings have it.

    Raises:
        UserError: a tensor that every network has is missing.
    """
    telling = (
        EMBEDDING,
        "network.region_projection.weight",
        "network.relation.linear.weight",
        "head.text.score.0.weight",
    )
    _refuse(path, [name for name in telling if name not in state], [], [])
    embedding, region, relation, pool = (state[name].shape for name in telling)
    if {len(embedding), len(region), len(relation), len(pool)} != {2} or not all(
        (*embedding, *region, *relation, *pool)
    ):
        raise UserError(f"{path} holds no matrices in {_some(telling)}; it is no checkpoint of the original")
    bbox = "network.box_projection.weight" in state
    told = replace(
        settings,
        word_width=embedding[1],
        pool_hidden=pool[0],
        relation_width=relation[0],
        bbox_features=bbox,
    )
    return Sizes(told, region[0], region[1] // 2 if bbox else region[1])


def check_count(path: Path, what: str, counted: Sequence[str], held: int, hint: str) -> None:
    """Make sure that the data give as many words or answers as the checkpoint has rows.

    Raises:
        UserError: they give another number.
    """
    if len(counted) != held:
        raise UserError(
            f"{path} knows {held} {what} but the data root gives {len(counted)}; it must be imported with the data set "
            f"it was trained on, all splits of it: {hint}"
        )


def fit(path: Path, state: Mapping[str, Tensor], task: Task) -> dict[str, Tensor]:
    """Give the task the original's words in its order, and put the rows of answers into the task's order."""
    words = lists.words(task)
    check_count(path, "words", words, len(state[EMBEDDING]), "check data.root and data.dataset")
    task.vocabulary = Vocabulary(words)
    fitted = dict(state)
    if task.labels:
        answers = lists.answers(task)
        hint = "check its annotations and data.answer_min"
        missing = [name for name in OUTPUTS if name not in state]
        _refuse(path, missing, [], [])
        for name in OUTPUTS:
            check_count(path, "answers", answers, len(state[name]) if state[name].ndim else 0, hint)
        rows = {answer: row for row, answer in enumerate(answers)}
        # Labels that the original has no name for share the row of its "".
        order = torch.tensor([rows[label if label in rows else ""] for label in task.labels])
        fitted |= {name: state[name][order] for name in OUTPUTS}
    return fitted


def convert(path: Path, out: Path, task: Task, genotype: Genotype, settings: ModelSettings) -> list[str]:
    """Read a checkpoint of the original and write ours.

    Args:
        path: the checkpoint.
        out: the file to write.
        task: the task over the data that the checkpoint was trained on.
        genotype: of the checkpoint's network.
        settings: what its tensors do not tell.

    Returns:
        Lines for people: every tensor used or skipped.

    Raises:
        UserError: the checkpoint cannot be read, or is not of this genotype, task or data.
    """
    older = read(path)
    told = sizes(path, older.state, settings)
    if told.region_width != task.region_width:
        raise UserError(
            f"{path} was trained on features of width {told.region_width}, the data root has {task.region_width}; "
            "use the features it was trained on"
        )
    state = fit(path, older.state, task)
    model = build(task, genotype, told.settings, told.width)
    wanted = model.state_dict()
    misfits = [
        f"{n} {_shape(state[n])} for {_shape(wanted[n])}"
        for n in wanted
        if n in state and state[n].shape != wanted[n].shape
    ]
    _refuse(path, [n for n in wanted if n not in state], [n for n in state if n not in wanted], misfits)
    model.load_state_dict(state)
    save(out, model, task, genotype, told.settings, told.width, older.epoch, {})
    used = [f"used     {name}  {_shape(value)}" for name, value in state.items()]
    skipped = [f"skipped  {name}" for name in older.skipped]
    return [*used, *skipped, f"{len(used)} tensors used, {len(skipped)} skipped, none missing"]


def _refuse(path: Path, missing: Sequence[str], unused: Sequence[str], misfits: Sequence[str]) -> None:
    """Refuse a checkpoint that is not exactly the network, naming what is wrong."""
    parts = (("it lacks", missing), ("it has besides", unused), ("of another shape are", misfits))
    wrong = "; ".join(f"{what} {_some(names)}" for what, names in parts if names)
    if wrong:
        raise UserError(f"{path} is not the network of this task, genotype and model.head_scale: {wrong}")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _shape(value: Tensor) -> str:
    return " x ".join(map(str, value.shape))


def next_command(settings: Sequence[str], task: Task, out: Path) -> str:
    """The command that scores what was written, on the data that was named."""
    given = {field.name: peek(settings, f"data.{field.name}") for field in fields(task.data)}
    named = {key: value for key, value in given.items() if value is not None}
    variables = "".join(f" {VARIABLES[key]}={value}" for key, value in named.items() if key in VARIABLES)
    others = " ".join(f"data.{key}={value}" for key, value in named.items() if key not in VARIABLES)
    extra = f' ARGS="{others}"' if others else ""
    return f"make retrain RUN=val CKPT={out}{variables}{extra}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and import."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    path = home_path(words.pop(0)) if words and not words[0].startswith("-") else None
    geno = peek(words, "geno")
    if (path is None or geno is None) and not {"-h", "--help"} & set(words):
        raise UserError("the command is python -m tools.original FILE.pkl --geno=<what it was trained with> ...")
    genotype = load(geno) if geno else None
    config = load_config(
        "tools.original FILE.pkl",
        words,
        find=find_task,
        top=ImportOptions,
        sections={"model": ModelSettings},
        usual=task_names()[0],
        task=genotype.task if genotype else None,
    )
    out = Path(config.top.out or Path("logs/imported") / f"{path.stem}.pt")
    task: Task = config.task(config.data)
    for line in convert(path, out, task, genotype, config.model):
        print(line)
    print(f"network  {out}")
    print(f"next: {next_command(words, task, out)}")
