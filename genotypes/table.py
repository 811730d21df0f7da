"""A genotype as a small table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from rich.table import Table
from rich.text import Text

from genotypes.genotype import SIDES, Genotype

NEXT_BEST = "\nbelow an operation: the next best one, and what it would change the loss by"


def table(genotype: Genotype) -> Table:
    """Block number, encoder and decoder operation, with probabilities where known; the cost stands below.

    Where the search says so, the operation that would change its loss least stands below each, with that change,
    in a line of a terminal of 80 columns.
    """
    cost = cost_line(genotype.cost)
    compared = any(genotype.others(side, index) for side in SIDES for index in range(len(getattr(genotype, side))))
    shown = Table(
        title=f"genotype{f' for {genotype.task}' if genotype.task else ''}{NEXT_BEST if compared else ''}",
        title_justify="left",
        caption=cost or None,
        caption_justify="left",
        min_width=len(cost),  # so that the caption stays in one line
    )
    shown.add_column("block", justify="right")
    for side in SIDES:
        shown.add_column(side)
    rows = zip_longest(*(_cells(genotype, side) for side in SIDES), fillvalue="")
    for number, row in enumerate(rows, 1):
        shown.add_row(str(number), *row)
    return shown


def cost_line(cost: Mapping[str, Any] | None) -> str:
    """What is known of the cost, such as ``"backbone of 44.5 M parameters, 3.8 GFLOPs (width 512, 36 regions)"``."""
    cost = cost or {}
    parts = [f"backbone of {_short(cost['parameters']).strip()} parameters"] if "parameters" in cost else []
    parts += [f"{_short(cost['flops'])}FLOPs"] if "flops" in cost else []
    sizes = [f"width {cost['width']}"] if "width" in cost else []
    sizes += [f"{cost[key]} {key}" for key in ("regions", "tokens") if key in cost]
    return ", ".join(parts) + (f" ({', '.join(sizes)})" if parts and sizes else "")


def _short(value: float) -> str:
    for unit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g} {letter}"
    return f"{value:.0f} "


def _cells(genotype: Genotype, side: str) -> list[Text]:
    cells = [Text(name) for name in getattr(genotype, side)]
    for index, cell in enumerate(cells):
        probability = genotype.probability(side, index)
        if probability is not None:
            cell.append(f" {probability:.2f}", style="dim")
        for best in genotype.others(side, index)[:1]:
            cell.append(f"\nor {best.operation}: {best.percent}", style="dim")
    return cells
