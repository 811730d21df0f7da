"""Where a run's time goes: seconds by part, each second in the innermost part that is under way"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch

Moment = float | torch.cuda.Event


class Clock:
    """Adds up wall-clock seconds by part. A GPU is timed by events on its own stream, so that no step waits for it."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._spans: list[tuple[str, Moment, Moment]] = []  # not added up yet
        self._under_way: list[str] = []
        self._since: Moment = 0.0

    @contextlib.contextmanager
    def part(self, name: str, device: torch.device) -> Iterator[None]:
        """Count the block to a part, but for what other parts inside of it take.

        Args:
            name: of the part.
            device: where the run computes.
        """
        self._turn(device)
        self._under_way.append(name)
        try:
            yield
        finally:
            self._turn(device)
            self._under_way.pop()

    def _turn(self, device: torch.device) -> None:
        now = _now(device)
        if self._under_way:
            self._spans.append((self._under_way[-1], self._since, now))
        self._since = now

    def seconds(self) -> dict[str, float]:
        """By part, of all blocks that are left; waits for a GPU."""
        for name, start, end in self._spans:
            self._seconds[name] = self._seconds.get(name, 0.0) + _between(start, end)
        self._spans.clear()
        return dict(self._seconds)


def _now(device: torch.device) -> Moment:
    if device.type != "cuda":
        return time.monotonic()
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


def _between(start: Moment, end: Moment) -> float:
    if isinstance(end, float):
        return end - start
    end.synchronize()
    return start.elapsed_time(end) / 1000
