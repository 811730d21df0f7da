"""A trained network's split in detail, for its report: what follows from every sample, and the best and the worst"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.sharing import alone
from outcome.details import Details, Shown, details, extremes, with_shown
from outcome.samples import Prediction
from pictures.finding import PICTURES, find_pictures
from space.network import Model
from tasks.base import Evaluation, Split, Task

MOST_REGIONS = 3  # of a sample that are kept, the heaviest


def in_detail(task: Task, model: Model, name: str, split: Split, found: Evaluation) -> Details | None:
    """A split in detail; None where its task does not tell samples apart.

    Of several processes only the first one comes here, so nothing is shared with the others: it would wait for them in
    vain.

    Args:
        task: whose split.
        model: in eval mode, and without gradients.
        name: of the split.
        split: it.
        found: what scoring it gave.
    """
    if found.samples is None:
        return None
    with alone():
        scored = found.samples()
        best, worst = extremes(scored)
        showcase = found.showcase or partial(task.showcase, model, split)
        try:
            shown = showcase(np.concatenate([best, worst])) if len(best) else []
        except UserError:  # a task of the user's own that has nothing to draw
            return details(name, scored)
    pictures = _pictures(task, name, [one.image for one in shown])
    drawn = [Shown(pictures.get(one.image), _lighter(one)) for one in shown]
    return with_shown(details(name, scored), drawn[: len(best)], drawn[len(best) :])


def _pictures(task: Task, name: str, images: Sequence[int]) -> dict[int, str]:
    folder = Path(task.data.root) / PICTURES
    if not folder.is_dir():
        return {}
    stems = dict(zip(images, task.features(name).stems(images), strict=True))
    return {image: str(path.resolve()) for image, path in find_pictures(folder, stems).items()}


def _lighter(shown: Prediction) -> Prediction:
    """With as few regions and digits as are drawn."""
    regions = [box for box in shown.boxes if box.role == "region"]
    kept = sorted(regions, key=lambda box: -box.weight)[:MOST_REGIONS]
    boxes = [*kept, *(box for box in shown.boxes if box.role != "region")]
    small = [
        box._replace(xyxy=tuple(round(float(x), 1) for x in box.xyxy), weight=round(box.weight, 3)) for box in boxes
    ]
    return shown._replace(boxes=small, lines=list(shown.lines), answers=())
