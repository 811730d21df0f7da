"""Losses of architectures with the supernet's weights, all on the same samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, groupby
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from common.sharing import shared
from engine.runtime import undrawn
from search.draws import draw_from
from search.prefix import PrefixMemory, remembering
from search.supernet import Supernet
from space.settings import Path
from tasks.base import Batch, eval_mode

CONFIDENCE = 0.95
LAST = 2  # blocks in which paths differ that are judged by one process after the other


class Change(NamedTuple):
    """What a loss changes by, as a share of it: the mean over the parts, and its interval of 95 % confidence."""

    mean: float
    low: float
    high: float


class Judge:
    """Scores architectures by the loss of their paths, which tells them apart where as few samples tie in accuracy.

    Args:
        supernet: whose weights all architectures share.
        parts: the samples, in at least two batches of equal size.
        loss: of the model on a batch, in the precision of training.
        seed: of whatever the loss draws, the same numbers for every architecture.
    """

    def __init__(self, supernet: Supernet, parts: Sequence[Batch], loss: Callable[[Batch], Tensor], seed: int) -> None:
        self.supernet, self.parts, self.loss, self.seed = supernet, parts, loss, seed

    def losses(self, paths: Sequence[Path]) -> np.ndarray:
        """(paths, parts) losses.

        Paths that begin alike run together as far as they do: 1,366 passes through blocks instead of 6,144 for all
        architectures of two encoder blocks with two candidates and four decoder blocks with four.
        """
        order = sorted(range(len(paths)), key=paths.__getitem__)
        alike = [[*some] for _, some in groupby(order, key=lambda place: paths[place][:-LAST])]
        found = np.zeros((len(paths), len(self.parts)))
        with torch.no_grad(), eval_mode(self.supernet.model), undrawn(self.supernet.device):
            for number, part in enumerate(self.parts):
                what = f"judging architectures, part {number + 1} of {len(self.parts)}"
                with remembering(self.supernet) as memory:
                    work = partial(self._losses, part, memory, paths)
                    found[order, number] = [*chain.from_iterable(shared(work, alike, what))]
        return found

    def _losses(self, part: Batch, memory: PrefixMemory, paths: Sequence[Path], places: Sequence[int]) -> list[float]:
        found = []
        for place in places:
            memory.follow(paths[place])
            draw_from(self.seed)
            found.append(self.loss(part))
        return torch.stack(found).tolist()

    def swaps(self, path: Path) -> list[dict[str, Change]]:
        """What the loss would change by, had one block another candidate: why the others were not picked.

        Returns:
            For every block, encoder first, by the name of each candidate that the path does not have: the change as a
            share of the path's loss, paired over the parts, and its interval by Student's t.
        """
        others = [
            (place, number, (*path[:place], number, *path[place + 1 :]))
            for place, block in enumerate(self.supernet.blocks)
            for number in range(len(block.candidates))
            if number != path[place]
        ]
        own, *losses = self.losses([path, *(other for *_, other in others)])
        found: list[dict[str, Change]] = [{} for _ in path]
        for (place, number, _), loss in zip(others, losses, strict=True):
            found[place][self.supernet.blocks[place].names[number]] = _change((loss - own) / own.mean())
        return found


def _change(differences: np.ndarray) -> Change:
    mean, error = float(differences.mean()), float(stats.sem(differences))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(differences) - 1)) * error
    return Change(mean, mean - reach, mean + reach)
