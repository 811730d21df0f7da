"""A fixed network from a genotype, and the file that holds a trained one with all it takes to use it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import numpy as np
import torch
from torch import nn

from audit.digest import Digest
from audit.leaks import Audit
from common.errors import UserError, brief, cut
from engine import checkpoint
from engine.held import is_plain, weights
from genotypes.genotype import Genotype
from readers.feature_store import difference
from space.backbone import Block
from space.cost import limits
from space.network import Model
from space.ops import check
from space.settings import ModelSettings
from tasks.assemble import assemble
from tasks.base import Task
from tasks.find import find_task
from texts.words import Vocabulary

# What the file of a trained network holds at least.
KINDS = {
    "model": dict,
    "genotype": dict,
    "settings": dict,
    "width": int,
    "words": list,
    "region_width": int,
    "epoch": int,
}
TENSORS = ("model", "trained_on")  # where tensors may stand


def build(
    task: Task, genotype: Genotype, settings: ModelSettings, width: int, vectors: np.ndarray | None = None
) -> Model:
    """The network of a genotype with the task's head, its word embedding started from ``vectors`` if there are any.

    Networks that are built from the same state of torch's generator begin with the same numbers wherever they are
    alike: in all but their blocks, and in every block that has the same operation in the same place.

    Raises:
        UserError: the genotype holds an operation that is unknown or not allowed on its side.
    """
    check(genotype.encoder, "encoder")
    check(genotype.decoder, "decoder")

    def blocks(**sizes: float) -> tuple[list[nn.Module], list[nn.Module]]:
        first = int(torch.randint(2**62, (), device="cpu"))
        names = [*genotype.encoder, *genotype.decoder]
        made = [_block(name, first + place, sizes) for place, name in enumerate(names)]
        return made[: len(genotype.encoder)], made[len(genotype.encoder) :]

    return assemble(task, settings, width, blocks, vectors)


def _block(name: str, seed: int, sizes: Mapping[str, float]) -> Block:
    """A block that draws from a stream of its own: how much an operation draws moves nothing else."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Block(name, **sizes)


def save(
    path: Path,
    model: Model,
    task: Task,
    genotype: Genotype,
    settings: ModelSettings,
    width: int,
    epoch: int,
    metrics: Mapping[str, float],
    audit: Audit | None = None,
) -> None:
    """Write a trained network so that it can be evaluated anywhere the data is."""
    state = {
        "model": model.state_dict(),
        "task": task.name,
        "genotype": genotype.as_dict(),
        "settings": {**dataclasses.asdict(settings), "word_width": model.network.embedding.embedding_dim},
        "width": width,
        "words": task.words,
        "misspelt": task.vocabulary.misspelt,
        "labels": task.labels,
        "segmenter": _segmenter(task),
        "limits": limits(task.data),
        "extractor": task.store.extractor,
        "called": task.store.called,
        "region_width": task.region_width,
        "epoch": epoch,
        "metrics": dict(metrics),
        **({} if audit is None else {"leaks": [*audit.leaks], "trained_on": _digest(audit.trained_on)}),
    }
    checkpoint.save(path, state)


def _digest(images: Digest) -> dict[str, Any]:
    """As a checkpoint holds it: a tensor has no need of letters for its bytes."""
    return {**images.as_dict(), "ids": torch.frombuffer(bytearray(images.packed), dtype=torch.uint8)}


def _trained_on(path: Path, state: Mapping[str, Any]) -> Digest | None:
    """The images that a network was trained on; None where its file does not say."""
    kept = state.get("trained_on")
    if kept is None:
        return None
    ids = kept.get("ids") if isinstance(kept, dict) else None
    packed = ids.numpy().tobytes() if isinstance(ids, torch.Tensor) else ids
    return Digest.from_dict({**kept, "ids": packed} if isinstance(kept, dict) else kept, f"checkpoint {path}")


def said(path: Path) -> dict[str, Any]:
    """What the file of a trained network says beside its weights.

    Raises:
        UserError: the file is missing, damaged or no trained network.
    """
    return {key: value for key, value in _held(path, lazily=True).items() if key not in TENSORS}


def trained_for(path: Path) -> str | None:
    """The task that a trained network is for; None where its file does not say.

    Raises:
        UserError: the file is missing, damaged or no trained network.
    """
    name = said(path).get("task")
    return name if isinstance(name, str) else None


def width_of(path: Path) -> int:
    """H, the width of a trained network.

    Raises:
        UserError: the file is missing, damaged or no trained network.
    """
    return said(path)["width"]


def _segmenter(task: Task) -> str | None:
    return getattr(task.data, "segmenter", None)  # a user's own task may have none


def _held(path: Path, lazily: bool = False) -> dict[str, Any]:
    state = checkpoint.load(path, lazily=lazily)
    if not KINDS.keys() <= state.keys():
        raise UserError(f"{path} is no trained network; give the best.pt of a retraining")
    texts = {key: state[key] for key in ("words", "labels") if key in state}
    told = {"limits": int, "extractor": str, "misspelt": str}
    wrong = [key for key, kind in KINDS.items() if not isinstance(state[key], kind)]
    wrong += [key for key, held in texts.items() if not isinstance(held, list) or not all(type(s) is str for s in held)]
    wrong += [key for key, kind in told.items() if not _holds(state.get(key, {}), kind)]
    wrong += [key for key in ("called", "segmenter") if not isinstance(state.get(key), str | None)]
    wrong += [key for key, held in state.items() if key not in TENSORS and not is_plain(held)]
    if wrong:
        raise UserError(f"{path} holds {brief(state[wrong[0]])} as {brief(wrong[0])}; it is damaged, use another one")
    return state


def _holds(held: object, kind: type) -> bool:
    """Whether this is a dict of texts with such values; whole numbers are above 0."""
    return isinstance(held, dict) and all(
        type(key) is str and type(value) is kind and (kind is str or value > 0) for key, value in held.items()
    )


def _settings(path: Path, held: Mapping[str, Any]) -> ModelSettings:
    kinds = get_type_hints(ModelSettings)
    for name, value in held.items():
        if name not in kinds:
            raise UserError(f"{path} has the setting {brief(name)}, which this program does not know; update it")
        try:
            fits = type(value) is bool if kinds[name] is bool else kinds[name](value) == value
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise UserError(f"{path} holds {brief(value)} as the setting {name!r}; it is damaged, use another one")
    return ModelSettings(**held)


def _fits(path: Path, task: Task, genotype: Genotype, settings: ModelSettings, width: int, held: object) -> None:
    """Refuse weights that are not those of the network, before memory is taken for it."""
    state = weights(path, held)
    try:
        with torch.device("meta"):
            build(task, genotype, settings, width).load_state_dict(state, assign=True)
    except (RuntimeError, ValueError, ArithmeticError) as error:
        first = str(error).partition("\n\t")  # torch lists below a heading what does not fit
        said = (first[2] or first[0]).partition("\n")[0]
        raise UserError(f"checkpoint {path} does not fit this task's network: {said}") from error


def check_extractor(path: Path, trained_on: Mapping[str, str], met: Mapping[str, str], what: str) -> None:
    """Refuse features of another extractor than a network was trained on; whoever made them may be unknown.

    Args:
        path: the network's file.
        trained_on: facts of the extractor of its features, or none.
        met: those of the features it meets now.
        what: which these are.

    Raises:
        UserError: both are known, and differ.
    """
    if differ := difference(met, trained_on):
        raise UserError(
            f"{what} are of another extractor than checkpoint {path} was trained on: they differ in {differ}; "
            "make features by the same one"
        )


class Trained(NamedTuple):
    """A network read from a file."""

    model: Model
    genotype: Genotype
    epoch: int  # it was trained for when it was kept
    trained_on: Digest | None  # None where the file does not say
    leaks: list[str]  # breaches of the leak audit that were allowed when it was trained
    extractor: dict[str, str]  # facts of the extractor of the features it was trained on; none where they are unknown
    called: str  # what it was asked for by, as EXTRACTOR, where that is known
    width: int  # H
    limits: dict[str, int]  # the most regions and tokens it was trained with, where they are known


def restore(path: Path, task: Task, genotype: Genotype | None) -> Trained:
    """Read a trained network for a task.

    Args:
        path: a file that ``save`` wrote.
        task: the task to evaluate on; it takes over the network's vocabulary.
        genotype: what the user believes the network is, or None to take the file's word.

    Raises:
        UserError: the file is another thing, of another genotype, or does not fit the data.
    """
    return _trained(path, _held(path), task, genotype)


def restore_alone(path: Path, name: str | None = None) -> tuple[Task, Trained]:
    """Read a trained network with its task, without any data.

    Args:
        path: a file that ``save`` wrote.
        name: the task, where the file does not say or it is the user's own.

    Raises:
        UserError: the file is another thing, or its task is not known.
    """
    state = _held(path)
    name = name or state.get("task")
    if not isinstance(name, str):
        raise UserError(f"checkpoint {path} does not say its task; say TASK=<its task>")
    cls, _ = find_task(name)
    kept = {f"max_{size}": most for size, most in state.get("limits", {}).items()}
    known = {field.name for field in dataclasses.fields(cls.Data)}
    kept |= {"segmenter": state.get("segmenter"), "word_vectors": None}
    data = cls.Data(**{key: value for key, value in kept.items() if key in known})
    task = cls.without_data(data, state["words"], state.get("labels", []), state["region_width"])
    return task, _trained(path, state, task, None)


def _trained(path: Path, state: Mapping[str, Any], task: Task, genotype: Genotype | None) -> Trained:
    if state.get("task", task.name) != task.name:
        raise UserError(
            f"checkpoint {path} was trained for {brief(state['task'])}, not for {task.name}; name its own TASK"
        )
    kept = Genotype.from_dict(state["genotype"])
    if genotype is not None and genotype != kept:
        raise UserError(f"checkpoint {path} is of another genotype than GENO; leave GENO out or give the right one")
    if state["region_width"] != task.region_width:
        raise UserError(
            f"checkpoint {path} was trained on features of width {state['region_width']}, "
            f"the data root has {task.region_width}; name the DATA it was trained on"
        )
    if state.get("segmenter") != _segmenter(task):
        own, other = (str(one or "null") for one in (state.get("segmenter"), _segmenter(task)))
        raise UserError(
            f"checkpoint {path} was trained with data.segmenter={cut(own)}, not {other}; "
            "texts must come apart into the same words, so say it again"
        )
    # A network reads with the words it was trained on, whatever vocabulary other data or settings would give.
    task.vocabulary = Vocabulary(state["words"], state.get("misspelt", {}))
    labels = state.get("labels", task.labels)
    if labels != task.labels:
        raise UserError(
            f"checkpoint {path} knows {len(labels)} answers, the data gives {len(task.labels)} others; "
            "use the annotations and data.answer_min it was trained with"
        )
    extractor = state.get("extractor", {})
    if task.store is not None:
        check_extractor(path, extractor, task.store.extractor, f"the features of {task.data.root}")
    settings = _settings(path, state["settings"])
    _fits(path, task, kept, settings, state["width"], state["model"])
    model = build(task, kept, settings, state["width"])
    model.load_state_dict(state["model"])
    leaks = state.get("leaks")
    leaks = leaks if isinstance(leaks, list) else []
    called, limited = state.get("called", ""), state.get("limits", {})
    digest = _trained_on(path, state)
    return Trained(model, kept, state["epoch"], digest, leaks, extractor, called, state["width"], limited)
