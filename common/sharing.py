"""Work that the processes of a run share: each does some of its pieces, and all have the results"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from common.copies import spread

T = TypeVar("T")
R = TypeVar("R")


class Sharing:
    """A process among those of a run; by itself it is the only one (engine/distributed.py has those of torchrun)."""

    rank, size = 0, 1

    def of_all(self, value: Any) -> list[Any]:
        """What every process has, by rank."""
        return [value]


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


def shared(work: Callable[[T], R], pieces: Sequence[T], what: str | None) -> list[R]:
    """What comes of every piece of a piece of work, in their order, in every process; all must come here.

    Args:
        work: what to do with a piece, as ``common.copies.spread`` has it.
        pieces: the same in every process; each of them is done by one.
        what: what to call this in the progress display; None for none.
    """
    found: list[Any] = [None] * len(pieces)
    for rank, results in enumerate(_now.of_all(spread(work, pieces[_now.rank :: _now.size], what))):
        found[rank :: _now.size] = results
    return found
