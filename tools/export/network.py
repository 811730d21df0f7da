"""A trained network out of its file alone: no data root is needed, for the file says what the network is built of."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from torch import nn

from common.errors import UserError, brief
from readers.words import Vocabulary
from retrain.model import restore, said
from space.network import Model
from space.settings import ModelSettings
from tasks.find import find_task
from tools.export.answers import ANSWERS, Answers


class Exported(NamedTuple):
    """What is exported."""

    model: Model  # in eval mode, on the CPU
    task: str
    title: str  # of the task, for people
    answers: Answers
    said: dict[str, Any]  # by the file beside its weights


class _Frame:
    """As much of a task as a network is built of, where the task's data are not at hand."""

    def __init__(self, name: str, answers: Answers, facts: dict[str, Any]) -> None:
        self.name, self.answers = name, answers
        self.labels, self.region_width = facts.get("labels", []), facts["region_width"]
        self.vocabulary = Vocabulary(facts["words"])
        self.data = SimpleNamespace(segmenter=facts.get("segmenter"))

    @property
    def words(self) -> list[str]:
        return self.vocabulary.words

    def check_model(self, settings: ModelSettings) -> None:
        pass

    def head(self, width: int, pool_hidden: int, dropout: float) -> nn.Module:
        return self.answers.head(len(self.labels), width, pool_hidden, dropout)


def read(path: Path) -> Exported:
    """Read a trained network.

    Raises:
        UserError: the file is missing, damaged, no trained network, or of a task whose answers nobody wrote down.
    """
    facts = said(path)
    name = facts.get("task")
    if not isinstance(name, str):
        raise UserError(f"{path} does not say which task it is for ({brief(name)}); train it anew with make retrain")
    cls, _ = find_task(name)  # a module of the user's own may bring operations, and an entry of ANSWERS
    if name not in ANSWERS:
        raise UserError(
            f"{path} is of the task {name}, whose outputs make export does not know; its module can give it an entry "
            "in ANSWERS of tools/export/answers.py"
        )
    frame = _Frame(name, ANSWERS[name], facts)
    trained = restore(path, frame, None)
    return Exported(trained.model.eval(), name, cls.title, ANSWERS[name], facts)
