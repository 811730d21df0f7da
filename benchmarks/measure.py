"""Timing of two ways to do one thing, turn by turn, so that a busy machine slows both."""

from __future__ import annotations

import ctypes
import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.runtime import Runtime


@dataclass
class Row:
    """A comparison.

    Args:
        unit: what is counted: steps, pairs, samples.
        ours: does it once; returns how many units it did.
        textbook: does the same, or a part of it.
        check: the largest difference of the two results, relative.
        target: the least ratio wanted.
        threads: that both sides use on a processor, and its own time counts; None for all threads and time on the wall.
    """

    unit: str
    ours: Callable[[], int]
    textbook: Callable[[], int]
    check: Callable[[], float]
    target: float
    threads: int | None = None


@dataclass(frozen=True)
class Planned:
    """A row that is built when its turn comes.

    Args:
        name: letters, digits and hyphens.
        make: builds it, given a folder for data, the runtime and the samples of a batch.
    """

    name: str
    make: Callable[[Path, Runtime, int], Row]


class TooLong(Exception):
    """A row would take longer than there is time; the message says how long."""


@dataclass
class Cost:
    """What one side took.

    Args:
        rate: units a second, the median of the turns.
        spread: the fastest turn over the slowest.
        memory: MB at the peak beyond what stood there before.
        flops: of a unit's matrix products.
        peak_share: of the machine's best matrix product, from the products counted; None where there are none.
    """

    rate: float
    spread: float
    memory: float
    flops: float
    peak_share: float | None


@dataclass
class Result:
    """A row measured."""

    name: str
    unit: str
    ours: Cost
    textbook: Cost
    ratio: float
    flops_ratio: float | None  # how many times the FLOPs of ours the textbook takes: the ratio at equal rates
    target: float
    difference: float


def seconds(
    work: Callable[[], int], device: torch.device, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, int]:
    """Time of one call and the units it did; on a GPU by its own events."""
    if device.type == "cuda":
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        first.record()
        units = work()
        last.record()
        torch.cuda.synchronize()
        return first.elapsed_time(last) / 1000, units
    start = clock()
    units = work()
    return clock() - start, units


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Use so many threads for a while; None changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def compare(
    name: str, row: Row, device: torch.device, turns: int, peaks: Mapping[str, float], left: float = math.inf
) -> Result:
    """Check a row, warm both sides up while counting products and memory, then time them turn by turn.

    Raises:
        TooLong: the first call of both sides shows that it would take more than ``left`` seconds.
    """
    with threads(row.threads):
        return _compare(name, row, device, turns, peaks, time.monotonic() + left)


def _compare(
    name: str, row: Row, device: torch.device, turns: int, peaks: Mapping[str, float], deadline: float
) -> Result:
    clock = time.process_time if row.threads else time.perf_counter
    difference = row.check()
    flops, memory = {}, {}
    sides = {"ours": row.ours, "textbook": row.textbook}
    needed = sum(seconds(work, device)[0] for work in sides.values()) * (turns + 2)
    if time.monotonic() + needed > deadline:
        raise TooLong(f"would take {needed:.0f} s, more than is left of its minutes")
    for side, work in sides.items():
        memory[side] = peak_memory(work, device)
        with FlopCounterMode(display=False) as counter:
            units = work()
        flops[side] = counter.get_total_flops() / units
    taken: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(turns):
        for side, work in sides.items():
            spent, units = seconds(work, device, clock)
            taken[side].append(spent / units)
    known = dict.fromkeys(sides) if row.threads else peaks  # the peaks are those of all threads
    costs = {side: _cost(taken[side], memory[side], flops[side], known[side]) for side in sides}
    ratio = costs["ours"].rate / costs["textbook"].rate
    flops_ratio = flops["textbook"] / flops["ours"] if flops["ours"] else None
    return Result(name, row.unit, costs["ours"], costs["textbook"], ratio, flops_ratio, row.target, difference)


def _cost(taken: list[float], memory: float, flops: float, peak: float | None) -> Cost:
    middle = statistics.median(taken)
    return Cost(1 / middle, max(taken) / min(taken), memory, flops, flops / middle / peak if flops and peak else None)


def matmul_peak(device: torch.device, dtype: torch.dtype, size: int = 2048) -> float:
    """FLOP a second of the fastest of some large matrix products."""
    size = 8192 if device.type == "cuda" else size
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

    def work() -> int:
        torch.mm(a, b)
        return 1

    work()
    return 2 * size**3 / min(seconds(work, device)[0] for _ in range(10))


def peak_memory(work: Callable[[], int], device: torch.device) -> float:
    """MB that a call needs at its peak beyond what the process (or the GPU) held before."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    # Pages that the allocator keeps for later would hide what the call takes.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    work()
    return status("VmHWM") - before


def status(key: str) -> float:
    """MB that the kernel reports of this process: VmRSS, VmHWM (its peak), RssAnon."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1000
    raise KeyError(key)
