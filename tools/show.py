"""Draw predictions over pictures: ``python -m tools.show --ckpt logs/ckpts/<version>/best.pt``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jsonargparse.typing import NonNegativeInt

from common.errors import UserError, run
from common.numbers import whole
from engine.config import asks_for_help, load_config, peek
from pictures.finding import PICTURES, find_pictures
from retrain.model import restore, trained_for
from tasks.base import Split, Task, eval_mode
from tasks.find import find_task, task_names
from tools.sheet import draw_sheet

Images = whole(1, 100)  # a sheet of more is larger than a PNG is drawn


@dataclass
class ShowOptions:
    """Options of a figure of predictions.

    Args:
        ckpt: the trained network, the best.pt of a retraining.
        split: the split whose samples are shown.
        count: number of images.
        seed: which images are shown.
        pictures: folder of pictures, called like the feature files or with the same number at the end; by default
            images/ of the data root. Where there is no picture, regions stand on an empty canvas.
        out: folder of the figure.
    """

    ckpt: str | None = None
    split: str = "val"
    count: Images = 6
    seed: NonNegativeInt = 0
    pictures: str | None = None
    out: str = "logs/show"


def choose(split: Split, count: int, seed: int) -> np.ndarray:
    """A sample each of so many images, drawn at random."""
    order = np.random.default_rng(seed).permutation(len(split))
    _, first = np.unique(split.image_ids[order], return_index=True)
    return order[np.sort(first)[:count]]


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line, let the network answer, draw."""
    named = peek(argv, "ckpt")
    if named is None and not asks_for_help(argv):
        raise UserError("nothing to show without CKPT=<the best.pt of a retraining>")
    task_of = trained_for(Path(named)) if named and not peek(argv, "task") else None
    config = load_config(
        "tools.show", argv, find=find_task, usual=task_names()[0], top=ShowOptions, sections={}, task=task_of
    )
    options: ShowOptions = config.top
    task: Task = config.task(config.data)
    ckpt = Path(options.ckpt)
    trained = restore(ckpt, task, None)
    model = trained.model
    split = task.split(options.split)
    with eval_mode(model):
        shown = task.showcase(model, split, choose(split, options.count, options.seed))
    folder = Path(options.pictures or Path(config.data.root) / PICTURES)
    ids = [one.image for one in shown]
    stems = dict(zip(ids, task.features(options.split).stems(ids), strict=True))
    pictures = find_pictures(folder, stems) if options.pictures or folder.is_dir() else {}
    path = draw_sheet(shown, pictures, Path(options.out) / f"{ckpt.resolve().parent.name}-{options.split}.png")
    missing = sum(image not in pictures for image in ids)
    if missing:
        print(f"note: {missing} of {len(ids)} pictures are not under {folder}; name their folder as PICTURES")
    print(f"figure  {path}")
    features = "" if trained.extractor else " FEATURES=<the npz of the picture>"
    asked = f"PICTURE=<a picture> TEXT=<a text>{features}"
    print(f"next: make predict CKPT={shlex.quote(str(ckpt))} {asked} asks it about others")


if __name__ == "__main__":
    run(main)
