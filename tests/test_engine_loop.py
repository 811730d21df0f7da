"""The loop by itself, driven with a stage of one number: rates, parts, checks, saving, going on, other processes."""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from common.errors import UserError
from engine import loop as looping
from engine import threads as engine_threads
from engine.course import Course
from engine.distributed import Ranks
from engine.log import Silence
from engine.loop import Loop
from engine.optim import Training
from engine.run import RunOptions
from engine.runtime import Runtime

RUNTIME = Runtime(torch.device("cpu"), seed=3)
TEN = Training(epochs=3, batch_size=4, lr=1.0, warmup_epochs=1, decay_epochs=[2])  # three steps an epoch


class Part(NamedTuple):
    """Some numbers, and what each has met by chance."""

    numbers: list[int]
    met: list[int]
    totals: Mapping[str, float] = {}
    share: float = 1.0

    def to(self, device: torch.device) -> Part:
        return self


class Numbers:
    """A split of ten numbers."""

    sizes = np.ones(10, np.int64)

    def __len__(self) -> int:
        return 10

    def draw(self, indices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.stack((indices, rng.integers(1000, size=len(indices))), axis=1)

    def batch(self, drawn: np.ndarray) -> Part:
        return Part(*drawn.T.tolist())


class Noted:
    """A stage that notes what the loop has it do; what it draws stands for dropout."""

    def __init__(self, stop: Callable[[int], bool] = lambda steps: False) -> None:
        self.split, self.count, self.stop = Numbers(), 1, stop
        self.did: list[Any] = []

    def start_epoch(self, epoch: int) -> None:
        self.did.append(f"epoch {epoch}")

    def train_step(self, parts: Sequence[Part], lr: float, epoch: int) -> Mapping[str, Tensor]:
        drawn = float(torch.rand(()))
        self.did.append((round(lr, 6), [part.numbers for part in parts], [part.met for part in parts], drawn))
        if self.stop(len(self.rates)):
            signal.raise_signal(signal.SIGTERM)
        return {"loss": torch.tensor(drawn)}

    @property
    def rates(self) -> list[float]:
        return [step[0] for step in self.did if isinstance(step, tuple)]

    def rehearse(self, parts: Sequence[Part], everything: bool = False) -> None:
        torch.rand(())

    def replicas(self) -> list[Tensor]:
        return []

    def end_epoch(self, epoch: int, validate: bool) -> tuple[Mapping[str, Mapping[str, float]], bool]:
        self.did.append("validated" if validate else "not validated")
        return {}, False

    def state_dict(self) -> dict[str, Any]:
        return {"did": list(self.did)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.did = list(state["did"])


class Kept(Silence):
    """The log and the files of a run, in memory."""

    go_on, version = "go on", "a"

    def __init__(self, folder: Path) -> None:
        self.log = self.read = self.checkpoints = folder
        self.states: list[dict[str, Any]] = []
        self.records: list[tuple[str, int, dict[str, float]]] = []
        self.lines: list[str] = []

    def save(self, state: dict[str, Any]) -> None:
        self.states.append(copy.deepcopy(state))

    def saved(self) -> dict[str, Any] | None:
        return self.states[-1] if self.states else None

    def record(self, group: str, epoch: int, values: Mapping[str, float]) -> None:
        self.records.append((group, epoch, dict(values)))

    def info(self, line: Any) -> None:
        self.lines.append(str(line))


class Beside(Ranks):
    """A process of two, of which the other one says what it is told to."""

    def __init__(self, rank: int = 0, asks: Callable[[int], list[float]] = lambda times: [0.0, 0.0]) -> None:
        super().__init__(rank, 2, beside=2)
        self.asks, self.asked, self.checked = asks, 0, 0

    def add(self, *arrays: np.ndarray) -> None:
        pass

    def most(self, values: Sequence[float]) -> list[float]:
        self.asked += 1
        return [max(pair) for pair in zip(values, self.asks(self.asked), strict=False)]

    def of_all(self, value: Any) -> list[Any]:
        return [value, value]

    def check_same(self, tensors: object) -> None:
        self.checked += 1


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Those of the tests stay what they were, and so do the random numbers."""
    before = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
    torch.set_num_threads(before)


def made(stage: Noted, kept: Kept, training: Training = TEN, ranks: Ranks | None = None, threads: Any = 1) -> Loop:
    runtime = replace(RUNTIME, ranks=ranks or Ranks())
    return Loop(stage, training, runtime, kept, kept, RunOptions(threads=threads), {})


@pytest.mark.parametrize("count", [1, 2])
def test_rates_are_counted_in_steps_of_the_optimiser(tmp_path: Path, count: int) -> None:
    stage = Noted()
    made(stage, Kept(tmp_path), replace(TEN, accumulate=count)).run()
    assert stage.rates == [0.5] * 3 + [1.0] * 3 + [0.2] * 3
    assert stage.count == count and [len(step[1]) for step in stage.did if isinstance(step, tuple)] == [count] * 9
    stage = Noted()
    made(stage, Kept(tmp_path), replace(TEN, accumulate=count, warmup_steps=5, decay_epochs=[])).run()
    assert stage.rates == [0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(("every", "wanted"), [(1, [0, 1, 2]), (2, [1, 2]), (5, [2])])
def test_epochs_are_validated_when_they_are_due_and_the_last_one_always(
    tmp_path: Path, every: int, wanted: list[int]
) -> None:
    stage = Noted()
    made(stage, Kept(tmp_path), replace(TEN, val_every=every)).run()
    ends = [one for one in stage.did if one in ("validated", "not validated")]
    assert [number for number, one in enumerate(ends) if one == "validated"] == wanted


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 8, 9])
def test_a_run_that_goes_on_does_and_draws_and_logs_the_same(tmp_path: Path, steps: int) -> None:
    whole, undisturbed = Kept(tmp_path), Noted()
    made(undisturbed, whole).run()

    torch.manual_seed(0)
    kept, stopped = Kept(tmp_path), Noted(lambda done: done == steps)
    with pytest.raises(KeyboardInterrupt):
        made(stopped, kept).run()
    assert kept.lines[-1].startswith("saved ") and kept.lines[-1].endswith("; go on")
    torch.manual_seed(99)
    other = Noted()
    again = made(other, kept)
    again.resume(kept.states[-1])
    again.run()
    assert other.did == undisturbed.did
    assert kept.records == whole.records and len(whole.records) == TEN.epochs


@pytest.mark.parametrize(("later", "saved"), [(0.2, True), (1.5, False)])
def test_a_signal_that_is_passed_on_is_the_first_one_again_and_a_later_one_is_obeyed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: float, saved: bool
) -> None:
    now = [0.0]
    monkeypatch.setattr(looping, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def twice(steps: int) -> bool:
        if steps == 2:
            signal.raise_signal(signal.SIGTERM)
            now[0] += later
        return steps == 2

    kept = Kept(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        made(Noted(twice), kept).run()
    assert bool(kept.states) == saved and any("saved in epoch" in line for line in kept.lines) == saved


def test_a_stop_in_the_last_moment_of_the_last_epoch_is_obeyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agreed, looked = Loop._agreed, []

    def then_stopped(self: Loop, *asked: object) -> list[bool]:
        found = agreed(self, *asked)
        if self.epoch == TEN.epochs and not looked:
            looked.append(self.epoch)
            signal.raise_signal(signal.SIGTERM)
        return found

    monkeypatch.setattr(Loop, "_agreed", then_stopped)
    kept = Kept(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        made(Noted(), kept).run()
    assert kept.lines[-1] == "saved after epoch 3/3; go on" and len(kept.states) == 3


def test_a_run_keeps_its_threads_and_parts_unless_told_otherwise(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    made(Noted(), kept, replace(TEN, accumulate=3), threads=1).run()
    free = replace(TEN, accumulate="auto")
    again = made(Noted(), kept, free, threads="auto")
    again.resume(kept.states[-1])
    assert (again.threads, again.count) == (1, 3)
    again = made(Noted(), kept, replace(TEN, accumulate=2), threads=5)
    again.resume(kept.states[-1])
    assert (again.threads, again.count) == (5, 2)
    # Another number of processes takes other shares of a batch.
    again = made(Noted(), kept, free, Beside(), threads="auto")
    again.resume(kept.states[-1])
    assert (again.threads, again.count) == (None, None)
    assert kept.lines[-1] == "note: begun by 1 processes, not 2: dropout draws other numbers"


@pytest.mark.parametrize("rank", [0, 1])
def test_every_process_goes_on_with_its_own_random_numbers(tmp_path: Path, rank: int) -> None:
    kept = Kept(tmp_path)
    made(Noted(), kept).run()
    states = [torch.Generator().manual_seed(seed).get_state() for seed in (5, 6)]
    state = {**kept.states[-1], "random": states, "random_cuda": [None, None]}
    made(Noted(), kept, ranks=Beside(rank)).resume(state)
    assert torch.equal(torch.get_rng_state(), states[rank])


def test_a_run_that_is_saved_often_loses_at_most_a_step(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    made(Noted(), kept, replace(TEN, save_minutes=1e-9)).run()
    assert [(state["epoch"], state["step"]) for state in kept.states[:4]] == [(0, 1), (0, 2), (0, 3), (1, 0)]
    assert len(kept.states) == 12
    kept = Kept(tmp_path)
    made(Noted(), kept).run()
    assert [(state["epoch"], state["step"]) for state in kept.states] == [(1, 0), (2, 0), (3, 0)]


@pytest.mark.parametrize(("minutes", "step"), [(10.0, 3), (1e-9, 1)])
def test_a_loss_that_is_no_number_is_told_and_nothing_is_saved(
    tmp_path: Path, minutes: float, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(tmp_path)
    monkeypatch.setattr(Noted, "train_step", lambda *_: {"loss": torch.tensor(float("nan"))})
    with pytest.raises(UserError, match=f"the loss is no longer finite in epoch 1, step {step}"):
        made(Noted(), kept, replace(TEN, save_minutes=minutes)).run()
    assert not kept.states


# ---- several processes ----


def test_processes_compare_their_weights_every_so_many_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looping, "CHECK_EVERY", 2)
    ranks = Beside()
    made(Noted(), Kept(tmp_path), ranks=ranks).run()
    assert ranks.checked == 4  # of nine steps, however short epochs are


@pytest.mark.parametrize("what", ["stop", "save"])
def test_what_another_process_asks_for_is_done(tmp_path: Path, what: str) -> None:
    kept, stage = Kept(tmp_path), Noted()
    # Asked once how many parts there are, then after every step whether to stop and whether to save.
    ranks = Beside(asks=lambda times: [float(what == "stop"), float(what == "save")] if times == 3 else [0.0, 0.0])
    loop = made(stage, kept, ranks=ranks)
    if what == "stop":
        with pytest.raises(KeyboardInterrupt):
            loop.run()
        assert len(stage.rates) == 3
    else:
        loop.run()
        assert len(stage.rates) == 9
    assert [(state["epoch"], state["step"]) for state in kept.states[:1]] == [(0, 3)]


def test_processes_take_the_parts_of_the_one_that_needs_most(tmp_path: Path) -> None:
    ranks = Beside(asks=lambda times: [2.0] if times == 1 else [0.0, 0.0])
    stage = Noted()
    made(stage, Kept(tmp_path), replace(TEN, accumulate="auto"), ranks).run()
    assert stage.count == 2


@pytest.mark.parametrize(
    ("said", "threads", "taken", "processes"),
    [
        (None, "auto", 1, 6),
        (None, "auto", 2, 6),
        (None, 1, 1, 1),
        (None, 3, 3, 3),
        ("6", "auto", 6, 6),
    ],
)
def test_work_in_pieces_takes_all_cores_or_as_many_as_were_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str | None, threads: Any, taken: int | None, processes: int
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS") if said is None else monkeypatch.setenv("OMP_NUM_THREADS", said)
    now = [6]
    monkeypatch.setattr(torch, "get_num_threads", lambda: now[-1])
    monkeypatch.setattr(torch, "set_num_threads", now.append)
    monkeypatch.setattr(looping, "settle", lambda *_: taken)
    gpus, allowed = [0], []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus[-1])
    monkeypatch.setattr(engine_threads, "allow", allowed.append)
    loop = made(Noted(), Kept(tmp_path), threads=threads)
    loop._set_threads()
    assert loop.threads == taken == now[-1] and allowed == [processes]
    gpus.append(1)  # used or not: the way back begins threads that no copy has
    loop._set_threads()
    assert allowed == [processes, 0]


def test_neither_a_gpu_nor_one_of_several_processes_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    monkeypatch.setattr(looping, "cores", lambda: 2)
    allowed = []
    monkeypatch.setattr(engine_threads, "allow", allowed.append)
    several = made(Noted(), Kept(tmp_path), ranks=Beside(), threads="auto")
    on_gpu = made(Noted(), Kept(tmp_path), threads="auto")
    on_gpu.runtime = replace(RUNTIME, device=torch.device("cuda"))
    on_gpu.threads = 1  # as its checkpoint from a CPU says
    for loop in (several, on_gpu):
        loop._set_threads()
        assert loop.threads == 1
    assert allowed == [0, 0]


def test_processes_of_a_machine_share_its_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looping, "cores", lambda: 6)
    kept = Kept(tmp_path)
    loop = made(Noted(), kept, ranks=Beside(), threads="auto")
    loop._set_threads()
    assert torch.get_num_threads() == loop.threads == 3 and kept.lines[0].startswith("threads: 3 in each process")


def test_every_process_draws_its_own_and_only_the_first_writes(tmp_path: Path) -> None:
    drawn, speaks = [], []
    for rank in (0, 1):
        torch.manual_seed(0)
        kept, stage, runtime = Kept(tmp_path), Noted(), replace(RUNTIME, ranks=Beside(rank))
        Course(kept, runtime, {}).train(stage, TEN, RunOptions(threads=1), kept)
        drawn.append([step[-1] for step in stage.did if isinstance(step, tuple)])
        speaks.append(len(kept.states))
    assert len(set(drawn[0] + drawn[1])) == 18 and speaks == [3, 0]


def test_processes_that_see_other_checkpoints_do_not_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(tmp_path)
    made(Noted(), kept).run()
    monkeypatch.setattr(Beside, "of_all", lambda self, value: [value, None])
    with pytest.raises(UserError, match="do not see the same checkpoint under .*; the logs folder must be on a file"):
        Course(kept, replace(RUNTIME, ranks=Beside()), {})
    opened = SimpleNamespace(create=lambda: None, saved=lambda: None, checkpoints=tmp_path)
    monkeypatch.setattr(Beside, "of_all", lambda self, value: [value, value])
    course, resolved = Course(opened, replace(RUNTIME, ranks=Beside(1)), {}), {"search": {"epochs": 1}}
    assert isinstance(course.open("search", resolved, [], {}, 0), Silence)
