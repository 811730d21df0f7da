"""The figure of a genotype as DOT in which every position is fixed, so that it looks the same wherever it is rendered.

Encoder and decoder are two columns that flow downwards; the encoder's output reaches each guided attention along a
rail between them, which no box crosses. All lengths are points (1/72 inch), y grows upwards as in DOT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import graphviz
import networkx as nx

from genotypes.genotype import SIDES, Genotype, Swap
from genotypes.graph import HEAD, INPUTS, graph
from genotypes.table import cost_line

# Paul Tol's "light" colours, told apart with every common colour blindness and light enough for black text:
# https://personal.sron.nl/~pault/ (Qualitative colour schemes, figure 6).
COLOURS = {
    "self attention": "#77AADD",
    "relation attention": "#44BB99",
    "guided attention": "#EE8866",
    "feed forward": "#DDDDDD",
    "convolution": "#EEDD88",
    "gate": "#BBCC33",
    "activation": "#FFAABB",
    "identity": "#FFFFFF",
}
OTHER = "#99DDFF"  # a kind that someone added
INK, GREY, LINE, RAIL, PANEL = "#222222", "#6B6B6B", "#555555", "#B5472B", "#F5F5F5"
WIDTH, HEIGHT, GAP, GUTTER, MARGIN = 128.0, 17.0, 8.5, 60.0, 9.0
TALL = 27.0  # height of a block that has room for another operation below its own
CORNER = 6.0
COULD_AS_WELL = {"style": "filled,rounded,dashed", "color": INK, "penwidth": "0.8"}
RIVALS = [
    "in a block: the best other operation, and what the loss would change by with it (95 %):",
    "or: it may be as good; not: it is worse; less with: it is better, yet was not picked",
    "dashed: that change, or another operation's, may be zero: it could as well stand there",
]
ARROW = 0.45  # times 10 points
COLUMN = {"encoder": 0.0, "decoder": WIDTH + GUTTER}
MIDDLE = COLUMN["decoder"] / 2

Point = tuple[float, float]


def figure(genotype: Genotype, kinds: Mapping[str, str], title: str | None = None) -> graphviz.Digraph:
    """The figure as DOT source, to be rendered by ``nop2``, the engine that leaves positions alone.

    Args:
        genotype: what to draw.
        kinds: what each operation is; a kind has its colour in ``COLOURS``.
        title: by default the task's name.

    Raises:
        UserError: the genotype holds an operation that has no kind.
    """
    net = graph(genotype, kinds)
    drawn = graphviz.Digraph(
        "genotype",
        graph_attr={"layout": "nop2", "pad": "0.15", "outputorder": "nodesfirst"},
        node_attr={"shape": "box", "style": "filled,rounded", "fixedsize": "true", "fontname": "Helvetica"},
        edge_attr={"color": LINE, "arrowsize": str(ARROW), "penwidth": "0.9"},
    )
    rivals = {
        f"{side} {n + 1}": genotype.others(side, n) for side in SIDES for n in range(len(getattr(genotype, side)))
    }
    height = TALL if any(rivals.values()) else HEIGHT
    positions = _positions(genotype, height)
    _panels(drawn, genotype, height)
    for name, facts in net.nodes(data=True):
        _node(drawn, name, facts, positions[name], genotype.task, height, rivals.get(name, ()))
    for before, after in net.edges:
        _edge(drawn, net, before, after, positions, height)
    _heading(drawn, genotype, title)
    notes = ["beside a block: probability of its operation"] if genotype.probabilities is not None else []
    _legend(drawn, net, positions[HEAD][1] - 36, notes + (RIVALS if any(rivals.values()) else []))
    return drawn


def _positions(genotype: Genotype, height: float) -> dict[str, Point]:
    """Centre of every node, where blocks are of this height."""
    positions = {}
    first = -HEIGHT / 2 - GAP - MARGIN - height / 2
    for side, x in COLUMN.items():
        positions[INPUTS[side]] = (x, 0.0)
        for number in range(len(getattr(genotype, side))):
            positions[f"{side} {number + 1}"] = (x, first - (height + GAP) * number)
    last = first - (height + GAP) * (max(len(genotype.encoder), len(genotype.decoder)) - 1)
    return positions | {HEAD: (MIDDLE, last - height / 2 - GAP - MARGIN - HEIGHT / 2)}


def _panels(drawn: graphviz.Digraph, genotype: Genotype, height: float) -> None:
    for side, x in COLUMN.items():
        tall = (height + GAP) * len(getattr(genotype, side)) - GAP + 2 * MARGIN
        middle = -HEIGHT / 2 - GAP - tall / 2
        _box(drawn, f"{side} panel", (x, middle), WIDTH + 2 * MARGIN, tall, color="none", fillcolor=PANEL)


def _node(
    drawn: graphviz.Digraph,
    name: str,
    facts: Mapping[str, Any],
    place: Point,
    task: str | None,
    height: float,
    others: Sequence[Swap],
) -> None:
    x, y = place
    looks = {"fontcolor": INK, "fontsize": "10"}
    if facts["number"] is None:
        width = WIDTH + COLUMN["decoder"] if name == HEAD else WIDTH
        label = f"{task.upper()} head" if name == HEAD and task else facts["label"]
        _box(drawn, name, place, width, label=graphviz.escape(label), color=LINE, fillcolor="white", **looks)
        return
    label = graphviz.escape(facts["label"].replace("_", " "))
    border = COULD_AS_WELL if any(one.undecided for one in others) else {}
    _box(drawn, name, place, height=height, label="" if others else label, **_colours(facts["kind"]) | border, **looks)
    line = y + 5.5 if others else y
    if others:
        _text(drawn, f"{name} operation", (x, line), label, WIDTH, **looks)
        _text(drawn, f"{name} rival", (x, y - 7), _said(others[0]), WIDTH, fontsize="6.5", fontcolor=INK)
    number = (x - WIDTH / 2 + 10, line)
    _text(drawn, f"{name} number", number, str(facts["number"]), 12, fontsize="7", fontcolor=INK)
    if facts["probability"] is not None:
        away = -1 if facts["side"] == "encoder" else 1
        beside = (x + away * (WIDTH / 2 + MARGIN + 13), y)
        _text(drawn, f"{name} probability", beside, f"{facts['probability']:.2f}", 22, fontsize="8", fontcolor=GREY)


def _said(rival: Swap) -> str:
    word = "or" if rival.undecided else "not" if rival.mean > 0 else "less with"
    return graphviz.escape(f"{word} {rival.operation.replace('_', ' ')}: {rival.percent}")


def _colours(kind: str) -> dict[str, str]:
    fill = COLOURS.get(kind, OTHER)
    return {"fillcolor": fill, "color": GREY if kind == "identity" else fill}


def _edge(
    drawn: graphviz.Digraph,
    net: nx.DiGraph,
    before: str,
    after: str,
    positions: Mapping[str, Point],
    height: float,
) -> None:
    (x, y), (to_x, to_y) = positions[before], positions[after]
    if (net.nodes[before]["side"], net.nodes[after]["side"]) == ("encoder", "decoder"):
        turns = [] if y == to_y else [(MIDDLE, y), (MIDDLE, to_y)]
        drawn.edge(before, after, pos=_path([(x + WIDTH / 2, y), *turns, (to_x - WIDTH / 2, to_y)]), color=RAIL)
    else:
        out, into = (HEIGHT if net.nodes[node]["number"] is None else height for node in (before, after))
        drawn.edge(before, after, pos=_path([(x, y - out / 2), (x, to_y + into / 2)]))


def _path(turns: list[Point]) -> str:
    """DOT's ``pos`` of an edge along straight lines, level or upright, with rounded corners and an arrow at the end."""
    tip = turns[-1]
    turns = [*turns[:-1], _towards(tip, turns[-2], 10 * ARROW)]
    points = [turns[0]]
    for before, here, after in zip(turns, turns[1:], turns[2:], strict=False):
        start, end = _towards(here, before, CORNER), _towards(here, after, CORNER)
        # 0.45 of the way back from the corner is the cubic that comes closest to a quarter of a circle.
        bend = [_towards(here, before, 0.45 * CORNER), _towards(here, after, 0.45 * CORNER)]
        points += [points[-1], start, start, *bend, end]
    points += [points[-1], turns[-1], turns[-1]]
    return " ".join([f"e,{tip[0]:g},{tip[1]:g}", *(f"{x:g},{y:g}" for x, y in points)])


def _towards(start: Point, end: Point, length: float) -> Point:
    across, up = end[0] - start[0], end[1] - start[1]
    share = length / ((across**2 + up**2) ** 0.5)
    return start[0] + share * across, start[1] + share * up


def _heading(drawn: graphviz.Digraph, genotype: Genotype, title: str | None) -> None:
    wide = WIDTH + COLUMN["decoder"]
    bold = {"fontname": "Helvetica-Bold", "fontcolor": INK}
    title = title or (f"Architecture for {genotype.task.upper()}" if genotype.task else "Architecture")
    cost = cost_line(genotype.cost)
    below = cost or f"{len(genotype.encoder)} encoder and {len(genotype.decoder)} decoder blocks"
    _text(drawn, "title", (MIDDLE, 58), graphviz.escape(title), wide, fontsize="13", **bold)
    _text(drawn, "subtitle", (MIDDLE, 43), below, wide, fontsize="8", fontcolor=GREY)
    for side, x in COLUMN.items():
        _text(drawn, f"{side} name", (x, 19), side.capitalize(), WIDTH, fontsize="10", **bold)


def _legend(drawn: graphviz.Digraph, net: nx.DiGraph, top: float, notes: list[str]) -> None:
    present = {facts["kind"] for _, facts in net.nodes(data=True) if facts["number"] is not None}
    entries = [kind for kind in COLOURS if kind in present] + sorted(present - COLOURS.keys())
    for number, kind in enumerate(entries):
        x = list(COLUMN.values())[number % 2] - WIDTH / 2 + 8
        y = top - 14 * (number // 2)
        _box(drawn, f"{kind} colour", (x, y), 16, 9, **_colours(kind))
        _text(drawn, f"{kind} legend", (x + 64, y), kind + "\\l", 100, fontsize="9", fontcolor=INK)
    y = top - 14 * ((len(entries) + 1) // 2) - 4
    for number, note in enumerate(notes):
        place, name = (MIDDLE, y - 11 * number), f"note {number}" if number else "note"
        _text(drawn, name, place, note, WIDTH + COLUMN["decoder"], fontsize="8", fontcolor=GREY)


def _box(
    drawn: graphviz.Digraph, name: str, place: Point, width: float = WIDTH, height: float = HEIGHT, **looks: str
) -> None:
    looks = {"label": "", **looks}
    pos = f"{place[0]:g},{place[1]:g}"
    drawn.node(name, pos=pos, width=f"{width / 72:.4f}", height=f"{height / 72:.4f}", **looks)


def _text(drawn: graphviz.Digraph, name: str, place: Point, text: str, width: float, **looks: str) -> None:
    # Text may outgrow its place (the width of a font that is not there is unknown), so its size is a lower bound.
    fixed = {"shape": "plaintext", "style": "", "margin": "0", "fixedsize": "false"}
    _box(drawn, name, place, width, 8, label=text, **fixed, **looks)
