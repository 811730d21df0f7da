"""The figure of a study: every network's score as a dot, by group, with means and intervals."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.files import atomic_write
from evidence.results import Evidence, Group
from evidence.study import RANDOM, SEARCHED

COLOURS = {SEARCHED: "#c1272d", RANDOM: "#1f5fa8"}
OTHERS, INK = "#6b6b6b", "#222222"
INCHES = (8.0, 0.55, 1.2)  # width, height of a group, height of the rest
SPREAD = 0.22  # of dots across a row, in rows


def draw(evidence: Evidence, path: Path) -> Path:
    """Draw the figure as SVG; the same evidence gives the same file.

    Raises:
        UserError: the file cannot be written.
    """
    width, row, rest = INCHES
    with matplotlib.rc_context({"svg.hashsalt": evidence.task, "font.size": 12, "svg.fonttype": "path"}):
        figure = Figure((width, rest + row * len(evidence.groups)), layout="constrained", facecolor="white")
        axes = figure.add_subplot()
        for place, group in enumerate(evidence.groups):
            _row(axes, place, group)
        _lines(axes, evidence)
        with atomic_write(path, "wb") as file:
            figure.savefig(file, format="svg", metadata={"Date": None})
    return path


def _row(axes: Axes, place: int, group: Group) -> None:
    colour = COLOURS.get(group.name, OTHERS)
    scores = np.array([np.mean(network.scores) for network in group.networks])
    # Neighbours in score stand apart, whatever order they were trained in.
    around = np.resize([0.0, 1.0, -1.0, 0.5, -0.5], len(scores)) * SPREAD
    axes.plot(np.sort(scores), place + around, "o", color=colour, alpha=0.45, markersize=6, markeredgewidth=0)
    if group.interval:
        axes.plot([group.interval.low, group.interval.high], [place, place], color=INK, linewidth=2)
    axes.plot([group.mean], [place], "|", color=INK, markersize=18, markeredgewidth=2.5)


def _lines(axes: Axes, evidence: Evidence) -> None:
    axes.axvline(evidence.expected_best, color=COLOURS[RANDOM], linestyle="--", linewidth=1.2)
    label = f"best of {evidence.k} random (equal cost)" if evidence.k > 1 else "mean of random (equal cost)"
    axes.annotate(
        label,
        (evidence.expected_best, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
        va="bottom",
        color=COLOURS[RANDOM],
        fontsize=10,
    )
    names = [f"{group.name} ({len(group.networks)})" for group in evidence.groups]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(f"{evidence.metric} on {', '.join(evidence.splits['reported'])}; a dot is a network")
    axes.grid(axis="x", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
