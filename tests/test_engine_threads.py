"""Threads: the fewest that are about as fast as any, said and kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine import threads

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("seconds", "chosen", "tried"),
    [
        ({8: 1.0, 4: 1.9, 2: 3.0}, 8, [8, 4, 2]),  # from where it takes twice as long nothing fewer is tried
        ({8: 1.0, 4: 1.05, 2: 1.9, 1: 3.8}, 4, [8, 4, 2, 1]),
        ({8: 9.0, 4: 5.0, 2: 2.0, 1: 1.0}, 1, [8, 4, 2, 1]),
        ({3: 1.0, 1: 1.2}, 3, [3, 1]),
        ({1: 1.0}, 1, [1]),
    ],
)
def test_the_fewest_that_are_about_as_fast_as_any(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], chosen: int, tried: list[int]
) -> None:
    clock, now, used = {"time": 0.0}, {"threads": 0}, []

    def set_threads(number: int) -> None:
        now["threads"] = number
        used.append(number)

    def step() -> None:
        clock["time"] += seconds[now["threads"]]

    monkeypatch.setattr(torch, "set_num_threads", set_threads)
    monkeypatch.setattr(threads.time, "perf_counter", lambda: clock["time"])
    assert threads.settle(step, max(seconds)) == chosen
    assert used == tried


def test_short_steps_are_judged_by_many(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, now = {"time": 0.0, "steps": 0}, {}

    def step() -> None:
        clock["steps"] += 1
        disturbed = now["threads"] == 2 and clock["steps"] < 6  # something else runs for a moment
        clock["time"] += 0.05 if disturbed else 0.03 if now["threads"] == 1 else 0.02

    monkeypatch.setattr(torch, "set_num_threads", lambda number: now.update(threads=number))
    monkeypatch.setattr(threads.time, "perf_counter", lambda: clock["time"])
    assert threads.settle(step, 2) == 2
    assert clock["time"] < 2


def test_who_says_a_number_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert threads.free_to_choose()
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert not threads.free_to_choose()


@pytest.mark.parametrize(
    ("said", "found"),
    [({}, "700"), ({"GOMP_SPINCOUNT": "5"}, "5"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_waiting_is_bounded_before_torch_is_there(said: dict[str, str], found: str) -> None:
    code = (
        "import os, sys, types; from common.errors import run_module\n"
        "probe = types.ModuleType('probe'); sys.modules['probe'] = probe\n"
        "probe.main = lambda: print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)\n"
        "run_module('probe')"
    )
    clean = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**clean, **said}, capture_output=True, text=True
    )
    assert shown.stdout.split() == [found, "False"]
