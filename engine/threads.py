"""How many threads a run on a CPU computes with, what is fastest on the machine as it is now, and its copies."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

import torch

from common.copies import allow
from engine.runtime import Runtime

TRIED = 3  # steps that a number of threads is judged by at least, after one that warms it up
FOR = 0.5  # seconds of such steps, at least
WORTH = 1.1  # more threads must be so many times as fast as fewer


def settle(step: Callable[[], None], most: int) -> int:
    """Find the number of threads to take: all of them, halves of that, or one.

    Waiting threads leave their core after a moment (common/waiting.py), so that even all of them stay bearable where
    other work comes later.

    Args:
        step: does what the run will do again and again, and leaves nothing behind.
        most: threads there are.

    Returns:
        The fewest that are about as fast as any.
    """
    taken: dict[int, float] = {}
    for threads in halves(most):
        taken[threads] = _seconds(step, threads)
        if taken[threads] > 2 * min(taken.values()):
            break
    return min(threads for threads, seconds in taken.items() if seconds <= WORTH * min(taken.values()))


def halves(most: int) -> list[int]:
    """``most``, half of it, and so on to 1."""
    return [most] if most == 1 else [most, *halves(most // 2)]


def take(threads: int | None, runtime: Runtime, cores: int = 0) -> None:
    """Compute with so many threads from now on, and work in pieces by as many processes.

    Args:
        threads: None for as many as there are now.
        runtime: whose process is copied for them, if it is on a CPU, the only one of its run, and sees no GPU.
        cores: take so many processes at least.
    """
    threads = threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    # Where torch sees a GPU, even if it is not used, the way back begins threads that no copy has.
    copied = runtime.device.type == "cpu" and runtime.ranks.alone and not torch.cuda.device_count()
    allow(max(threads, cores) if copied else 0)


def free_to_choose() -> bool:
    """Whether nobody has said how many threads to take."""
    return not os.environ.get("OMP_NUM_THREADS") and torch.get_num_threads() > 1


def _seconds(step: Callable[[], None], threads: int) -> float:
    torch.set_num_threads(threads)
    step()
    taken: list[float] = []
    while len(taken) < TRIED or sum(taken) < FOR:
        began = time.perf_counter()
        step()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)
