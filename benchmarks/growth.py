"""How cost grows: images, captions, regions and blocks doubled. ``python -m benchmarks.growth``.

Writes a table and a plot. A slope of 1 is time in proportion, 2 is time in proportion to the square.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from benchmarks.data import SHAPES, make_world
from benchmarks.measure import seconds
from benchmarks.steps import batches, networks, own_step, supernet_of
from common.arguments import Parser, home_path
from common.errors import run
from engine.runtime import Runtime, start
from matching.scores import score_matrix
from space.settings import SideSettings, SpaceSettings
from tasks.base import eval_mode

WIDTH = 256


class Growth(NamedTuple):
    """Seconds at sizes, each twice the one before."""

    what: str
    sizes: list[int]
    seconds: list[float]

    @property
    def slope(self) -> float:
        """Of the logarithm of the time over that of the size."""
        return float(np.polyfit(np.log(self.sizes), np.log(self.seconds), 1)[0])


def best(work: Callable[[], int], runtime: Runtime, turns: int) -> float:
    """The fastest of some calls after a first one."""
    work()
    return min(seconds(work, runtime.device)[0] for _ in range(turns))


def of_scoring(runtime: Runtime, start_at: int, doublings: int, turns: int) -> list[Growth]:
    """Scoring a matrix with twice the images, and with twice the captions."""
    sizes = [start_at * 2**step for step in range(doublings)]
    model, _ = networks("itm", WIDTH, runtime)
    with tempfile.TemporaryDirectory() as folder:
        world = make_world("itm", Path(folder), sizes[-1], SHAPES["itm"])
        found = []
        for what in ("images", "captions"):
            taken = []
            for size in sizes:
                images, captions = (size, start_at) if what == "images" else (start_at, size)

                def work(images: int = images, captions: int = captions) -> int:
                    with eval_mode(model), runtime.autocast():
                        score_matrix(
                            model, world.split.tokens, np.arange(captions), world.task.store, np.arange(images), 36
                        )
                    return 1

                taken.append(best(work, runtime, turns))
            found.append(Growth(f"{what} scored against {start_at}", sizes, taken))
        return found


def of_regions(runtime: Runtime, samples: int, doublings: int, turns: int) -> Growth:
    """A step of the retrained VQA network with twice the regions in every image."""
    sizes, taken = [12 * 2**step for step in range(doublings)], []
    for size in sizes:
        model, _ = networks("vqa", WIDTH, runtime)
        given = batches("vqa", replace(SHAPES["vqa"], regions=size, fixed=True), samples, runtime)
        work = own_step("vqa", model, given, runtime, list(model.parameters()))
        taken.append(best(work, runtime, turns))
    return Growth("regions of an image, training step", sizes, taken)


def of_blocks(runtime: Runtime, samples: int, doublings: int, turns: int) -> Growth:
    """A weight step of the supernet with twice the decoder blocks, on one path of all candidates in turn."""
    sizes, taken = [8 * 2**step for step in range(doublings)], []
    for size in sizes:
        side = SpaceSettings().decoder
        space = SpaceSettings(decoder=SideSettings(size, side.candidates))
        supernet = supernet_of("itm", space, WIDTH, runtime)
        for number, block in enumerate(supernet.decoder):
            block.active = number % len(block.candidates)
        given = batches("itm", SHAPES["itm"], samples, runtime)
        work = own_step("itm", supernet.model, given, runtime, supernet.weights)
        taken.append(best(work, runtime, turns))
    return Growth("decoder blocks, search step", sizes, taken)


def plot(found: Sequence[Growth], path: Path) -> None:
    """Time over size, relative to the smallest, on logarithmic axes."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for one in found:
        relative = [np.array(values) / values[0] for values in (one.sizes, one.seconds)]
        axes.loglog(*relative, marker="o", base=2, label=f"{one.what} (slope {one.slope:.2f})")
    axes.set(xlabel="size, relative to the smallest", ylabel="time, relative to the smallest")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print a table, write it as JSON and as a plot."""
    parser = Parser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether it runs")
    parser.add_argument(
        "--out", type=home_path, default=Path("logs/bench"), help="folder of growth.json and growth.svg"
    )
    options = parser.parse_args(argv)
    runtime = start("cpu" if options.device == "cpu" else "0", 0, "auto")
    samples, begin, doublings, turns = (2, 4, 2, 1) if options.quick else (16, 16, 4, 3)
    found = [
        *of_scoring(runtime, begin, doublings, turns),
        of_regions(runtime, samples, doublings, turns),
        of_blocks(runtime, samples, doublings, turns),
    ]
    for one in found:
        steps = "  ".join(f"{size}: {taken:.3g} s" for size, taken in zip(one.sizes, one.seconds, strict=True))
        print(f"{one.what:40} slope {one.slope:4.2f}   {steps}")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "growth.json").write_text(json.dumps([one._asdict() for one in found], indent=1))
    plot(found, options.out / "growth.svg")


if __name__ == "__main__":
    run(main)
