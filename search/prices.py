"""Where a budget's prices come from: counted from the operations' modules, or measured by ``make profile``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import read_json, write_json
from engine.config import Config
from space.cost import Prices, limits, prices


@dataclass(frozen=True)
class LatencyTable:
    """What the operations of a space took on a machine.

    Args:
        task: whose space it is.
        sizes: at which, as ``sizes_of`` gives them.
        encoder: milliseconds a sample, by operation.
        decoder: likewise.
        relations: likewise, of the features of pairs of boxes, which all blocks of a network share.
        measured: for people: on which device, with how many threads and in which precision, how many samples at once,
            and when.
    """

    task: str
    sizes: Mapping[str, int]
    encoder: Mapping[str, float]
    decoder: Mapping[str, float]
    relations: float
    measured: Mapping[str, Any]

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        write_json(path, asdict(self))


def table_path(config: Config) -> Path:
    """Where the latencies of a task's space are."""
    return Path(config.top.logs) / "profile" / f"{config.task.name}.json"


def sizes_of(config: Config) -> dict[str, int]:
    """What a cost depends on besides the operations, as ``genotype_cost`` takes it, in a search."""
    model = config.model
    own = {"width": config.search.width, "head_scale": model.head_scale, "relation_width": model.relation_width}
    return {**own, **limits(config.data)}


def prices_of(kind: str, config: Config) -> Prices:
    """What the candidates of a search cost.

    Args:
        kind: ``parameters``, ``flops`` or ``latency``.
        config: of the search.

    Raises:
        UserError: latencies were not measured, or not at these sizes, or not of all candidates.
    """
    encoder, decoder = config.space.encoder.candidates, config.space.decoder.candidates
    if kind != "latency":
        return prices(kind, encoder, decoder, **sizes_of(config))
    table = read_table(config)
    return Prices(*(dict(side) for side in (table.encoder, table.decoder)), table.relations)


def read_table(config: Config) -> LatencyTable:
    """The latencies that were measured for a search's space.

    Raises:
        UserError: naming the command that measures them.
    """
    path = table_path(config)
    command = f"make profile TASK={config.task.name}{config.make_arguments()}"
    remedy = f"{command}, with the ARGS of the search, measures them"
    if not path.exists():
        raise UserError(f"search.budget.latency needs the latencies of {path}, which is not there; {remedy}")
    found = read_json(path, "a table of latencies")
    if not _is_table(found):
        raise UserError(f"{path} is no table of latencies; {remedy}")
    table = LatencyTable(**found)
    for size, wanted in sizes_of(config).items():
        if table.sizes.get(size) != wanted:
            raise UserError(f"{path} is of {size} {table.sizes.get(size)}, and this search of {wanted}; {remedy}")
    for side, candidates in (("encoder", config.space.encoder), ("decoder", config.space.decoder)):
        for name in candidates.candidates:
            if name not in getattr(table, side):
                raise UserError(f"{path} has no latency of {name} in the {side}; {remedy}")
    return table


def _is_table(found: Any) -> bool:
    if not isinstance(found, dict) or found.keys() != LatencyTable.__dataclass_fields__.keys():
        return False
    if not all(isinstance(found[key], dict) for key in ("sizes", "encoder", "decoder", "measured")):
        return False
    return all(map(_is_time, (*found["encoder"].values(), *found["decoder"].values(), found["relations"])))


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
