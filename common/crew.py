"""Copies of this process that stay, for pieces of work that come again and again, and memory that all of them see"""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import pickle
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from common.copies import become_copy, one_thread, processes

T = TypeVar("T")
R = TypeVar("R")


def in_common(tensor: Tensor) -> Tensor:
    """The same tensor on the CPU, in memory that this process and copies made from now on all read and write."""
    memory = torch.frombuffer(mmap.mmap(-1, max(tensor.itemsize, tensor.nbytes)), dtype=tensor.dtype)
    return memory[: tensor.numel()].view(tensor.shape).copy_(tensor)


class Crew(Generic[T, R]):
    """Does pieces of work as ``common.copies.spread`` does, with copies that stay until they are dismissed.

    They know what this process knew when they were made, what comes with a piece, and what is in memory in common. What
    one fails to bring, then and later, is made here. They end with this process, and with what refers to this.

    Args:
        work: what to do with a piece; pieces and what comes of them can be pickled.
        pieces: that come at a time, each of which is to be computed with one thread.
    """

    def __init__(self, work: Callable[[T], R], pieces: int) -> None:
        self._work = work
        self._copies: list[Connection] = []
        with one_thread(), contextlib.suppress(OSError):  # no more files, processes or memory: fewer copies
            for _ in range(1, processes(pieces)):
                self._copies.append(self._copy())

    def do(self, pieces: Sequence[T]) -> list[R]:
        """What comes of the pieces, in their order."""
        count = 1 + len(self._copies)
        found: list[Any] = [None] * len(pieces)
        try:
            for number, copy in enumerate(self._copies, 1):
                with contextlib.suppress(OSError):  # it is gone
                    copy.send_bytes(pickle.dumps(pieces[number::count]))
            with one_thread():
                found[::count] = map(self._work, pieces[::count])
                for number, copy in enumerate(self._copies, 1):
                    brought = _brought(copy)
                    found[number::count] = map(self._work, pieces[number::count]) if brought is None else brought
        except BaseException:  # whatever copies bring now, nobody asks for it any more
            self.dismiss()
            raise
        return found

    def dismiss(self) -> None:
        """Let the copies go; from now on all is done here."""
        while self._copies:
            self._copies.pop().close()

    def _copy(self) -> Connection:
        ours, theirs = multiprocessing.Pipe()
        # With the ends of others a copy would keep them waiting when this process is gone.
        work_of_copy = theirs, [ours, *self._copies], self._work
        with theirs:
            multiprocessing.get_context("fork").Process(target=_serve, args=work_of_copy, daemon=True).start()
        return ours


def _serve(end: Connection, others: Sequence[Connection], work: Callable[[T], Any]) -> None:
    """Do what is asked for until nobody asks any more."""
    become_copy()
    for other in others:
        other.close()
    # Whoever waits for this one does its work again, and says what is wrong.
    with contextlib.suppress(Exception):
        while True:
            # Not with send: torch would lend its memory to the other side, which cannot be once this side is gone.
            end.send_bytes(pickle.dumps([*map(work, pickle.loads(end.recv_bytes()))]))


def _brought(copy: Connection) -> list[Any] | None:
    try:
        return pickle.loads(copy.recv_bytes())
    except (EOFError, OSError):
        return None
