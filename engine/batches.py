"""Which samples make which batch: a pure function of seed, epoch and step, so a run can go on from any step."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from common.errors import UserError
from engine.runtime import Runtime

WINDOW = 16  # batches whose samples are put in order of size together
SHARE = 4  # a window is at most one in so many of an epoch's batches, so that small sets are mixed anew every epoch


class EpochBatches(Dataset):
    """The batches of one epoch over a split, by number.

    A batch costs as much as its largest sample makes it, so samples of similar size stand together.

    Args:
        split: has ``len``, ``sizes``, ``draw(indices, rng)`` and ``batch(drawn)``.
        batch_size: samples a batch; the last one is smaller.
        name: which stream this is; two streams over one split differ.
        count: parts that a process makes of its share of a batch.
    """

    def __init__(self, split: Any, batch_size: int, runtime: Runtime, name: str, epoch: int, count: int = 1) -> None:
        self.split, self.batch_size, self.runtime, self.key = split, batch_size, runtime, (name, epoch)
        self.count = count
        self.order = shuffled(split.sizes, batch_size, runtime.rng("order", *self.key))

    def __len__(self) -> int:
        return steps_per_epoch(len(self.split), self.batch_size)

    def __getitem__(self, step: int) -> list[Any]:
        return list(self.parts(step, self.count))

    def parts(self, step: int, count: int) -> Iterator[Any]:
        """This process's share of a batch in at most ``count`` parts, as equal in number as can be.

        What samples meet by chance is drawn for the whole batch, so that it is the same however the batch is divided.
        A process for which no sample is left takes one with a share of 0, to keep step with the others.
        """
        indices = self.order[step * self.batch_size : (step + 1) * self.batch_size]
        drawn = self.split.draw(indices, self.runtime.rng("batch", *self.key, step))
        ranks = self.runtime.ranks
        own = np.array_split(drawn, ranks.size)[ranks.rank]
        for some in np.array_split(own, min(count, len(own))) if len(own) else [drawn[:1]]:
            share = len(some) / len(drawn) if len(own) else 0.0
            yield self.split.batch(some)._replace(share=share)

    def largest(self) -> list[Any]:
        """Parts of a batch of the largest samples, which take most memory."""
        self.order = np.argsort(-self.split.sizes, kind="stable")
        return self[0]


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """The number of batches, the last possibly smaller."""
    return -(-samples // batch_size)


def shuffled(sizes: np.ndarray, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """A random order of samples in which those of a batch are of similar size.

    The samples are shuffled, sorted by size within windows of some batches, and the batches shuffled again.

    Args:
        sizes: (N,) of the samples.
        batch_size: samples a batch.
        rng: draws the order.

    Returns:
        (N,) numbers of the samples.
    """
    order, whole = rng.permutation(len(sizes)), len(sizes) // batch_size
    window = batch_size * min(WINDOW, whole // SHARE)
    if window <= batch_size or (sizes == sizes[0]).all():
        return order
    # The samples that fill no batch are the last in the random order, not the largest.
    full, rest = order[: whole * batch_size], order[whole * batch_size :]
    for start in range(0, len(full), window):
        some = full[start : start + window]
        full[start : start + window] = some[np.argsort(sizes[some], kind="stable")]
    return np.concatenate((rng.permutation(full.reshape(whole, batch_size)).ravel(), rest))


def load_epoch(batches: EpochBatches, start: int, workers: int) -> Iterator[Any]:
    """Yield the batches from number ``start`` on, made by ``workers`` processes (0: in this one).

    Raises:
        UserError: the samples of a batch cannot be read, whichever process finds that out.
    """
    loader = DataLoader(
        _Told(batches),
        batch_size=None,
        sampler=range(start, len(batches)),
        num_workers=workers,
        worker_init_fn=partial(_begin, os.getpid()),
        pin_memory=batches.runtime.device.type == "cuda",
        # The loader draws a seed when it starts; from torch's own stream that would make a resumed run differ.
        generator=torch.Generator().manual_seed(0),
    )
    for batch in loader:
        if isinstance(batch, UserError):
            raise batch
        yield batch


class _Told(Dataset):
    """Batches, or the user's error that came instead: what a worker raises arrives as a page of its traceback."""

    def __init__(self, batches: EpochBatches) -> None:
        self.batches = batches

    def __getitem__(self, step: int) -> Any:
        try:
            return self.batches[step]
        except UserError as error:
            return error


def _begin(parent: int, _: int) -> None:
    """Ctrl-C is for the parent to answer, and a worker told to end ends."""
    # Torch's worker ends with its parent, but not with one that was killed before the worker looked who it is.
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


class EndlessBatches:
    """Batches of a split without end, by running number; the architecture steps draw from one."""

    def __init__(self, split: Any, batch_size: int, runtime: Runtime, name: str) -> None:
        self.split, self.batch_size, self.runtime, self.name = split, batch_size, runtime, name
        self.steps = steps_per_epoch(len(split), batch_size)
        self._epoch: EpochBatches | None = None

    def parts(self, number: int, count: int) -> Iterator[Any]:
        """A batch in parts; see ``EpochBatches.parts``."""
        epoch, step = divmod(number, self.steps)
        if self._epoch is None or self._epoch.key[1] != epoch:
            self._epoch = EpochBatches(self.split, self.batch_size, self.runtime, self.name, epoch)
        return self._epoch.parts(step, count)


def first_images(image_ids: np.ndarray, most: int | None) -> np.ndarray:
    """Indices of the samples of the first ``most`` images (all for None)."""
    if most is None:
        return np.arange(len(image_ids))
    _, first, which = np.unique(image_ids, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return np.flatnonzero(rank[which] < most)
