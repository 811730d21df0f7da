"""What a network said, told: as plain records for JSON, as lines for people, and as the cells of a sheet"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from outcome.samples import Box, Line, Prediction
from predict.predictor import Predictions, Said, ranked

SHOWN = 3  # texts below a picture of a sheet
MOST_LISTED = 10  # of a ranking, for people


def as_record(shown: Prediction) -> dict[str, Any]:
    """Answers, box or score of one picture and one text, and the regions that were weighed; boxes in pixels."""
    regions = [_box(box, weight=round(box.weight, 4)) for box in shown.boxes if box.role == "region"]
    predicted = next((_box(box) for box in shown.boxes if box.role == "predicted"), {})
    answers = [{"answer": one.text, "probability": round(one.probability, 4)} for one in shown.answers]
    return {
        **({"answers": answers} if answers else {}),
        **predicted,
        **({} if shown.score is None else {"score": round(shown.score, 4)}),
        "size": [round(side) for side in reversed(shown.hw)],  # width and height
        "regions": regions,
    }


def _box(box: Box, **more: float) -> dict[str, Any]:
    known = {} if box.probability is None else {"probability": round(box.probability, 4)}
    return {"box": [round(x, 2) for x in box.xyxy], **more, **known}


def as_records(found: Predictions, names: Sequence[str]) -> dict[str, Any]:
    """Everything, ready for JSON; ``names`` are those of the pictures."""
    told: dict[str, Any] = {
        "predictions": [
            {
                "picture": names[one.picture],
                "text": one.shown.text,
                "unknown_words": found.readings[one.text].unknown,
                **as_record(one.shown),
            }
            for one in found.said
        ],
        "refused": {names[place]: why for place, why in found.refused.items()},
    }
    if _scored(found):
        told["texts_of_pictures"] = [
            {"picture": names[place], "texts": [{"text": o.shown.text, "score": round(o.shown.score, 4)} for o in own]}
            for place, own in ranked(found.said, "picture").items()
        ]
        told["pictures_of_texts"] = [
            {
                "text": own[0].shown.text,
                "pictures": [{"picture": names[o.picture], "score": round(o.shown.score, 4)} for o in own],
            }
            for own in ranked(found.said, "text").values()
        ]
    return told


def blocks(found: Predictions, names: Sequence[str]) -> Iterator[str]:
    """For people: a few lines for every picture with a text, or for every ranking."""
    if not _scored(found):
        yield from (f"{names[one.picture]}  {one.shown.text}\n    {_said(one.shown)}" for one in found.said)
        return
    by_picture, by_text = ranked(found.said, "picture"), ranked(found.said, "text")
    if not _single(by_picture.values()) or _single(by_text.values()):
        yield from (_ranking(names[place], [o.shown.text for o in own], own) for place, own in by_picture.items())
    if not _single(by_text.values()):
        yield from (_ranking(own[0].shown.text, [names[o.picture] for o in own], own) for own in by_text.values())


def cells(found: Predictions, names: Sequence[str]) -> list[Prediction]:
    """For a sheet: a cell a prediction; of scores the best texts of every picture, or a text's pictures in order."""
    if not _scored(found):
        return [one.shown for one in found.said]
    by_picture = ranked(found.said, "picture")
    if not _single(by_picture.values()):
        return [
            own[0].shown._replace(text=names[place], lines=[_line(o.shown.text, o) for o in own[:SHOWN]])
            for place, own in by_picture.items()
        ]
    return [
        one.shown._replace(lines=[_line(f"{place} of {len(own)}", one)])
        for own in ranked(found.said, "text").values()
        for place, one in enumerate(own, 1)
    ]


def _scored(found: Predictions) -> bool:
    return any(one.shown.score is not None for one in found.said)


def _single(rankings: Any) -> bool:
    return all(len(own) == 1 for own in rankings)


def _said(shown: Prediction) -> str:
    boxes = (" ".join(f"{x:.0f}" for x in box.xyxy) for box in shown.boxes if box.role == "predicted")
    return "   ".join([*(f"box {box}" for box in boxes), *(f"{line.text} {line.note}".strip() for line in shown.lines)])


def _line(text: str, one: Said) -> Line:
    return Line(text, None, f"{one.shown.score:+.2f}")


def _ranking(title: str, entries: Sequence[str], own: Sequence[Said]) -> str:
    pairs = enumerate(zip(entries, own, strict=True), 1)
    listed = [f"    {number:>2}  {one.shown.score:+.2f}  {entry}" for number, (entry, one) in pairs]
    more = [f"    ... and {len(listed) - MOST_LISTED} more"] if len(listed) > MOST_LISTED else []
    return "\n".join([title, *listed[:MOST_LISTED], *more])
