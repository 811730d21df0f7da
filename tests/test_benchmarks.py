"""The plain implementation and ours are the same mathematics; otherwise their times could not be compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import evaluation, steps
from benchmarks.data import SHAPES
from benchmarks.measure import Row, peak_memory
from engine.batches import WINDOW
from engine.runtime import Runtime, start
from space.settings import SideSettings, SpaceSettings

WIDTH, BATCH = 64, 3


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """The CPU in fp32, and shapes small enough for a test."""
    for name, shape in SHAPES.items():
        monkeypatch.setitem(SHAPES, name, replace(shape, regions=12, tokens=min(shape.tokens, 20), width=16))
    return start("cpu", 0, "fp32")


@pytest.fixture
def space() -> SpaceSettings:
    """Two blocks over the words and four over the regions."""
    whole = SpaceSettings()
    return SpaceSettings(SideSettings(2, whole.encoder.candidates), SideSettings(4, whole.decoder.candidates))


@pytest.mark.parametrize("name", steps.TASKS)
@pytest.mark.parametrize("make", [steps.weight_row, steps.arch_row], ids=["weights", "architecture"])
def test_search_steps(name: str, make: Callable[..., Row], runtime: Runtime, space: SpaceSettings) -> None:
    supernet, other = steps.supernets(name, space, WIDTH, runtime)
    row = make(name, supernet, other, BATCH, runtime)
    assert row.check() < 1e-4
    assert row.ours() == (1 if name == "itm" else WINDOW // 2) and row.textbook() == 1


@pytest.mark.parametrize("name", steps.TASKS)
def test_retrain_steps(name: str, runtime: Runtime) -> None:
    model, other = steps.networks(name, WIDTH, runtime, dropout=0.0)
    given = steps.batches(name, SHAPES[name], BATCH, runtime)
    assert steps.same_loss(name, model, other, given) < 1e-4
    ours = steps.own_step(name, model, given._replace(batches=[given.middle]), runtime, list(model.parameters()))
    theirs = steps.plain_step(name, other, given)
    assert ours() == theirs() == 1
    # Everything ran and nothing was dropped, so the first step of both is the same step.
    assert steps.same_loss(name, model, other, given) < 1e-2


def test_scores_equal_one_text_and_one_image_a_pair(runtime: Runtime, tmp_path: Path) -> None:
    for row in evaluation.scoring(tmp_path, runtime, 8):
        assert row.check() < 1e-5, row.name


def test_evaluation_and_loader_read_the_same(runtime: Runtime, tmp_path: Path) -> None:
    for row in (*evaluation.evaluation(tmp_path, runtime, 4), *evaluation.loader(tmp_path, runtime, 4)):
        assert row.check() < 1e-4, row.name
        assert row.ours() and row.textbook()


def test_memory_of_a_call_is_seen() -> None:
    def work() -> int:
        return len(bytearray(b"x") * 50_000_000)

    assert 40 < peak_memory(work, torch.device("cpu")) < 80
