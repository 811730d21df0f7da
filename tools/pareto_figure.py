"""The figure of scores against costs: a dot a network, the Pareto front as a stair, names where there is room."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from common.files import atomic_write

FRONT, OTHERS, INK = "#c1272d", "#6b6b6b", "#222222"
INCHES = (8.0, 5.0)
AWAY = 7  # points from a dot to its name
# Where a name may stand, the best place first, its offset in units of AWAY and what of it is aligned there: nothing is
# above the front and to its left.
PLACES = (
    *((-0.7, 0.7, "right", "bottom"), (0, 1, "center", "bottom"), (1, 0, "left", "center"), (-1, 0, "right", "center")),
    *((0.7, -0.7, "left", "top"), (0, -1, "center", "top"), (0.7, 0.7, "left", "bottom"), (-0.7, -0.7, "right", "top")),
)
NAMED = 20  # networks; of more only the front is named
SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
UNITS = {"flops": "FLOPs", "parameters": " parameters"}


class Spot(Protocol):
    """What is drawn of a network."""

    name: str
    cost: float
    score: float


def draw(points: Sequence[Spot], front: Sequence[Spot], cost: str, score: str, path: Path) -> Path:
    """Draw the figure as SVG; the same points give the same file.

    Args:
        points: all networks.
        front: those of them that nobody beats, cheapest first.
        cost: what is counted, ``flops`` or ``parameters``.
        score: what is scored, for the axis.
        path: the file.

    Raises:
        UserError: the file cannot be written.
    """
    scale, letter = next(one for one in SCALES if max(point.cost for point in points) >= one[0] or one[0] == 1)
    others = [one for one in points if one not in front]
    with matplotlib.rc_context({"svg.hashsalt": score, "font.size": 12, "svg.fonttype": "path"}):
        figure = Figure(INCHES, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)  # which can measure texts
        axes = figure.add_subplot()
        _dots(axes, others, OTHERS, scale)
        axes.step(*_columns(front, scale), where="post", color=FRONT, linewidth=1.4, alpha=0.6)
        _dots(axes, front, FRONT, scale)
        axes.margins(0.22, 0.12)  # wide, so that names have room
        axes.set_xlabel(f"{letter}{UNITS[cost]} of the backbone; a dot is a network, red ones no other beats".lstrip())
        axes.set_ylabel(score)
        axes.grid(color="#dddddd", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        figure.draw_without_rendering()
        taken = [*_squares(axes, points, scale), *_stair(axes, front, scale)]
        for one in (*front, *(others if len(points) <= NAMED else ())):
            _name(axes, one, scale, INK if one in front else OTHERS, taken)
        with atomic_write(path, "wb") as file:
            figure.savefig(file, format="svg", metadata={"Date": None})
    return path


def _columns(points: Sequence[Spot], scale: float) -> tuple[list[float], list[float]]:
    return [one.cost / scale for one in points], [one.score for one in points]


def _dots(axes: Axes, points: Sequence[Spot], colour: str, scale: float) -> None:
    axes.plot(*_columns(points, scale), "o", color=colour, alpha=0.75, markersize=7, markeredgewidth=0)


def _squares(axes: Axes, points: Sequence[Spot], scale: float) -> list[Bbox]:
    """Where the dots are, in pixels."""
    radius = AWAY * axes.figure.dpi / 72 / 2
    centres = [axes.transData.transform((one.cost / scale, one.score)) for one in points]
    return [Bbox.from_extents(x - radius, y - radius, x + radius, y + radius) for x, y in centres]


def _stair(axes: Axes, front: Sequence[Spot], scale: float) -> list[Bbox]:
    """Where the stair goes, in pixels: on to the next cost, then up to the next score."""
    corners = [axes.transData.transform((one.cost / scale, one.score)) for one in front]
    steps = [((x, y, ahead, y), (ahead, y, ahead, above)) for (x, y), (ahead, above) in pairwise(corners)]
    return [Bbox.from_extents(x0 - 1, y0 - 1, x1 + 1, y1 + 1) for step in steps for x0, y0, x1, y1 in step]


def _name(axes: Axes, one: Spot, scale: float, colour: str, taken: list[Bbox]) -> None:
    """Name a point at the first place where its name covers nothing, which is then taken; where there is none, not."""
    frame = axes.get_window_extent()
    for right, up, horizontal, vertical in PLACES:
        text = axes.annotate(
            one.name,
            (one.cost / scale, one.score),
            xytext=(right * AWAY, up * AWAY),
            textcoords="offset points",
            ha=horizontal,
            va=vertical,
            color=colour,
            fontsize=9,
        )
        box = text.get_window_extent()
        inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
        if inside and not any(box.overlaps(other) for other in taken):
            taken.append(box)
            return
        text.remove()
