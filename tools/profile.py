"""Measure what a task's operations take, for latency budgets: ``python -m tools.profile --task itm``"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from common.errors import UserError, run
from common.progress import track
from engine.config import Config, load_config
from engine.run import Threads, today
from engine.runtime import Runtime, start
from search.prices import LatencyTable, sizes_of, table_path
from search.settings import SearchSettings
from space.backbone import Block
from space.budget import Budget
from space.context import Context
from space.cost import REGIONS, TOKENS, Prices
from space.geometry import Relation, relation_geometry
from space.relations import Relations
from space.settings import ModelSettings, SpaceSettings
from tasks.find import find_task, task_names

SAMPLES, ROUNDS, WARM_UP = 16, 30, 3
IN_A_ROW = {"cuda": 10}  # calls that are timed together, where a single one would mostly be waited for
RELATIONS = "relations, once a network"


@dataclass
class ProfileOptions:
    """Options of a measurement.

    Args:
        gpu: as of every run.
        precision: as of every run.
        threads: on a CPU. Of one its own time is taken, which other programs do not lengthen; of several the clock's.
        logs: the table goes to profile/<task>.json below it.
    """

    gpu: str = ""
    precision: str = "auto"
    threads: Threads = 1
    logs: str = "logs"


class Surroundings:
    """What operations see in a batch of samples without padding, each of as many regions and words as there may be.

    Args:
        sizes: as ``sizes_of`` gives them; where a task has no limits, those of ``genotype_cost``.
        device: where.
    """

    def __init__(self, sizes: Mapping[str, int], device: torch.device) -> None:
        regions, tokens, width = sizes.get("regions", REGIONS), sizes.get("tokens", TOKENS), sizes["width"]
        self.words = torch.randn(SAMPLES, tokens, width, device=device)
        self.regions = torch.randn(SAMPLES, regions, width, device=device)
        text_pad = torch.zeros(SAMPLES, tokens, dtype=torch.bool, device=device)
        corner = torch.rand(SAMPLES, regions, 2, device=device) * 50
        self.boxes = torch.cat((corner, corner + 20), -1)
        self.relation = Relation(sizes["relation_width"]).to(device)
        self.relations = self.related()
        pad = torch.zeros(SAMPLES, regions, dtype=torch.bool, device=device)
        self.context = Context(pad, self.words, text_pad, relations=self.relations)
        self.text_context = Context(text_pad)

    def related(self) -> Relations:
        """Relations that nobody has read yet."""
        return Relations(relation_geometry(self.boxes), self.relation)


def measure(encoder: Sequence[str], decoder: Sequence[str], sizes: Mapping[str, int], runtime: Runtime) -> Prices:
    """Milliseconds a sample of each operation's way forward: the median of many turns, in which all take part.

    Args:
        encoder: operations over the words.
        decoder: operations over the regions.
        sizes: as ``sizes_of`` gives them; where a task has no limits, those of ``genotype_cost``.
        runtime: where, in which precision.
    """
    around = Surroundings(sizes, runtime.device)
    own = {"width": sizes["width"], "head_scale": sizes["head_scale"], "relation_width": sizes["relation_width"]}

    def work(name: str, x: Tensor, context: Context) -> Callable[[], Tensor]:
        return partial(Block(name, **own, dropout=0.0).to(runtime.device).eval(), x, context)

    works = {("encoder", name): work(name, around.words, around.text_context) for name in encoder}
    works |= {("decoder", name): work(name, around.regions, around.context) for name in decoder}
    # Whoever reads boxes first has their features made; a reader that does nothing else tells what that takes.
    works["first", RELATIONS] = lambda: around.related().read(_corner)
    works["again", RELATIONS] = lambda: around.relations.read(_corner)
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in works}
    with torch.inference_mode(), runtime.autocast():
        for turn in track(range(WARM_UP + ROUNDS), "measuring operations"):
            for key, one in works.items():
                seconds = _seconds(one, runtime.device)
                if turn >= WARM_UP:
                    taken[key].append(seconds)
    ms = {key: round(1000 * statistics.median(values) / SAMPLES, 6) for key, values in taken.items()}
    sides = ({name: ms[side, name] for name in names} for side, names in (("encoder", encoder), ("decoder", decoder)))
    return Prices(*sides, max(0.0, round(ms["first", RELATIONS] - ms["again", RELATIONS], 6)))


def _corner(features: Tensor) -> Tensor:
    return features[:, 0, 0]


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    calls = IN_A_ROW.get(device.type, 1)
    clock = time.thread_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    _wait(device)
    began = clock()
    for _ in range(calls):
        work()
    _wait(device)
    return (clock() - began) / calls


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def table_of(prices: Prices) -> Table:
    """The latencies for the terminal."""
    shown = Table("operation", "encoder", "decoder", title="milliseconds a sample, forward", title_justify="left")
    for name in dict.fromkeys((*prices.encoder, *prices.decoder)):
        shown.add_row(name, *(f"{side[name]:.4f}" if name in side else "" for side in prices[:2]))
    shown.add_row(RELATIONS, "", f"{prices.relations:.4f}")
    return shown


def setting(runtime: Runtime) -> dict[str, object]:
    """On what and how was measured."""
    on_gpu = runtime.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(runtime.device) if on_gpu else "cpu",
        "threads": None if on_gpu else torch.get_num_threads(),
        "precision": runtime.precision,
        "samples": SAMPLES,
        "date": today(),
    }


def read_config(argv: Sequence[str] | None) -> Config:
    """The configuration of a search, of which a measurement takes the space and the sizes."""
    return load_config(
        "search",
        argv,
        find=find_task,
        usual=task_names()[0],
        top=ProfileOptions,
        sections={"model": ModelSettings, "space": SpaceSettings, "search": SearchSettings},
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print and write the table."""
    config = read_config(argv)
    space: SpaceSettings = config.space
    space.validate()
    encoder, decoder = space.encoder.candidates, space.decoder.candidates
    config.model.check_width(config.search.width, [*encoder, *decoder])
    if "," in config.top.gpu:
        raise UserError(f"GPU={config.top.gpu} names several GPUs, and a table is of one; name one")
    runtime = start(config.top.gpu, 0, config.top.precision, config.search.width)
    torch.set_num_threads(config.top.threads)
    sizes = sizes_of(config)
    prices = measure(encoder, decoder, sizes, runtime)
    how, path = setting(runtime), table_path(config)
    LatencyTable(config.task.name, sizes, *prices, how).save(path)
    console = Console()
    console.print(table_of(prices))
    threads = f", threads: {how['threads']}" if how["threads"] else ""
    print(f"median of {ROUNDS} batches of {SAMPLES} samples on {how['device']} in {how['precision']}{threads}")
    print("sizes: " + ", ".join(f"{name} {size}" for name, size in sizes.items()))
    budget = Budget("latency", float("inf"), 0.0, space, prices)
    mean = budget.expected([torch.zeros_like(block) for block in budget.prices])
    print(f"an architecture of this space takes {budget.cost(budget.cheapest):.3g} ms at least, {mean:.3g} on average")
    print(f"table   {path}")
    between = f"search.budget.latency={(budget.cost(budget.cheapest) + mean) / 2:.3g}"
    print(f"next: make search TASK={config.task.name}{config.make_arguments()}, with {between} among its ARGS")


if __name__ == "__main__":
    run(main)
