"""A search that ends with every architecture judged and every selector's pick."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path as File

import numpy as np

from audit.leaks import Audit
from common import errors
from common.files import write_json
from engine.config import Config
from engine.log import RunLog
from engine.run import RunFiles
from search import run
from search.judge import Judge
from search.selection import judge_of, selector
from search.selectors import SELECTORS, Halving
from search.stage import SearchStage
from space.settings import Path
from tasks.base import Task


class Known(Judge):
    """A judge that has judged every architecture already.

    Args:
        judge: the same, before.
        paths: all of a space.
    """

    def __init__(self, judge: Judge, paths: Sequence[Path]) -> None:
        super().__init__(judge.supernet, judge.parts, judge.loss, judge.seed)
        self.table = dict(zip(paths, super().losses(paths), strict=True))

    def losses(self, paths: Sequence[Path]) -> np.ndarray:
        """(paths, parts) losses, as of ``Judge``."""
        return np.array([self.table[path] for path in paths])


def main(argv: Sequence[str] | None = None) -> None:
    """Search as ``python -m search`` does, and score; it takes the same options."""
    run.main(argv, finish=score)


def score(
    task: Task, config: Config, stage: SearchStage, files: RunFiles, log: RunLog, path: File, audit: Audit
) -> None:
    """In place of a search's end: what the supernet makes of all architectures, and what each selector picks."""
    blocks = stage.supernet.blocks
    paths = [*product(*(range(len(block.candidates)) for block in blocks))]
    first = time.monotonic()
    known = Known(judge_of(stage), paths)
    judging = time.monotonic() - first
    picks, seconds = {}, {}
    for name in SELECTORS:
        began = time.monotonic()
        chosen = selector(stage, known, name)
        picks[name] = paths.index(chosen.pick())
        seconds[name] = time.monotonic() - began + (judging if name != "argmax" else 0.0)
        if isinstance(chosen, Halving):
            rounds = [{paths.index(path): loss for path, loss in one.items()} for one in chosen.rounds]
    selecting = time.monotonic() - first
    found = {
        "estimator": config.search.estimator,
        "sampler": config.search.sampler,
        "seed": config.top.seed,
        "losses": known.losses(paths).round(5).tolist(),
        "probabilities": [block.probabilities.tolist() for block in blocks],
        "picks": picks,
        "rounds": rounds,
        "picking": seconds,
        "selecting": selecting,
    }
    write_json(path, found)
    log.info(f"{'scores':>12}  {path}")
    log.close()


if __name__ == "__main__":
    errors.run(main)
