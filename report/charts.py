"""Charts as inline SVG: their ink is the page's, their colours are classes of its style, every mark says its number.

Lengths are units of the view box; a chart is as wide as the page gives it room.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from genotypes.genotype import Swap
from report.facts import Block, Series

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 28
COLOURS = 6  # classes s0 to s5
MOST_POINTS = 120  # of a line that say their number
MOST_CELLS = 4000  # of all heat maps of a page
CELL, LABEL, ROW = 230, 118, 12  # widths of a block's cells and of the names beside them, height of a row

Line = tuple[str, Series]


class Range(NamedTuple):
    """Where numbers lie on a scale, and which of them are written beside it."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def at(self, value: float, start: float, end: float) -> float:
        """The place of a value between two places."""
        return start + (end - start) * (value - self.low) / (self.high - self.low)


def number(value: float) -> str:
    """As people read it: whole numbers whole, percents with two digits, small ones with three that count."""
    if isinstance(value, int) or (float(value).is_integer() and abs(value) >= 1000):
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 or value == 0 else f"{value:.3g}"


def scale(values: Sequence[float], count: int = 4) -> Range:
    """A scale that holds the values, with about so many round steps."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - abs(low) / 2, high + (abs(high) / 2 or 1)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * unit for unit in (1, 2, 2.5, 5, 10) if power * unit >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return Range(first * step, last * step, tuple(step * n for n in range(first, last + 1)))


def lines(what: str, drawn: Sequence[Line], reference: tuple[str, float] | None = None) -> Markup:
    """Numbers over epochs.

    Args:
        what: is drawn, for who cannot see it.
        drawn: lines with their names, at most as many as there are colours.
        reference: a value to hold them against, with its name.
    """
    values = [value for _, series in drawn for value in series.values] + ([reference[1]] if reference else [])
    y, epochs = scale(values), [epoch for _, series in drawn for epoch in series.epochs]
    x = Range(min(epochs), max(max(epochs), min(epochs) + 1), _whole(min(epochs), max(epochs)))
    parts = [grid(y), along(((x.at(tick, LEFT, WIDTH - RIGHT), str(tick)) for tick in x.ticks), "epoch")]
    if reference:
        at = y.at(reference[1], HEIGHT - BOTTOM, TOP)
        said = f"{reference[0]}: {number(reference[1])}"
        parts.append(tag("line", said, x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at, class_="reference"))
        parts.append(Markup('<text x="{}" y="{}">{}</text>').format(WIDTH - RIGHT, length(at - 4), said))
    for colour, (name, series) in enumerate(drawn):
        parts.append(_line(name, series, colour % COLOURS, x, y))
    ends = "; ".join(f"{name} {number(series.values[0])} to {number(series.values[-1])}" for name, series in drawn)
    return svg(f"{what}: {ends}", WIDTH, HEIGHT, parts)


def _line(name: str, series: Series, colour: int, x: Range, y: Range) -> Markup:
    places = [
        (x.at(epoch, LEFT, WIDTH - RIGHT), y.at(value, HEIGHT - BOTTOM, TOP), epoch, value)
        for epoch, value in zip(series.epochs, series.values, strict=True)
    ]
    points = " ".join(f"{length(a)},{length(b)}" for a, b, *_ in places)
    every = -(-len(places) // MOST_POINTS)
    marks = Markup("").join(
        tag("circle", f"{name}, epoch {epoch}: {number(value)}", cx=a, cy=b, r=2.2 if every == 1 else 1.6)
        for a, b, epoch, value in [*places[:-1][::every], places[-1]]
    )
    return Markup('<g class="s{}"><polyline points="{}"/>{}</g>').format(colour, points, marks)


def _whole(low: int, high: int) -> tuple[float, ...]:
    """The first epoch and round ones after it."""
    step = next(unit for unit in _round_steps() if unit * 6 >= high - low)
    return (low, *(tick for tick in range(step, high + 1, step) if tick - low > step / 2))


def _round_steps() -> Iterator[int]:
    return (unit * 10**power for power in itertools.count() for unit in (1, 2, 5))


def grid(y: Range) -> Markup:
    return Markup("").join(
        Markup('<g class="tick"><line x1="{}" x2="{}" y1="{}" y2="{}"/><text x="{}" y="{}">{}</text></g>').format(
            LEFT, WIDTH - RIGHT, length(at), length(at), LEFT - 5, length(at + 3.5), short(tick)
        )
        for tick in y.ticks
        for at in [y.at(tick, HEIGHT - BOTTOM, TOP)]
    )


def along(ticks: Iterable[tuple[float, str]], name: str) -> Markup:
    """What stands below a chart: texts at their places, and what they count."""
    marks = Markup("").join(
        Markup('<text x="{}" y="{}">{}</text>').format(length(at), HEIGHT - 15, said) for at, said in ticks
    )
    label = Markup('<text x="{}" y="{}">{}</text>').format((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 1, name)
    return Markup('<g class="across">{}{}</g>').format(marks, label)


def short(value: float) -> str:
    """A number beside a scale."""
    if value and not 0.01 <= abs(value) < 10_000:
        power = math.floor(math.log10(abs(value)) + 1e-9)
        return f"{value / 10**power:.3g}e{power}"
    return f"{value:.4g}"


def heat(block: Block, cells: int) -> Markup:
    """How the probabilities of a block's candidates went over the epochs: a row a candidate, the darker the likelier.

    Args:
        block: the block.
        cells: at most so many of them.
    """
    count = len(block.candidates)
    columns = _spread(len(block.epochs), max(2, cells // count))
    wide, rows = CELL / len(columns), []
    for row, (name, values) in enumerate(zip(block.candidates, block.probabilities, strict=True)):
        top = row * ROW
        label = Markup('<text x="{}" y="{}"{}>{}</text>').format(
            LABEL - 5, top + 9, Markup(' class="picked"') if name == block.picked else "", name.replace("_", " ")
        )
        rects = Markup("").join(
            tag(
                "rect",
                f"{name}, epoch {block.epochs[column]}: {values[column]:.2f}",
                x=LABEL + place * wide,
                y=top,
                width=wide + 0.3,
                height=ROW - 1,
                fill_opacity=max(0.02, values[column]),
            )
            for place, column in enumerate(columns)
        )
        rows += [label, rects]
    if block.settled is not None:
        at = next((place for place, column in enumerate(columns) if block.epochs[column] >= block.settled), 0)
        said = f"{block.most_probable} the most probable from epoch {block.settled} on"
        rows.append(
            tag("line", said, x1=LABEL + at * wide, x2=LABEL + at * wide, y1=-1, y2=count * ROW, class_="settled")
        )
    what = f"{block.side} {block.number}: probabilities over {len(block.epochs)} epochs; picked {block.picked}"
    return svg(what, LABEL + CELL, count * ROW + 1, rows, "heat")


def _spread(length: int, most: int) -> list[int]:
    """At most so many places out of a length, the first and the last among them."""
    if length <= most:
        return list(range(length))
    return [round(place * (length - 1) / (most - 1)) for place in range(most)]


def shares(what: str, kinds: Mapping[str, Series]) -> Markup:
    """How a whole is made up, epoch by epoch: bars of parts in percent, one above the other."""
    epochs = sorted({epoch for series in kinds.values() for epoch in series.epochs})
    columns = [epochs[place] for place in _spread(len(epochs), 60)]
    wide, y = (WIDTH - LEFT - RIGHT) / len(columns), Range(0, 100, (0, 50, 100))
    parts = [grid(y)]
    for place, epoch in enumerate(columns):
        below = 0.0
        for colour, (kind, series) in enumerate(kinds.items()):
            share = dict(zip(series.epochs, series.values, strict=True)).get(epoch, 0.0)
            if share > 0:
                top, bottom = (y.at(value, HEIGHT - BOTTOM, TOP) for value in (below + share, below))
                where = {"x": LEFT + place * wide, "y": top, "width": max(wide - 1, 0.5), "height": bottom - top}
                said = f"{kind}, epoch {epoch}: {share:.0f} %"
                parts.append(tag("rect", said, class_=f"s{colour % COLOURS}", **where))
            below += share
    ends = {columns[0]: LEFT + wide / 2, columns[-1]: WIDTH - RIGHT - wide / 2}
    parts.append(along([(at, str(epoch)) for epoch, at in ends.items()], "epoch"))
    last = ", ".join(f"{kind} {series.values[-1]:.0f} %" for kind, series in kinds.items())
    return svg(f"{what}, in the end: {last}", WIDTH, HEIGHT, parts)


def interval(swap: Swap, reach: float) -> Markup:
    """A change of the loss with its interval beside zero; ``reach`` is the largest that fits."""
    across = Range(-reach, reach, ())
    low, mean, high = (across.at(max(-reach, min(reach, v)), 4, 136) for v in (swap.low, swap.mean, swap.high))
    said = f"{100 * swap.mean:+.1f} %, from {100 * swap.low:+.1f} to {100 * swap.high:+.1f} %"
    parts = [
        Markup('<line class="zero" x1="70" x2="70" y1="0" y2="14"/>'),
        tag("line", said, x1=low, x2=high, y1=7, y2=7, class_="span"),
        tag("circle", said, cx=mean, cy=7, r=3),
    ]
    return svg(said, 140, 14, parts, "interval" + (" open" if swap.undecided else ""))


def parts_of(what: str, parts: Mapping[str, float], unit: str) -> Markup:
    """A whole as one bar of its parts."""
    total, at, drawn = sum(parts.values()) or 1.0, 0.0, []
    for colour, (name, value) in enumerate(parts.items()):
        wide = 2 * WIDTH * value / total
        said = f"{name}: {number(value)} {unit}"
        drawn.append(tag("rect", said, class_=f"s{colour % COLOURS}", x=at, y=0, width=max(0, wide - 1), height=16))
        at += wide
    return svg(f"{what}: " + ", ".join(f"{name} {number(v)} {unit}" for name, v in parts.items()), 2 * WIDTH, 16, drawn)


class Dots(NamedTuple):
    """A row of single values with their mean and its interval."""

    name: str
    values: Mapping[str, float]
    mean: float
    low: float | None
    high: float | None

    @property
    def counted(self) -> str:
        """Its name, and how many values it has."""
        return f"{self.name} ({len(self.values)})"


def strips(what: str, rows: Sequence[Dots], reference: tuple[str, float] | None) -> Markup:
    """Rows of dots over one scale."""
    name_room, row, wide = 170, 26, 520
    values = [value for dots in rows for value in dots.values.values()] + ([reference[1]] if reference else [])
    x, tall = scale(values, 6), row * len(rows)
    parts: list[Markup] = []
    for tick in x.ticks:
        at = length(x.at(tick, name_room, wide - 20))
        parts.append(
            Markup(
                '<g class="tick mid"><line x1="{}" x2="{}" y1="0" y2="{}"/><text x="{}" y="{}">{}</text></g>'
            ).format(at, at, tall, at, tall + 14, short(tick))
        )
    if reference:
        at = x.at(reference[1], name_room, wide - 20)
        said = f"{reference[0]}: {number(reference[1])}"
        parts.append(tag("line", said, x1=at, x2=at, y1=0, y2=tall, class_="reference"))
    for place, dots in enumerate(rows):
        parts.append(_strip(dots, place, row, x, name_room, wide - 20))
    return svg(f"{what}: " + "; ".join(f"{d.name} {number(d.mean)}" for d in rows), wide, tall + 18, parts, "strips")


def _strip(dots: Dots, place: int, row: int, x: Range, start: float, end: float) -> Markup:
    y = place * row + row / 2
    text = Markup('<text class="row" x="{}" y="{}">{}</text>').format(start - 10, length(y + 4), dots.counted)
    marks = [
        tag("circle", f"{name}: {number(value)}", cx=x.at(value, start, end), cy=y + (-4, 0, 4)[n % 3], r=3.2)
        for n, (name, value) in enumerate(sorted(dots.values.items(), key=lambda one: one[1]))
    ]
    mean = x.at(dots.mean, start, end)
    if len(dots.values) > 1:
        marks.append(tag("line", f"mean: {number(dots.mean)}", x1=mean, x2=mean, y1=y - 9, y2=y + 9, class_="mean"))
    if dots.low is not None and dots.high is not None:
        low, high = (x.at(max(x.low, min(x.high, value)), start, end) for value in (dots.low, dots.high))
        said = f"95 %: {number(dots.low)} to {number(dots.high)}"
        marks.append(tag("line", said, x1=low, x2=high, y1=y, y2=y, class_="span"))
    return Markup('{}<g class="s{} dots">{}</g>').format(text, place % COLOURS, Markup("").join(marks))


def length(value: float) -> str:
    """A length, no longer than it shows."""
    return f"{value:.1f}".removesuffix(".0")


def tag(name: str, said: str, **places: float | str) -> Markup:
    """A mark that says its number where a pointer rests on it."""
    keys = {"class_": "class", "fill_opacity": "fill-opacity"}
    attributes = Markup(" ").join(
        Markup('{}="{}"').format(
            keys.get(key, key),
            value if isinstance(value, str) else f"{value:.2f}" if "opacity" in key else length(value),
        )
        for key, value in places.items()
    )
    return Markup("<{} {}><title>{}</title></{}>").format(Markup(name), attributes, said, Markup(name))


def svg(said: str, wide: float, tall: float, parts: Sequence[Markup] | Iterator[Markup], kind: str = "") -> Markup:
    return Markup('<svg class="chart {}" viewBox="0 -2 {} {}" role="img" aria-label="{}">{}</svg>').format(
        kind, length(wide), length(tall + 4), escape(said), Markup("").join(parts)
    )
