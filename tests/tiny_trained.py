"""A network that was never trained, in a file as a training leaves it, with features of the tiny extractor."""

from __future__ import annotations

from pathlib import Path

import torch
from tiny_pictures import Quarters

from genotypes.genotype import Genotype
from retrain.model import build, save
from space.settings import ModelSettings
from tasks.base import Task
from tasks.find import find_task

CPU = torch.device("cpu")
GENOTYPE = Genotype(None, ("self_att_64",), ("rel_self_att_64", "guided_att_64"))
SETTINGS = ModelSettings(word_width=8, pool_hidden=8)
OWN = "tiny_pictures:Quarters"
WORDS = ["what", "is", "red", "it", "blue", "or", "where", "does", "a"]
LABELS = ["yes", "no", "red", "blue"]


class Origin:
    """What a task knows of features that an extractor made."""

    def __init__(self, called: str = OWN, facts: dict[str, str] | None = None) -> None:
        self.called, self.extractor = called, Quarters(CPU).facts() if facts is None else facts


def trained(name: str, folder: Path, origin: Origin | None = None) -> tuple[Path, Task]:
    """A network of a task, which was never trained, in a file."""
    cls, _ = find_task(name)
    data = cls.Data(word_vectors=None, max_regions=3)
    task = cls.without_data(data, ["PAD", "UNK", "CLS", *WORDS], LABELS if name == "vqa" else [], 3)
    task.store = origin or Origin()
    return write(task, folder), task


def write(task: Task, folder: Path) -> Path:
    """A network of random weights for a task."""
    torch.manual_seed(0)
    path = folder / "run" / "best.pt"
    save(path, build(task, GENOTYPE, SETTINGS, 64), task, GENOTYPE, SETTINGS, 64, 1, {})
    return path
