"""Work that copies of this process help with, on cores that it leaves idle"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from common.progress import track

T = TypeVar("T")
R = TypeVar("R")
_most = 1


def allow(processes: int) -> None:
    """From now on work is done by so many processes at most, this one among them; by it alone where none can be copied.

    Whoever allows more has seen to it that this process computes with few threads, and holds no GPU.
    """
    global _most
    # Elsewhere libraries of the system do not survive being copied.
    _most = processes if sys.platform == "linux" else 1


def spread(work: Callable[[T], R], pieces: Sequence[T], what: str | None) -> list[R]:
    """What comes of every piece of a piece of work, in their order.

    Every process does some of the pieces, copies with this one's memory as it is now: what they change is lost, only
    what ``work`` returns comes back. What a copy fails to bring is made here, so that its errors are raised here.

    Args:
        work: what to do with a piece; it gives something that can be pickled.
        pieces: those that stand together are of about the same size.
        what: what to call this in the progress display; None for none.
    """

    def done(some: Sequence[T]) -> list[R]:
        return [work(piece) for piece in (track(some, what) if what else some)]

    count = max(1, min(_most, len(pieces)))
    found: list[Any] = [None] * len(pieces)
    with contextlib.ExitStack() as stack:
        copies = [stack.enter_context(_copy(work, pieces[number::count])) for number in range(1, count)]
        found[::count] = done(pieces[::count])
        for number, copy in enumerate(copies, 1):
            brought = _brought(copy)
            found[number::count] = done(pieces[number::count]) if brought is None else brought
    return found


@contextlib.contextmanager
def _copy(work: Callable[[T], Any], pieces: Sequence[T]) -> Iterator[Connection]:
    """A copy of this process at work until the end of the block; the connection gives what comes of it."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    copy = multiprocessing.get_context("fork").Process(target=_serve, args=(theirs, work, pieces), daemon=True)
    copy.start()
    theirs.close()  # or nobody would hear that the copy is gone
    try:
        yield ours
    finally:
        copy.kill()
        copy.join()
        ours.close()


def _serve(theirs: Connection, work: Callable[[T], Any], pieces: Sequence[T]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Whoever waits for this one does its work again, and says what is wrong.
    with contextlib.suppress(Exception):
        # Not with send: torch would lend its memory to the other side, which cannot be once this side is gone.
        theirs.send_bytes(pickle.dumps([work(piece) for piece in pieces]))


def _brought(copy: Connection) -> list[Any] | None:
    """What came of a copy's pieces, or None where it has ended without a word; nobody but it has the other end."""
    try:
        return pickle.loads(copy.recv_bytes())
    except (EOFError, OSError):
        return None
