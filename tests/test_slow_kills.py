"""Runs that are killed and stopped at random moments, and inside a checkpoint's writing, end like undisturbed ones.

Every run is a process of its own, forked from this one, which never trains.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pytest
import tiny_vqa
import torch

from common.errors import run
from common.files import leftovers
from engine import checkpoint
from genotypes.genotype import load
from retrain.run import main as retrain
from search.run import main as search

pytestmark = pytest.mark.slow

KILLS, LAST = 10, 8
SMALL = ["--task=vqa", "--profile=demo", "--gpu=cpu", "--threads=1", "--data.word_vectors=null", "--data.answer_min=1"]
SMALL += ["--model.pool_hidden=16", "--model.word_width=16", "--model.dropout=0.1"]
EPOCHS = [f"--{{}}.epochs={LAST}", "--{}.batch_size=4", "--{}.val_every=1", "--{}.width=64", "--{}.save_minutes=1e-9"]
OWN = {
    "search": [
        "--space.encoder.blocks=1",
        "--space.decoder.blocks=2",
        "--search.alpha_start=1",
        "--search.alpha_every=2",
    ],
    "retrain": ["--geno=small.json"],
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_vqa.make_root(Path("data"))
    Path("small.json").write_text('{"encoder": ["self_att_64"], "decoder": ["rel_self_att_64", "guided_att_64"]}')


class Started:
    """A run as a process."""

    def __init__(self, stage: str, version: str, workers: int = 0, *more: str) -> None:
        self.folder = Path("logs/ckpts") / version
        self.resumes = (Path("logs/log") / version).exists()
        flags = [*SMALL, *OWN[stage], *(flag.format(stage) for flag in EPOCHS), *more, f"--workers={workers}"]
        flags += ["--data.root=data", f"--version={version}", f"--resume={str(self.resumes).lower()}"]
        self.began = self._saved()
        self.process = get_context("fork").Process(target=self._run, args=(stage, flags))
        self.process.start()

    def _run(self, stage: str, flags: list[str]) -> None:
        out = os.open(f"{self.folder.name}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        run(lambda: (search if stage == "search" else retrain)(flags))

    def _saved(self) -> int:
        try:
            return (self.folder / "last.pt").stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def until(self, seen: Callable[[], object]) -> None:
        end = time.monotonic() + 300
        while not seen() and self.process.is_alive():
            assert time.monotonic() < end
            time.sleep(0.001)  # a checkpoint takes several to write

    def until_it_saves(self) -> None:
        self.until(lambda: self._saved() != self.began)

    def ended(self) -> int:
        self.process.join(300)
        return self.process.exitcode

    def send(self, number: signal.Signals) -> int:
        if self.process.is_alive():
            os.kill(self.process.pid, number)
        return self.ended()


def said(version: str) -> str:
    return Path(f"{version}.txt").read_text()


def outcome(stage: str, version: str) -> dict:
    """Everything a run comes to."""
    records = [json.loads(line) for line in (Path("logs/log") / version / "metrics.jsonl").read_text().splitlines()]
    found: dict = {"metrics": records, "state": checkpoint.load(Path("logs/ckpts") / version / "last.pt")["stage"]}
    if stage == "search":
        genotype = load(f"genotypes/searched/vqa/{version}.json")
        found["genotype"] = (genotype, genotype.probabilities, genotype.swaps, genotype.supernet)
    else:
        found["best"] = checkpoint.load(Path("logs/ckpts") / version / "best.pt")
    return found


def same(one: object, other: object) -> bool:
    """Bit for bit, whatever is inside."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.fixture(params=["search", "retrain"])
def whole(request: pytest.FixtureRequest) -> tuple[str, float]:
    """A run that nothing disturbs, and the seconds of its training."""
    started = Started(request.param, "whole")
    started.until_it_saves()
    began = time.monotonic()
    assert started.ended() == 0, said("whole")
    return request.param, time.monotonic() - began


@pytest.mark.parametrize("workers", [0, 2])
def test_runs_that_are_killed_again_and_again_end_the_same(whole: tuple[str, float], workers: int) -> None:
    (stage, seconds), rng, inside = whole, random.Random(workers), 0
    for number in range(KILLS):
        started = Started(stage, "killed", workers)
        started.until_it_saves()
        time.sleep(rng.uniform(0, seconds / (2 * KILLS)))
        if number % 2:
            started.until(lambda started=started: leftovers(started.folder))
        assert started.send(signal.SIGKILL) == -signal.SIGKILL, "it ended before it was killed"
        inside += bool(leftovers(started.folder))
    assert Started(stage, "killed", workers).ended() == 0, said("killed")
    assert not leftovers(Path("logs/ckpts/killed"))
    assert same(outcome(stage, "whole"), outcome(stage, "killed"))
    print(f"{stage}, {workers} workers: {KILLS} kills, {inside} of them inside a checkpoint's writing")
    assert inside >= KILLS // 4


@pytest.mark.parametrize("workers", [0, 2])
def test_runs_that_are_stopped_end_the_same(whole: tuple[str, float], workers: int) -> None:
    (stage, seconds), rng = whole, random.Random(workers)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        started = Started(stage, "stopped", workers)
        started.until_it_saves()
        time.sleep(rng.uniform(0, seconds / 8))
        assert started.send(number) == 130, said("stopped")
    assert said("stopped").count("go on with the same command and RESUME=1 VERSION=stopped") == 4
    # Once more, after the last epoch.
    started = Started(stage, "stopped", workers)
    log = Path("logs/log/stopped/metrics.jsonl")
    started.until(lambda: f'"epoch": {LAST}' in log.read_text())
    assert started.send(signal.SIGTERM) == 130, said("stopped")
    assert Started(stage, "stopped", workers).ended() == 0, said("stopped")
    assert same(outcome(stage, "whole"), outcome(stage, "stopped"))


def test_a_damaged_checkpoint_costs_one_interval_and_no_number(whole: tuple[str, float]) -> None:
    stage, seconds = whole
    started = Started(stage, "damaged")
    started.until_it_saves()
    time.sleep(seconds / 2)
    assert started.send(signal.SIGKILL) == -signal.SIGKILL
    last = Path("logs/ckpts/damaged/last.pt")
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    assert Started(stage, "damaged").ended() == 0, said("damaged")
    assert "note: last.pt is damaged; going on from last.1.pt" in said("damaged")
    assert same(outcome(stage, "whole"), outcome(stage, "damaged"))
