"""How the C library hands out memory for tensors on a CPU."""

from __future__ import annotations

import ctypes
import os
import platform

MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of malloc.h
LARGE = 12 << 20  # bytes from which a tensor has pages of its own


def give_back_large_tensors() -> None:
    """Let large tensors have pages of their own, huge ones, that go back to the system with the tensor.

    Batches differ in size, and glibc would keep tensors of up to 32 MiB in one heap, where what a batch leaves behind
    does not fit the next. Whoever sets MALLOC_MMAP_THRESHOLD_ or THP_MEM_ALLOC_ENABLE in the environment has his way.
    """
    # Torch reads this at its first large tensor; without it the pages would cost more than the heap.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if platform.libc_ver()[0] == "glibc" and "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, LARGE)
