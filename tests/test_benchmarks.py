"""The plain implementation and ours are the same mathematics; otherwise their times could not be compared."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import evaluation, measure, run, steps
from benchmarks.data import SHAPES
from benchmarks.measure import Planned, Row, compare, peak_memory
from common.errors import UserError
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
    for planned in evaluation.SCORING:
        assert planned.make(tmp_path, runtime, 8).check() < 1e-5, planned.name


def test_evaluation_and_loader_read_the_same(runtime: Runtime, tmp_path: Path) -> None:
    for planned in (*evaluation.EVALUATION, *evaluation.LOADER):
        row = planned.make(tmp_path, runtime, 4)
        assert row.check() < 1e-4, planned.name
        assert row.ours() and row.textbook()


def test_laptop_and_demo_networks_are_the_plain_ones(runtime: Runtime, tmp_path: Path) -> None:
    for planned in (*steps.LAPTOP_ROWS, *steps.DEMO_ROWS):
        row = planned.make(tmp_path, runtime, 4)
        assert row.check() < 1e-4, planned.name
        assert row.threads == 1


def test_rows_are_chosen_by_name_and_by_group() -> None:
    assert [row.name for row in run.chosen(["demo", "laptop-colors"])] == [
        "laptop-colors",
        "demo-itm",
        "demo-vqa",
        "demo-vgd",
    ]


def test_an_unknown_row_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((SystemExit, UserError)) as stopped:
        run.main(["--rows=demo,nonsense"])
    assert "no rows nonsense" in str(stopped.value) + capsys.readouterr().err


def test_a_row_that_does_not_fit_is_said_to_be_skipped(
    runtime: Runtime, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a call returns is taken for the seconds that it took.
    monkeypatch.setattr(measure, "seconds", lambda work, *_: (work(), 1))
    long, short = (Row("steps", lambda t=t: t, lambda t=t: t, lambda: 0.0, 1) for t in (25, 1))
    rows = [Planned("long", lambda *_: long), Planned("short", lambda *_: short)]
    monkeypatch.setitem(run.GROUPS, "demo", rows)
    options = argparse.Namespace(rows=["demo"], batch=4, turns=3)
    results, skipped = run.measure(options, tmp_path, runtime, {"ours": 1e9, "textbook": 1e9}, time.monotonic() + 120)
    assert skipped == ["long"] and [result.name for result in results] == ["short"]
    assert "long: skipped, would take 250 s" in capsys.readouterr().out


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    row = Row("steps", torch.get_num_threads, torch.get_num_threads, lambda: 0.0, 1, threads=1)
    result = compare("threads", row, torch.device("cpu"), 1, {"ours": 1e9, "textbook": 1e9})
    assert result.difference == 0.0 and torch.get_num_threads() == before


def test_memory_of_a_call_is_seen() -> None:
    def work() -> int:
        return len(bytearray(b"x") * 50_000_000)

    assert 40 < peak_memory(work, torch.device("cpu")) < 80
