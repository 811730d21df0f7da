"""Draw predictions over pictures: ``python -m tools.show --task vqa --ckpt logs/ckpts/<version>/best.pt``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jsonargparse.typing import NonNegativeInt, PositiveInt

from common.errors import UserError, run
from engine.config import load_config
from readers.features import number_in
from retrain.model import restore
from tasks.base import Split, Task, eval_mode
from tasks.find import find_task
from tools.sheet import draw_sheet

PICTURES = "images"  # where the built-in data has its pictures, below the data root
ENDINGS = {".jpg", ".jpeg", ".png"}


@dataclass
class ShowOptions:
    """Options of a figure of predictions.

    Args:
        ckpt: the trained network, the best.pt of a retraining.
        split: the split whose samples are shown.
        count: number of images.
        seed: which images are shown.
        pictures: folder of pictures, found by the last run of digits in their names; by default images/ of the data
            root. Where there is no picture, regions stand on an empty canvas.
        out: folder of the figure.
    """

    ckpt: str | None = None
    split: str = "val"
    count: PositiveInt = 6
    seed: NonNegativeInt = 0
    pictures: str | None = None
    out: str = "logs/show"


def choose(split: Split, count: int, seed: int) -> np.ndarray:
    """A sample each of so many images, drawn at random."""
    order = np.random.default_rng(seed).permutation(len(split))
    _, first = np.unique(split.image_ids[order], return_index=True)
    return order[np.sort(first)[:count]]


def find_pictures(folder: Path, wanted: Sequence[int]) -> dict[int, Path]:
    """The picture of each wanted image that a folder, or one below it, has.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"the folder of pictures {folder} does not exist; name another with --pictures")
    found: dict[int, Path] = {}
    for path in folder.rglob("*"):
        if path.suffix.lower() in ENDINGS and any(c.isdecimal() for c in path.stem):
            image = number_in(path.name)
            if image in wanted:
                found[image] = path
                if len(found) == len(set(wanted)):
                    break
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line, let the network answer, draw."""
    config = load_config("tools.show", argv, find=find_task, top=ShowOptions, sections={})
    options: ShowOptions = config.top
    if options.ckpt is None:
        raise UserError("nothing to show without CKPT=<the best.pt of a retraining>")
    task: Task = config.task(config.data)
    ckpt = Path(options.ckpt)
    model = restore(ckpt, task, None).model
    split = task.split(options.split)
    with eval_mode(model):
        shown = task.showcase(model, split, choose(split, options.count, options.seed))
    folder = Path(options.pictures or Path(config.data.root) / PICTURES)
    ids = [one.image for one in shown]
    pictures = find_pictures(folder, ids) if options.pictures or folder.is_dir() else {}
    path = draw_sheet(shown, pictures, Path(options.out) / f"{ckpt.resolve().parent.name}-{options.split}.png")
    missing = sum(image not in pictures for image in ids)
    if missing:
        print(f"note: {missing} of {len(ids)} pictures are not under {folder}; name their folder with --pictures")
    print(f"figure  {path}")


if __name__ == "__main__":
    run(main)
