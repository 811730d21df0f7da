"""Several processes are one: the same steps, the same scores; and a process that dies takes the others with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import main as in_one
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from common import sharing
from common.errors import UserError
from common.lock import held
from engine import launcher
from engine.distributed import Ranks
from engine.learning import fewest_parts
from engine.optim import memory_held
from engine.runtime import start
from genotypes.genotype import load
from search.run import main as search
from tasks.find import task_names

TESTS = Path(__file__).parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
STAGES = ("search", "seeing", "blind")


def start_two(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    return subprocess.Popen(
        [*TORCHRUN, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def found(demo: Path) -> dict[str, Any]:
    """What steps and scores come to in one process, in two, and in one that takes batches in parts."""
    two = start_two(TESTS / "ranks.py", demo, demo / "two.pt", 1)
    in_one(str(demo), str(demo / "one.pt"), 1)
    in_one(str(demo), str(demo / "parts.pt"), 3)
    said, _ = two.communicate(timeout=300)
    assert two.returncode == 0, said
    return {name: torch.load(demo / f"{name}.pt", weights_only=True) for name in ("one", "two", "parts")}


@pytest.mark.parametrize("task", task_names())
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("other", ["two", "parts"])
def test_steps_are_those_of_the_whole_batch(found: dict[str, Any], task: str, stage: str, other: str) -> None:
    one, several = found["one"][task][stage], found[other][task][stage]
    for wanted, said in zip(one["said"], several["said"], strict=True):
        assert said == pytest.approx(wanted, rel=1e-5)
    apart = torch.cat([(several["weights"][name] - weight).abs().view(-1) for name, weight in one["weights"].items()])
    # Adam moves a weight by its rate whatever its gradient, so that few, whose gradients are only rounding, may differ.
    assert (apart > 1e-6).float().mean() < 0.01
    assert several.get("curve", []) == pytest.approx(one.get("curve", []), rel=1e-5)


@pytest.mark.parametrize("task", task_names())
@pytest.mark.parametrize("stage", STAGES)
def test_scores_are_the_same_to_the_last_bit(found: dict[str, Any], task: str, stage: str) -> None:
    assert found["two"][task][stage]["scores"] == found["one"][task][stage]["scores"]


RETRAIN = ["-m", "--", "retrain", "--task=vgd", "--geno=mcan", "--profile=demo", "--gpu=cpu", "--model.pool_hidden=16"]
SIZES = ["--model.word_width=16", "--retrain.width=64", "--retrain.val_images=5", "--data.word_vectors=null"]


def test_a_process_that_is_killed_ends_the_run(demo: Path, tmp_path: Path) -> None:
    run = start_two(
        *RETRAIN, *SIZES, f"--data.root={demo}", "--version=v", f"--logs={tmp_path}", "--retrain.epochs=1000"
    )
    workers = wait_for(lambda: children(run.pid) if (tmp_path / "ckpts/v/last.pt").exists() else [])
    os.kill(workers[-1], 9)
    killed = time.monotonic()
    said, _ = run.communicate(timeout=60)
    assert run.returncode != 0 and time.monotonic() - killed < 60
    assert "Signal 9 (SIGKILL)" in said and "threads: " in said


def children(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def wait_for(look: Any) -> Any:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if seen := look():
            return seen
        time.sleep(0.2)
    raise AssertionError("it never came")


class Two(Ranks):
    """Two processes of which this one knows what the other says."""

    def __init__(self, other: int) -> None:
        super().__init__(0, 2)
        self.other = other

    def of_all(self, value: int) -> list[int]:
        return [value, value + self.other]


def test_weights_that_drift_apart_stop_the_run() -> None:
    weights = [torch.randn(3), torch.randn(2, 2)]
    Two(0).check_same([*weights, torch.zeros(2)])
    with pytest.raises(UserError, match="the weights of process 1 of 2 are no longer those of process 0"):
        Two(1).check_same(weights)


def test_weights_that_changed_places_or_a_bit_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[int] = []
    monkeypatch.setattr(Two, "of_all", lambda self, value: said.append(value) or [value])
    one, other, flipped = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]), torch.tensor([1.0, 2.0])
    flipped.view(torch.uint8)[0] ^= 1
    for weights in ([one, other], [other, one], [flipped, other], [one, other]):
        Two(0).check_same(weights)
    assert said[0] == said[3] and len(set(said)) == 3


def test_naming_several_devices_becomes_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda program, command: became.append(command))
    monkeypatch.setattr("sys.orig_argv", ["python", "-m", "search", "--task=itm", "--gpu=cpu,cpu"])
    for name in ("LOCAL_RANK", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    start("cpu,cpu", 0, "fp32")
    torchrun = [sys.executable, "-m", "engine.launcher", "--standalone", "--nproc_per_node=2", "-m", "--"]
    assert became == [[*torchrun, "search", "--task=itm", "--gpu=cpu,cpu"]]
    assert os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] == "600"
    monkeypatch.setenv("LOCAL_RANK", "1")
    start("cpu,cpu", 0, "fp32")  # a process that it started
    assert len(became) == 1
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="GPU=cpu,cpu names 2 for more processes on this machine"):
        start("cpu,cpu", 0, "fp32")
    monkeypatch.delenv("LOCAL_RANK")
    monkeypatch.setattr("sys.orig_argv", ["python", "script.py"])
    with pytest.raises(UserError, match="2 GPUs need as many processes: torchrun --nproc_per_node=2 -m -- <search"):
        start("cpu,cpu", 0, "fp32")


def ended(exitcode: int) -> ChildFailedError:
    return ChildFailedError("search", {1: ProcessFailure(1, 7, exitcode, "<N/A>")})


@pytest.mark.parametrize(
    ("error", "status"), [(None, 0), (ended(2), 2), (ended(130), 130), (SignalException("", signal.SIGTERM), 130)]
)
def test_a_run_of_several_ends_as_its_processes_do(
    error: Exception | None, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> None:
        if error:
            raise error

    monkeypatch.setattr("logging.disable", lambda level: None)
    monkeypatch.setattr(launcher.torchrun, "main", run)
    assert launcher.main() == status


@pytest.mark.parametrize(("exitcode", "how"), [(1, "with exit code 1"), (-9, "by SIGKILL")])
def test_a_process_that_ended_without_a_word_is_named(exitcode: int, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> None:
        raise ended(exitcode)

    monkeypatch.setattr("logging.disable", lambda level: None)
    monkeypatch.setattr(launcher.torchrun, "main", run)
    with pytest.raises(UserError, match=f"process 1 of the run ended {how}, and the others with it; see above"):
        launcher.main()


@pytest.fixture
def of_three() -> Iterator[None]:
    sharing.share_with(Ranks(1, 3))
    yield
    sharing.share_with(sharing.Sharing())


def test_a_process_takes_its_share(of_three: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ranks, "of_all", lambda self, value: [["a", "d", "g"], value, ["c", "f"]])
    done = []
    assert sharing.shared(lambda piece: done.append(piece) or "abcdefgh"[piece], range(8), None) == [*"abcdefgh"]
    assert done == [1, 4, 7]


def test_a_batch_comes_in_as_few_parts_as_fit() -> None:
    tried = []

    def rehearse(count: int) -> None:
        tried.append(count)
        if count < 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with memory_held([torch.ones(2)], 2):
        assert fewest_parts(rehearse, 64) == 4 and tried == [1, 2, 4]
    with pytest.raises(UserError, match="not even one sample at a time fits"):
        fewest_parts(rehearse, 2)


def losses(logs: Path, version: str) -> list[float]:
    lines = (logs / "log" / version / "metrics.jsonl").read_text().splitlines()
    return [line["train/loss"] for line in map(json.loads, lines) if "train/loss" in line]


@pytest.mark.slow
def test_a_run_that_torchrun_starts_again_comes_to_the_same(demo: Path, tmp_path: Path) -> None:
    more = [*SIZES, f"--data.root={demo}", f"--logs={tmp_path}", "--retrain.epochs=6", "--model.dropout=0.1"]
    whole = start_two(*RETRAIN, *more, "--version=whole")
    assert whole.wait(timeout=300) == 0
    cut = start_two("--max-restarts=1", *RETRAIN, *more, "--version=cut")
    workers = wait_for(lambda: children(cut.pid) if (tmp_path / "ckpts/cut/last.pt").exists() else [])
    os.kill(workers[0], 9)
    said, _ = cut.communicate(timeout=300)
    assert cut.returncode == 0 and "going on in epoch" in said
    assert losses(tmp_path, "cut") == losses(tmp_path, "whole") and len(losses(tmp_path, "whole")) == 6


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_several_processes_save_before_they_stop(demo: Path, tmp_path: Path, number: int) -> None:
    more = [*SIZES, f"--data.root={demo}", f"--logs={tmp_path}", "--retrain.epochs=1000", "--version=v"]
    run = start_two(*RETRAIN, *more)
    wait_for(lambda: (tmp_path / "ckpts/v/last.pt").exists())
    run.send_signal(number)
    said, _ = run.communicate(timeout=60)
    assert run.returncode != 0 and said.count("go on with the same command and RESUME=1 VERSION=v") == 1


@pytest.mark.slow
def test_a_search_in_two_processes_is_the_search_of_one(demo: Path, tmp_path: Path) -> None:
    sizes = ["--space.encoder.blocks=1", "--space.decoder.blocks=1", "--search.width=64", "--search.epochs=2"]
    steps = ["--search.alpha_start=0", "--search.alpha_every=2", "--search.val_images=5", "--search.blend_steps=2"]
    flags = ["--task=itm", "--profile=demo", "--gpu=cpu", "--model.pool_hidden=16", "--data.word_vectors=null"]
    more = [*flags, *sizes, *steps, f"--data.root={demo}", f"--logs={tmp_path}", f"--genotypes={tmp_path}"]
    plain = {"model.align_width": 0, "search.selector": "exact"}
    more += [f"--{key}={value}" for key, value in plain.items()]
    two = start_two("-m", "--", "search", *more, "--version=two")
    said, _ = two.communicate(timeout=300)
    assert two.returncode == 0, said
    search([*more, "--version=one"])
    one, other = (load(str(tmp_path / "itm" / f"{name}.json")) for name in ("one", "two"))
    assert (one.encoder, one.decoder) == (other.encoder, other.decoder)
    assert losses(tmp_path, "two") == pytest.approx(losses(tmp_path, "one"), rel=1e-3)


TOGETHER = """
import time, torch
from engine.course import reseed
from engine.runtime import start
runtime = start("cpu", 0, "fp32")
ranks = runtime.ranks
same = torch.rand(1).item()
reseed(runtime)
drawn = ranks.of_all((same, torch.rand(1).item()))
assert drawn[0][0] == drawn[1][0] and drawn[0][1] != drawn[1][1], drawn
began = time.monotonic()
if ranks.first:
    time.sleep(0.5)
ranks.wait()
waited = ranks.of_all(time.monotonic() - began)
assert min(waited) > 0.4, waited
with ranks.in_turn():
    time.sleep(0.3 if ranks.first else 0)
    ended = time.monotonic()
first, second = ranks.of_all(ended)
assert first < second, (first, second)
ranks.close()
"""


def test_processes_draw_other_dropout_and_wait_for_each_other(tmp_path: Path) -> None:
    (tmp_path / "together.py").write_text(TOGETHER)
    two = start_two(tmp_path / "together.py")
    said, _ = two.communicate(timeout=120)
    assert two.returncode == 0, said


MISTAKEN = """
import sys, torch
from common import errors
from engine.distributed import join
def main():
    ranks = join(torch.device("cpu"))
    if ranks.rank == int(sys.argv[1]):
        raise errors.UserError("no such file; name another")
    ranks.wait()
if sys.argv[1] == "1":
    errors.SECONDS_TO_BE_ENDED = 1 if errors.os.environ["RANK"] == "1" else 20
errors.run(main)
"""


@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_mistake_that_one_process_meets_is_told_once_and_ends_all(tmp_path: Path, rank: int) -> None:
    (tmp_path / "mistaken.py").write_text(MISTAKEN)
    torchrun = [sys.executable, "-m", "engine.launcher", "--standalone", "--nproc_per_node=2"]
    command = [*torchrun, str(tmp_path / "mistaken.py"), str(rank)]
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    who = "process 1: " if rank else ""
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{who}error: no such file; name another\n")


def by_name(demo: Path, logs: Path, *more: str) -> list[str]:
    """The command of a run on two devices that are named, which becomes torchrun itself."""
    flags = [*RETRAIN[2:], *SIZES, f"--data.root={demo}", f"--logs={logs}", "--version=v", *more]
    return [sys.executable, "-m", *flags, "--gpu=cpu,cpu"]


@pytest.mark.slow
def test_processes_are_started_by_naming_devices(demo: Path, tmp_path: Path) -> None:
    command, told = by_name(demo, tmp_path, "--retrain.epochs=1"), {"cwd": TESTS.parent, "text": True, "timeout": 300}
    done = subprocess.run(command, capture_output=True, **told)
    assert done.returncode == 0 and "on cpu, 2 processes" in done.stdout, done.stderr
    # All processes meet the same mistake; one says it.
    again = subprocess.run(command, capture_output=True, **told)
    said = f"error: a run named 'v' exists under {tmp_path}; add RESUME=1 to go on with it or choose another VERSION\n"
    assert (again.returncode, again.stdout, again.stderr) == (2, "", said)


@pytest.mark.slow
def test_a_run_that_another_holds_is_told_by_the_first_process_alone(demo: Path, tmp_path: Path) -> None:
    (tmp_path / "log/v").mkdir(parents=True)
    command = [*by_name(demo, tmp_path, "--retrain.epochs=1"), "--resume=true"]
    with held(tmp_path / "log/v/.lock", "", "", print):
        done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, timeout=120)
    said = f"error: the run 'v' is held by process {os.getpid()} on "
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1) and done.stderr.startswith(said)


@pytest.mark.slow
def test_a_process_that_is_killed_is_told_in_one_sentence(demo: Path, tmp_path: Path) -> None:
    command = by_name(demo, tmp_path, "--retrain.epochs=1000")
    run = subprocess.Popen(command, cwd=TESTS.parent, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    workers = wait_for(lambda: children(run.pid) if (tmp_path / "ckpts/v/last.pt").exists() else [])
    os.kill(workers[1], 9)
    _, said = run.communicate(timeout=60)
    # Nothing else: the other one waits to be ended and adds no page.
    assert run.returncode == 2 and said.count("\n") == 1, said
    assert said.startswith("error: process 1 of the run ended by SIGKILL, and the others with it; see")
