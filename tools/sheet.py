"""A sheet of images with regions, boxes and words beside each other, as a PNG. All lengths are inches."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Stroke, withStroke

from common.errors import UserError
from common.files import atomic_write
from outcome.samples import Box, Line, Prediction
from pictures.reading import read_picture
from tools.lettering import Lettering, plain, without_font_warnings

# Paul Tol's "vibrant" colours, told apart with every common colour blindness: https://personal.sron.nl/~pault/
PREDICTED, TRUE, WEIGHED, RIGHT, WRONG = "#EE7733", "#0077BB", "#111111", "#007A5E", "#CC3311"
INK, GREY, CANVAS = "#222222", "#777777", "#F2F2F2"
DPI, COLUMNS = 200, 3
COLUMN, GAP, MARGIN, TALLEST = 2.9, 0.28, 0.15, 3.2
PITCH, SPACE, LEGEND = 0.165, 0.06, 0.3  # from line to line, between image and words, the legend's height
INDENT, BESIDE = 0.17, 0.1  # of what was said, for its mark; between it and its note
TEXT_SIZE, LINE_SIZE = 8.5, 7.5  # points
SHARP = round(2 * COLUMN * DPI)  # pixels of a picture's longer side; more nobody sees
MOST_WEIGHED = 3  # regions that stand out, those that count a fair share of the most weighed one
FAIR_SHARE = 0.1


class Row(NamedTuple):
    """A line of words as it stands on the sheet."""

    text: str
    mark: str = ""
    note: str = ""
    colour: str = INK
    heading: bool = False


def draw_sheet(shown: Sequence[Prediction], pictures: Mapping[int, Path], path: Path) -> Path:
    """Draw a sheet.

    Args:
        shown: what to draw, in reading order.
        pictures: by image id; an image without one is an empty canvas of its size.
        path: the PNG to write.

    Returns:
        ``path``.

    Raises:
        UserError: there is nothing to draw, a picture is damaged, or the file cannot be written.
    """
    if not shown:
        raise UserError("there is no image to show")
    columns = min(COLUMNS, len(shown))
    rows = [shown[start : start + columns] for start in range(0, len(shown), columns)]
    lettering = Lettering((text for one in shown for text in _texts(one)), DPI)
    words = [[_rows(one, lettering) for one in row] for row in rows]
    heights = [_image_height(row) + SPACE + PITCH * max(map(len, own)) for row, own in zip(rows, words, strict=True)]
    width = 2 * MARGIN + columns * COLUMN + (columns - 1) * GAP
    score = _a_score(shown)
    height = 2 * MARGIN + sum(heights) + (len(rows) - 1) * GAP + LEGEND + (0.0 if score is None else PITCH)
    figure = Figure((width, height), dpi=DPI, facecolor="white")
    write = partial(figure.text, family=lettering.families, va="baseline", parse_math=False)
    top = height - MARGIN
    for row, own, used in zip(rows, words, heights, strict=True):
        tall = _image_height(row)
        for number, (one, lines) in enumerate(zip(row, own, strict=True)):
            left = MARGIN + number * (COLUMN + GAP)
            _cell(figure, write, one, lines, pictures.get(one.image), left, top, tall)
        top -= used + GAP
    _legend(figure, {box.role for one in shown for box in one.boxes}, score)
    with atomic_write(path, "wb") as file, without_font_warnings():
        figure.savefig(file, format="png")
    if note := lettering.note():
        print(f"note: {note}")
    return path


def _image_height(row: Sequence[Prediction]) -> float:
    return min(TALLEST, max(COLUMN * one.hw[0] / one.hw[1] for one in row))


def _texts(shown: Prediction) -> Iterator[str]:
    yield shown.text
    for line in shown.lines:
        yield from (line.text, line.note)


def _a_score(shown: Sequence[Prediction]) -> str | None:
    """A note that is a bare number, if there is one; a note in words speaks for itself."""
    notes = (line.note for one in shown for line in one.lines)
    return next((note for note in notes if re.fullmatch(r"[01]\.\d+", note)), None)


def _rows(shown: Prediction, lettering: Lettering) -> list[Row]:
    heading = lettering.wrap(shown.text, COLUMN, TEXT_SIZE, "bold") if shown.text else []
    said = [row for line in shown.lines for row in _line_rows(line, lettering)]
    return [Row(part, heading=True) for part in heading] + said


def _line_rows(line: Line, lettering: Lettering) -> list[Row]:
    mark, colour = {True: ("✓", RIGHT), False: ("✗", WRONG), None: ("", GREY)}[line.right]
    note = plain(line.note)
    taken = INDENT + (BESIDE + lettering.width(note, LINE_SIZE) if note else 0.0)
    first, *others = lettering.wrap(line.text, max(COLUMN - taken, COLUMN / 3), LINE_SIZE)
    return [Row(first, mark, note, colour), *(Row(part, colour=colour) for part in others)]


def _cell(
    figure: Figure,
    write: Callable[..., object],
    shown: Prediction,
    words: Sequence[Row],
    picture: Path | None,
    left: float,
    top: float,
    tall: float,
) -> None:
    """One image with its words below; ``tall`` is the height that images of its row have."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, (top - tall) / height, COLUMN / width, tall / height))
    _image(axes, shown, picture)
    for number, row in enumerate(words):
        y = (top - tall - SPACE - PITCH * (number + 0.7)) / height
        size, weight = (TEXT_SIZE, "bold") if row.heading else (LINE_SIZE, "normal")
        indent = 0.0 if row.heading else INDENT
        write((left + indent) / width, y, row.text, size=size, weight=weight, color=INK)
        write(left / width, y, row.mark, size=size, color=row.colour, weight="bold")
        write((left + COLUMN) / width, y, row.note, size=size, color=GREY, ha="right")


def _image(axes: Axes, shown: Prediction, picture: Path | None) -> None:
    height, width = shown.hw
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[], anchor="SW", aspect="equal", facecolor=CANVAS)
    for spine in axes.spines.values():
        spine.set(linewidth=0.4, color="#BBBBBB")
    if picture is not None:
        axes.imshow(read_picture(picture, SHARP).image, extent=(0, width, height, 0), interpolation="lanczos")
    least = min(sorted((box.weight for box in shown.boxes), reverse=True)[:MOST_WEIGHED], default=1.0)
    for box in sorted(shown.boxes, key=lambda box: (box.role != "region", box.weight)):
        axes.add_patch(_outline(box, box.weight >= max(least, FAIR_SHARE)))


def _outline(box: Box, stands_out: bool) -> Rectangle:
    """A region as a hairline, or thicker by its weight where it stands out; an answer as a line with a white rim."""
    x1, y1, x2, y2 = box.xyxy
    looks = {"fill": False, "joinstyle": "miter"}
    if box.role != "region":
        colour, style = (PREDICTED, "solid") if box.role == "predicted" else (TRUE, (0, (4, 2)))
        rim = withStroke(linewidth=3.0, foreground="white", alpha=0.8)
        looks |= {"edgecolor": colour, "linewidth": 1.7, "linestyle": style, "path_effects": [rim]}
    elif stands_out:
        looks |= {"edgecolor": WEIGHED, "linewidth": 0.5 + 0.9 * box.weight}
        looks["path_effects"] = [withStroke(linewidth=1.7 + 0.9 * box.weight, foreground="white", alpha=0.7)]
    else:
        looks |= {"edgecolor": "white", "linewidth": 0.4, "alpha": 0.75}
        looks["path_effects"] = [Stroke(linewidth=0.8, foreground="black", alpha=0.35), Stroke()]
    return Rectangle((x1, y1), x2 - x1, y2 - y1, **looks)


def _legend(figure: Figure, roles: set[str], score: str | None) -> None:
    regions = [("region", GREY, 0.6, "solid"), ("region weighed most", WEIGHED, 1.4, "solid")]
    entries = regions if "region" in roles else []
    entries += [("predicted box", PREDICTED, 1.7, "solid")] if "predicted" in roles else []
    entries += [("true box", TRUE, 1.7, (0, (4, 2)))] if "true" in roles else []
    handles = [Line2D([], [], color=c, linewidth=w, linestyle=style, label=name) for name, c, w, style in entries]
    width, height = figure.get_size_inches()
    if score is not None:
        meaning = f"{score}: score of an answer, from 0 to 1"
        figure.text(MARGIN / width, 0.5 * MARGIN / height, meaning, size=LINE_SIZE, color=GREY, va="bottom")
    if not handles:
        return
    figure.legend(
        handles=handles,
        ncols=math.ceil(len(handles) / (2 if width < 2 * COLUMN else 1)),
        loc="lower left",
        bbox_to_anchor=(MARGIN / width, (0.5 * MARGIN + (0.0 if score is None else PITCH)) / height),
        borderpad=0,
        borderaxespad=0,
        frameon=False,
        fontsize=LINE_SIZE,
        labelcolor=GREY,
        handlelength=1.8,
        columnspacing=1.6,
    )
