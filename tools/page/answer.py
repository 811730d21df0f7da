"""What the network says to what the page asks, as JSON that the page shows"""

from __future__ import annotations

from typing import Any

from common.errors import UserError
from predict.predictor import Predictions, Predictor, ranked
from predict.told import as_record
from tools.page.asked import Asked


def answer(predictor: Predictor, asked: Asked) -> dict[str, Any]:
    """Ask the network.

    Returns:
        ``predictions``: what is said of every picture and text, with their places in what was asked;
        ``rankings``: where that are scores, places of predictions, the best first, a list for every picture, or one
        for a single text; ``refused``: by place, why there is nothing about a picture; ``readings``: of each text the
        words that it does not know, and those that it does not read.

    Raises:
        UserError: a text has no words, or no picture can be used.
    """
    found = predictor.predict(asked.pictures, asked.texts)
    if not found.said:
        raise UserError(next(iter(found.refused.values())))
    return {
        "predictions": [{"picture": one.picture, "text": one.text, **as_record(one.shown)} for one in found.said],
        "rankings": _rankings(found, len(asked.texts)),
        "refused": found.refused,
        "readings": [{"unknown": one.unknown, "read": len(one.words), "unread": one.unread} for one in found.readings],
    }


def _rankings(found: Predictions, texts: int) -> list[list[int]]:
    if any(one.shown.score is None for one in found.said):
        return []
    places = {(one.picture, one.text): place for place, one in enumerate(found.said)}
    groups = ranked(found.said, "text" if texts == 1 else "picture")
    return [[places[one.picture, one.text] for one in own] for own in groups.values()]
