"""Seconds go to the innermost part that is under way."""

from __future__ import annotations

import time

import pytest
import torch

from engine.clock import Clock

CPU = torch.device("cpu")


def test_inner_parts_are_taken_from_outer_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock = Clock()

    def wait(seconds: float) -> None:
        now[0] += seconds

    wait(100)
    with clock.part("weights", CPU):
        wait(1)
        with clock.part("architecture", CPU):
            wait(2)
            with clock.part("checkpoints", CPU):
                wait(4)
        wait(8)
    wait(100)
    with pytest.raises(KeyboardInterrupt), clock.part("weights", CPU):
        wait(16)
        raise KeyboardInterrupt
    assert clock.seconds() == clock.seconds() == {"weights": 25, "architecture": 2, "checkpoints": 4}
