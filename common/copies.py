"""Work that copies of this process help with, on cores that it leaves idle"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from common.progress import hush, track

T = TypeVar("T")
R = TypeVar("R")
MOST = 8  # processes; every one of them takes the memory of a batch
_most = 1


def allow(processes: int) -> None:
    """From now on work is done by so many processes, this one among them, or by MOST.

    Whoever allows more than one has seen to it that this process computes with one thread and holds no GPU: neither
    OpenMP's threads nor CUDA survive being copied, nor do libraries of other systems than Linux.
    """
    global _most
    _most = min(MOST, processes) if sys.platform == "linux" else 1


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
def _copy(work: Callable[[T], Any], pieces: Sequence[T]) -> Iterator[Connection | None]:
    """A copy of this process at work until the end of the block; what comes of it, or None where there can be none."""
    try:
        ours, theirs = multiprocessing.Pipe(duplex=False)
    except OSError:  # no more files
        yield None
        return
    work_of_copy = (os.getpid(), ours, theirs, work, pieces)
    copy = multiprocessing.get_context("fork").Process(target=_serve, args=work_of_copy, daemon=True)
    with ours:
        try:
            copy.start()
        except OSError:  # no more processes or memory
            yield None
            return
        finally:
            theirs.close()  # or nobody would hear that the copy is gone
        try:
            yield ours
        finally:
            copy.kill()
            copy.join()


def _serve(parent: int, ours: Connection, theirs: Connection, work: Callable[[T], Any], pieces: Sequence[T]) -> None:
    """Do the work and send it, unless nobody waits for it any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ours.close()  # or sending would wait for this very process to receive
    allow(1)
    hush()
    found = []
    # Whoever waits for this one does its work again, and says what is wrong.
    with contextlib.suppress(Exception):
        for piece in pieces:
            if os.getppid() != parent:
                return
            found.append(work(piece))
        # Not with send: torch would lend its memory to the other side, which cannot be once this side is gone.
        theirs.send_bytes(pickle.dumps(found))


def _brought(copy: Connection | None) -> list[Any] | None:
    """What came of a copy's pieces, or None where it has ended without a word; nobody but it has the other end."""
    try:
        return copy and pickle.loads(copy.recv_bytes())
    except (EOFError, OSError):
        return None
