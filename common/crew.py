"""Copies of this process that stay, for pieces of work that come again and again, and memory that all of them see"""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from common.copies import become_copy, brought, one_thread

T = TypeVar("T")
R = TypeVar("R")


def common_zeros(count: int, dtype: torch.dtype) -> Tensor:
    """(count,) zeros in memory that this process and copies made from now on all read and write.

    Raises:
        OSError: there is not as much.
    """
    size = max(1, count) * dtype.itemsize
    return torch.frombuffer(mmap.mmap(-1, size), dtype=dtype)[:count]


def in_common(tensor: Tensor) -> Tensor:
    """The same tensor on the CPU in such memory."""
    return common_zeros(tensor.numel(), tensor.dtype).view(tensor.shape).copy_(tensor)


class Crew(Generic[T, R]):
    """Does pieces of work with copies that stay until they are dismissed, and end with this process.

    They know what this process knew when they were made, what comes with a piece, and what is in memory in common. What
    one fails to bring, then and later, is made here. Every piece is computed with one thread.

    Args:
        work: what to do with a piece; pieces and what comes of them can be pickled.
        size: processes, this one among them; there are fewer where the system makes no more.
    """

    def __init__(self, work: Callable[[T], R], size: int) -> None:
        self._work = work
        self._copies: list[tuple[BaseProcess, Connection]] = []
        with one_thread(), contextlib.suppress(OSError):  # no more files, processes or memory
            for number in range(1, size):
                self._copies.append(self._copy(number, size))
        self._size = size

    def do(self, pieces: Sequence[T]) -> Iterator[R]:
        """What comes of the pieces, in their order; where there are no copies, one after the other as it is asked for.

        Until it is gone through or closed this process computes with one thread.
        """
        with one_thread():
            if not self._copies:
                yield from map(self._work, pieces)
                return
            found: list[Any] = [None] * len(pieces)
            try:
                told = pickle.dumps([*pieces])
                for _, end in self._copies:
                    with contextlib.suppress(OSError):  # it is gone
                        end.send_bytes(told)
                found[:: self._size] = map(self._work, pieces[:: self._size])
                for number in range(1, self._size):
                    theirs = brought(self._copies[number - 1][1]) if number <= len(self._copies) else None
                    share = slice(number, None, self._size)
                    found[share] = map(self._work, pieces[share]) if theirs is None else theirs
            except BaseException:  # what copies still write, nobody waits for any more
                self.dismiss()
                raise
            yield from found

    def dismiss(self) -> None:
        """End the copies, whatever they do; from now on all is done here."""
        while self._copies:
            process, end = self._copies.pop()
            end.close()
            process.kill()
            process.join()

    def _copy(self, number: int, size: int) -> tuple[BaseProcess, Connection]:
        ours, theirs = multiprocessing.Pipe()
        # With the ends of others a copy would keep them waiting when this process is gone.
        others = [ours, *(end for _, end in self._copies)]
        work_of_copy = os.getpid(), theirs, others, self._work, slice(number, None, size)
        with theirs:
            process = multiprocessing.get_context("fork").Process(target=_serve, args=work_of_copy, daemon=True)
            process.start()
        return process, ours


def _serve(parent: int, end: Connection, others: Sequence[Connection], work: Callable[[T], Any], share: slice) -> None:
    """Do a share of what is asked for until nobody asks, or waits, any more."""
    become_copy()
    for other in others:
        other.close()
    # Whoever waits for this one does its work again, and says what is wrong.
    with contextlib.suppress(Exception):
        while True:
            found = []
            for piece in pickle.loads(end.recv_bytes())[share]:
                if os.getppid() != parent:
                    return
                found.append(work(piece))
            # Not with send: torch would lend its memory to the other side, which cannot be once this side is gone.
            end.send_bytes(pickle.dumps(found))
