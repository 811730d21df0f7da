"""Work in pieces that copies of this process help with, each on a core of its own"""

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

import torch

from common.memory import free, peak
from common.progress import hush, track

T = TypeVar("T")
R = TypeVar("R")
MOST = 8  # processes
_most = 0


def allow(processes: int) -> None:
    """From now on work is done by so many processes at most, this one among them; 0 for this one, with its threads.

    Whoever allows any has seen to it that this process holds no GPU: CUDA does not survive being copied, nor do
    libraries of other systems than Linux. OpenMP's threads do not either, so that copies and this process, as long as
    they work together, compute with one each.
    """
    global _most
    _most = min(MOST, processes) if sys.platform == "linux" else 0


def spread(work: Callable[[T], R], pieces: Sequence[T], what: str | None) -> list[R]:
    """What comes of every piece of a piece of work, in their order.

    Every process does some of the pieces, copies with this one's memory as it is now: what they change is lost, but
    for memory in common, and what ``work`` returns comes back. What a copy fails to bring is made here, so that its
    errors are raised here.

    Where processes are allowed, even one, and there are as many pieces as threads, every piece is computed with one
    thread, so that sums are rounded alike however many processes there are, which is as many as there is memory for.
    Otherwise all pieces are done here, one after the other with all threads.

    Args:
        work: what to do with a piece; it gives something that can be pickled.
        pieces: those that stand together are of about the same size.
        what: what to call this in the progress display; None for none.
    """

    def done(some: Sequence[T]) -> list[R]:
        return [work(piece) for piece in (track(some, what) if what else some)]

    if not apart(len(pieces)):
        return done(pieces)
    count = processes(len(pieces))
    found: list[Any] = [None] * len(pieces)
    with contextlib.ExitStack() as stack:
        stack.enter_context(one_thread())
        copies = [stack.enter_context(_copy(work, pieces[number::count])) for number in range(1, count)]
        found[::count] = done(pieces[::count])
        for number, copy in enumerate(copies, 1):
            theirs = brought(copy)
            found[number::count] = done(pieces[number::count]) if theirs is None else theirs
    return found


def apart(pieces: int) -> bool:
    """Whether so many pieces are done with one thread each, by however many processes; else here with all threads."""
    return _most > 0 < pieces >= torch.get_num_threads()


def processes(pieces: int) -> int:
    """How many processes may do so many pieces, this one among them, if each is done with one thread."""
    # A copy shares this one's memory, and takes as much again at the very most.
    return min(_most, pieces, 1 + free() // peak())


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread until the end of the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
    become_copy()
    ours.close()  # or sending would wait for this very process to receive
    found = []
    # Whoever waits for this one does its work again, and says what is wrong.
    with contextlib.suppress(Exception):
        for piece in pieces:
            if os.getppid() != parent:
                return
            found.append(work(piece))
        # Not with send: torch would lend its memory to the other side, which cannot be once this side is gone.
        theirs.send_bytes(pickle.dumps(found))


def become_copy() -> None:
    """Leave Ctrl-C and what is shown to whoever waits for this process, and make no copies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    allow(1)  # work in pieces within a piece is computed as this process would
    hush()


def brought(copy: Connection | None) -> list[Any] | None:
    """What came of a copy's pieces, or None where it has ended without a word; nobody but it has the other end."""
    try:
        return copy and pickle.loads(copy.recv_bytes())
    except (EOFError, OSError):
        return None
