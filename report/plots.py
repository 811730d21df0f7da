"""Plots of a trained network's splits as inline SVG: calibration, curves with a moved bar, samples over pictures"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from common.errors import UserError
from outcome.details import Bin, Details, Shown
from outcome.samples import Box, Curve
from pictures.reading import read_picture
from report.charts import (
    BOTTOM,
    COLOURS,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Range,
    along,
    grid,
    length,
    number,
    short,
    svg,
    tag,
)

LONGEST, QUALITY = 256, 55  # pixels of a picture's longer side, and of its JPEG
FAINTEST = 0.25  # of a region that weighs nothing
ROOM = 600_000  # characters of all pictures of a page
PERCENT = Range(0, 100, (0, 25, 50, 75, 100))


def calibration(bins: Sequence[Bin]) -> Markup:
    """How often the network was right by how sure it was; on the dashed line it would be as right as sure."""
    parts = [grid(PERCENT), _along(PERCENT, "certainty, percent")]
    low, high = (_place(PERCENT, value, value, PERCENT) for value in (0, 100))
    parts.append(tag("line", "as right as sure", x1=low[0], y1=low[1], x2=high[0], y2=high[1], class_="reference"))
    most, marks = max(one.count for one in bins), []
    for one in bins:
        x, y = _place(PERCENT, one.certainty, one.score, PERCENT)
        said = (
            f"{one.count} samples of certainty {number(one.certainty)}: {number(one.score)} right "
            f"({number(one.low)} to {number(one.high)})"
        )
        ends = [_place(PERCENT, one.certainty, value, PERCENT)[1] for value in (one.low, one.high)]
        marks.append(tag("line", said, x1=x, x2=x, y1=ends[0], y2=ends[1], class_="whisker"))
        marks.append(tag("circle", said, cx=x, cy=y, r=2 + 4 * (one.count / most) ** 0.5))
    parts.append(Markup('<g class="s0 dots">{}</g>').format(Markup("").join(marks)))
    ends = "; ".join(f"{number(one.certainty)} sure, {number(one.score)} right" for one in bins)
    return svg(f"calibration: {ends}", WIDTH, HEIGHT, parts)


def curve(drawn: Curve) -> Markup:
    """Percent that is right as the bar is moved, a line for whoever answers."""
    x = Range(drawn.at[0], drawn.at[-1], tuple(drawn.at[n] for n in _few(len(drawn.at))))
    parts = [grid(PERCENT), _along(x, drawn.along)]
    for place, (name, values) in enumerate(drawn.lines.items()):
        points = [_place(x, one, value, PERCENT) for one, value in zip(drawn.at, values, strict=True)]
        marks = Markup("").join(
            tag("circle", f"{name}, {drawn.along} {short(one)}: {number(value)}", cx=a, cy=b, r=1.6)
            for (a, b), one, value in zip(points, drawn.at, values, strict=True)
        )
        line = " ".join(f"{length(a)},{length(b)}" for a, b in points)
        parts.append(Markup('<g class="s{}"><polyline points="{}"/>{}</g>').format(place % COLOURS, line, marks))
    ends = "; ".join(f"{name} {number(v[0])} to {number(v[-1])}" for name, v in drawn.lines.items())
    return svg(f"{drawn.what}: {ends}", WIDTH, HEIGHT, parts)


def _few(count: int) -> list[int]:
    step = max(1, round(count / 5))
    return [0, *(place for place in range(step - (count > 20), count, step) if place)]


def _place(x: Range, along: float, up: float, y: Range) -> tuple[float, float]:
    return x.at(along, LEFT, WIDTH - RIGHT), y.at(up, HEIGHT - BOTTOM, TOP)


def _along(x: Range, name: str) -> Markup:
    return along(((x.at(one, LEFT, WIDTH - RIGHT), short(one)) for one in x.ticks), name)


class Album:
    """The pictures of a page, as small JPEGs; once they fill their room, samples stand on empty canvases.

    Args:
        room: characters that are left.
    """

    def __init__(self, room: int = ROOM) -> None:
        self.room = room
        self.missing = 0  # samples without a picture

    def sample(self, shown: Shown) -> Markup:
        """A sample's boxes over its picture."""
        height, width = shown.prediction.hw
        parts = []
        if source := self._source(shown.picture):
            parts.append(
                Markup('<image href="{}" width="{}" height="{}" preserveAspectRatio="none"/>').format(
                    source, length(width), length(height)
                )
            )
        else:
            self.missing += 1
        boxes = sorted(shown.prediction.boxes, key=lambda box: (box.role != "region", box.weight))
        parts += [_outline(box) for box in boxes]
        said = f"image {shown.prediction.image}: {shown.prediction.text}"
        return svg(said, width, height, parts, "sample")

    def _source(self, picture: str | None) -> str | None:
        if picture is None:
            return None
        try:
            file = io.BytesIO()
            read_picture(Path(picture), LONGEST).image.save(file, "JPEG", quality=QUALITY, optimize=True)
        except UserError:  # it may have gone since
            return None
        source = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
        if len(source) > self.room:
            return None
        self.room -= len(source)
        return source


def _outline(box: Box) -> Markup:
    x1, y1, x2, y2 = box.xyxy
    said = f"region, weight {box.weight:.2f}" if box.role == "region" else f"{box.role} box"
    kind = box.role if box.role in ("predicted", "true") else "region"
    faint = {"opacity": FAINTEST + (1 - FAINTEST) * min(1.0, box.weight)} if kind == "region" else {}
    return tag("rect", said, x=x1, y=y1, width=max(0.0, x2 - x1), height=max(0.0, y2 - y1), class_=kind, **faint)


def roles(found: Sequence[Details]) -> set[str]:
    """What boxes there are."""
    return {box.role for details in found for one in (*details.best, *details.worst) for box in one.prediction.boxes}
