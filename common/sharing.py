"""Work that the processes of a run share: each does some of its pieces, and all have the results."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

from common.progress import track

T = TypeVar("T")


class Sharing:
    """A process among those of a run; by itself it is the only one (engine/distributed.py has those of torchrun)."""

    rank, size = 0, 1

    def add(self, *arrays: np.ndarray) -> None:
        """Let every process have the sum of all processes' arrays, in place."""


_now = Sharing()


def share_with(sharing: Sharing) -> None:
    """From now on work is shared so."""
    global _now
    _now = sharing


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """In this block the process does all pieces of its work itself, as others do not take part in it."""
    before = _now
    share_with(Sharing())
    try:
        yield
    finally:
        share_with(before)


def shared(pieces: Sequence[T], what: str | None, *results: np.ndarray) -> Iterator[T]:
    """This process's pieces of a piece of work, with progress; every process must come through to the end.

    Args:
        pieces: the same in every process; each of them is done by one.
        what: what to call this in the progress display; None for none.
        *results: zeros into which each process writes what came of its pieces. After the last one they hold what all
            processes wrote.
    """
    own = pieces[_now.rank :: _now.size]
    yield from track(own, what) if what else own
    _now.add(*results)
