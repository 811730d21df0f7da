"""The engine's parts: rates, batches, checkpoints, names of runs, random streams."""

from __future__ import annotations

import itertools
import json
import os
import signal
from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from common.errors import UserError
from common.files import atomic_write
from engine import batches, checkpoint, runtime
from engine.batches import EndlessBatches, EpochBatches, first_images, load_epoch, shuffled
from engine.distributed import Ranks
from engine.log import RunLog
from engine.optim import Training, rate
from engine.run import RunFiles, RunOptions, check_identity, identity
from engine.runtime import Runtime, start


class Made(NamedTuple):
    """A batch of numbers, and a random one that each has met."""

    indices: list[int]
    met: list[int]
    totals: tuple[str, ...] = ()
    share: float = 1.0


class Numbers:
    """A split whose samples are numbers."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    @property
    def sizes(self) -> np.ndarray:
        return np.ones(self.size, np.int64)

    def draw(self, indices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.stack((indices, rng.integers(1000, size=len(indices))), axis=1)

    def batch(self, drawn: np.ndarray) -> Made:
        return Made(*drawn.T.tolist())


RUNTIME = Runtime(torch.device("cpu"), seed=3)


def test_published_rates() -> None:
    training = Training(lr=1.2e-4, decay_epochs=[10, 12])
    rates = [rate(training, epoch * 5, 5) / 1.2e-4 for epoch in range(13)]
    np.testing.assert_allclose(rates, [0.25, 0.5, 0.75, *[1] * 7, 0.2, 0.2, 0.04])


def test_warm_up_in_steps_and_cosine() -> None:
    training = Training(lr=1.0, epochs=10, warmup_steps=4, cosine=True)
    rates = [rate(training, step, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.25) and max(rates) == rates[3]
    assert all(a > b for a, b in itertools.pairwise(rates[3:]))
    assert rates[-1] == pytest.approx(0.01, abs=0.002)


def test_every_epoch_of_every_stream_has_its_own_order() -> None:
    orders = [EpochBatches(Numbers(10), 4, RUNTIME, *of).order.tolist() for of in (("a", 0), ("a", 1), ("b", 0))]
    assert len({*map(tuple, orders)}) == 3 and all(sorted(order) == list(range(10)) for order in orders)
    met = [EpochBatches(Numbers(10), 4, RUNTIME, "a", epoch)[step][0].met for epoch in (0, 1) for step in (0, 1)]
    assert len({*map(tuple, met)}) == 4  # and draws its own negatives in every step


def test_an_epoch_visits_every_sample_once_and_any_step_can_be_redone() -> None:
    batches = EpochBatches(Numbers(10), 4, RUNTIME, "train", 0)
    made = [batches[step] for step in range(len(batches))]
    assert sorted(i for (batch,) in made for i in batch.indices) == list(range(10))
    assert EpochBatches(Numbers(10), 4, RUNTIME, "train", 0)[2] == made[2]
    assert EpochBatches(Numbers(10), 4, RUNTIME, "train", 1)[2] != made[2]
    endless = EndlessBatches(Numbers(10), 4, RUNTIME, "train")
    assert [[*endless.parts(step, 1)] for step in (0, 1, 2)] == made
    assert [*endless.parts(3, 1)] != made[0]


class Damaged(Numbers):
    """A split with a file that cannot be read."""

    def batch(self, drawn: np.ndarray) -> Made:
        raise UserError("7.npz is damaged; copy it again")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_users_error_is_one_sentence_from_a_loader_process_too(workers: int) -> None:
    with pytest.raises(UserError, match=r"^7\.npz is damaged; copy it again$"):
        next(load_epoch(EpochBatches(Damaged(10), 4, RUNTIME, "train", 0), 0, workers))


def test_parts_of_a_batch_are_its_samples_in_equal_numbers() -> None:
    batches = EpochBatches(Numbers(10), 7, RUNTIME, "train", 0)
    for step, sizes in ((0, [3, 2, 2]), (1, [1, 1, 1])):
        parts = list(batches.parts(step, 3))
        assert [len(part.indices) for part in parts] == sizes
        (whole,) = batches[step]
        # What a sample meets by chance does not depend on how its batch is divided.
        assert [i for part in parts for i in part.indices] == whole.indices
        assert [i for part in parts for i in part.met] == whole.met
        assert [part.share for part in parts] == [size / len(whole.indices) for size in sizes]


@pytest.mark.parametrize(("count", "sizes"), [(1, [[4], [3], [3]]), (2, [[2, 2], [2, 1], [2, 1]])])
def test_processes_have_a_batch_between_them(count: int, sizes: list[list[int]]) -> None:
    def of_rank(step: int, rank: int) -> list[Made]:
        runtime = replace(RUNTIME, ranks=Ranks(rank, 3))
        return EpochBatches(Numbers(11), 10, runtime, "train", 0, count)[step]

    (whole,) = EpochBatches(Numbers(11), 10, RUNTIME, "train", 0)[0]
    parts = [of_rank(0, rank) for rank in range(3)]
    assert [[len(part.indices) for part in own] for own in parts] == sizes
    assert [i for own in parts for part in own for i in part.indices] == whole.indices
    assert [i for own in parts for part in own for i in part.met] == whole.met
    # The last batch is of one sample, with which the others keep company.
    assert [part.share for rank in range(3) for part in of_rank(1, rank)] == [1, 0, 0]


def test_samples_of_a_batch_are_of_similar_size() -> None:
    sizes = np.random.default_rng(0).integers(10, 101, 64 * 100 + 7)
    order = shuffled(sizes, 64, np.random.default_rng(1))
    assert sorted(order.tolist()) == list(range(len(sizes)))
    batches = sizes[order[: 64 * 100]].reshape(100, 64)
    # Padding to the largest of a batch nearly doubles what random batches hold, and adds a tenth to these.
    assert batches.max(1).mean() < 1.1 * sizes.mean()
    # Small and large batches come in no order, and another epoch makes others.
    assert abs(np.corrcoef(batches.mean(1), np.arange(100))[0, 1]) < 0.3
    assert order.tolist() != shuffled(sizes, 64, np.random.default_rng(2)).tolist()


def test_sets_of_few_batches_are_mixed_anew_every_epoch() -> None:
    sizes = np.arange(40)
    first, second = (shuffled(sizes, 8, np.random.default_rng(seed)).reshape(5, 8) for seed in (0, 1))
    assert not {frozenset(batch) for batch in first.tolist()} & {frozenset(batch) for batch in second.tolist()}


def test_first_images_keeps_all_samples_of_an_image() -> None:
    images = np.array([7, 7, 3, 9, 3, 7])
    assert first_images(images, 2).tolist() == [0, 1, 2, 4, 5]
    assert first_images(images, None).tolist() == list(range(6))


def test_random_streams_depend_on_seed_and_name_alone() -> None:
    assert RUNTIME.rng("a", 1).random() == RUNTIME.rng("a", 1).random()
    draws = {RUNTIME.rng("a", 1).random(), RUNTIME.rng("a", 2).random(), RUNTIME.rng("b", 1).random()}
    assert len(draws | {Runtime(torch.device("cpu"), 4).rng("a", 1).random()}) == 4


@pytest.mark.parametrize(
    ("gpu", "precision", "said"),
    [
        ("97,98", "auto", "GPU=97 is not there"),
        ("99", "auto", "GPU=99 is not there"),
        ("cpu", "fp8", "precision='fp8'"),
    ],
)
def test_devices_that_are_not_there(gpu: str, precision: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        start(gpu, 0, precision)


@pytest.mark.parametrize(
    ("units", "precision", "width", "bf16"),
    [
        (True, "auto", 256, True),
        (True, "auto", 128, False),  # casts cost more than the products save
        (True, "bf16", 128, True),
        (True, "fp32", 512, False),
        (False, "auto", 512, False),
        (False, "bf16", 512, True),
    ],
)
def test_bf16_is_taken_where_it_pays(
    monkeypatch: pytest.MonkeyPatch, units: bool, precision: str, width: int, bf16: bool
) -> None:
    monkeypatch.setattr(runtime, "_multiplies_bf16", lambda device: units)
    monkeypatch.setattr(runtime, "_runs_bf16", lambda device: True)
    assert (start("cpu", 0, precision, width).dtype == torch.bfloat16) is bf16


@pytest.mark.parametrize(
    ("flags", "multiplies"),
    [("avx2 avx512f", False), ("avx512f avx512_bf16", True), ("avx512_bf16 amx_bf16 amx_tile", True), ("", False)],
)
def test_processors_that_multiply_bf16_say_so(monkeypatch: pytest.MonkeyPatch, flags: str, multiplies: bool) -> None:
    monkeypatch.setattr(runtime.processor, "facts", lambda: f"flags : fpu {flags}")
    assert runtime._multiplies_bf16(torch.device("cpu")) is multiplies


def test_bf16_that_is_not_to_be_had_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_runs_bf16", lambda device: False)
    with pytest.raises(UserError, match="this one has neither; leave it out"):
        start("cpu", 0, "bf16", 512)


def test_a_checkpoint_is_whole_or_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"a": torch.ones(2), "b": [1, "x", None]})
    with pytest.raises(ZeroDivisionError), atomic_write(path, "wb") as file:
        file.write(b"half")
        _ = 1 / 0
    assert torch.equal(checkpoint.load(path)["a"], torch.ones(2))
    assert list(tmp_path.iterdir()) == [path]


class Evil:
    """Runs a command when unpickled."""

    def __reduce__(self) -> tuple:
        return print, ("owned",)


def test_checkpoints_that_are_not_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match="holds more than tensors"):
        checkpoint.load(tmp_path / "evil.pt")
    assert "owned" not in capsys.readouterr().out
    checkpoint.save(tmp_path / "good.pt", {"a": torch.ones(1000)})
    (tmp_path / "cut.pt").write_bytes((tmp_path / "good.pt").read_bytes()[:900])
    with pytest.raises(UserError, match=r"cut.pt is damaged"):
        checkpoint.load(tmp_path / "cut.pt")
    for number, content in enumerate((b"", b"\x80", b"<html>", b"{}", bytes(99), b"\x80\x02}q\x00X", b"\x89PNG\r\n")):
        other = tmp_path / "others" / f"{number}.pt"
        other.parent.mkdir(exist_ok=True)
        other.write_bytes(content)
        with pytest.raises(UserError, match=f"{number}.pt is damaged or no checkpoint"):
            checkpoint.load(other)
    with pytest.raises(UserError, match=r"does not exist; its folder holds cut.pt, evil.pt, good.pt"):
        checkpoint.load(tmp_path / "none.pt")


def test_names_of_runs(tmp_path: Path) -> None:
    options = RunOptions(version="a", logs=str(tmp_path / "logs"))
    RunFiles(options, "itm-search").create()
    with pytest.raises(UserError, match="a run named 'a' exists .* RESUME=1"):
        RunFiles(options, "itm-search")
    RunFiles(RunOptions(version="a", resume=True, logs=options.logs), "itm-search").create()
    with pytest.raises(UserError, match="under .*logs; choose another VERSION"):
        RunFiles(options, "itm-test", may_resume=False)
    two = [RunFiles(RunOptions(version="c", logs=options.logs), "itm-search") for _ in range(2)]
    two[0].create()
    with pytest.raises(UserError, match="'c' has just begun"):
        two[1].create()
    with pytest.raises(UserError, match="no run 'b' to resume"):
        RunFiles(RunOptions(version="b", resume=True, logs=options.logs), "itm-search")
    with pytest.raises(UserError, match="RESUME=1 needs VERSION"):
        RunFiles(RunOptions(resume=True, logs=options.logs), "itm-search")
    with pytest.raises(UserError, match="is no name for a run"):
        RunFiles(RunOptions(version="../a", logs=options.logs), "itm-search")
    for name in ("x" * 300, "猫" * 60):  # of 180 bytes
        with pytest.raises(UserError, match=r"VERSION=\S{20}\.\.\. is too long"):
            RunFiles(RunOptions(version=name, logs=options.logs), "itm-search")
    assert RunFiles(RunOptions(logs=options.logs), "itm-search").version.startswith("itm-search-2")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to .*choose another logs folder"):
        RunFiles(RunOptions(logs=str(tmp_path / "file")), "itm-search").create()


def test_what_may_change_when_a_run_goes_on() -> None:
    resolved = {"task": "itm", "gpu": "0", "retrain": {"epochs": 3, "cosine": False, "lr": 1.0}, "data": {"root": "a"}}
    then = identity("retrain", resolved, features="f")
    moved = {**resolved, "gpu": "cpu", "data": {"root": "b"}, "retrain": {**resolved["retrain"], "epochs": 9}}
    check_identity(identity("retrain", moved, features="f"), then, "a")
    with pytest.raises(UserError, match="was begun with features=f, not g"):
        check_identity(identity("retrain", resolved, features="g"), then, "a")
    with pytest.raises(UserError, match="an earlier state of this program, which had no stage"):
        check_identity(then, {}, "a")
    # Along a cosine all rates would change with the number of epochs.
    cosine = {**resolved, "retrain": {"epochs": 3, "cosine": True}}
    longer = {**resolved, "retrain": {"epochs": 4, "cosine": True}}
    with pytest.raises(UserError, match="retrain.epochs=3, not 4"):
        check_identity(identity("retrain", longer), identity("retrain", cosine), "a")


def test_whatever_else_trains_may_not_change() -> None:
    may = {"epochs", "save_minutes", "val_every", "accumulate"}
    for field in fields(Training):
        then, now = (identity("retrain", {"retrain": {field.name: value}}) for value in (1, 2))
        if field.name in may:
            check_identity(now, then, "a")
        else:
            with pytest.raises(UserError, match=f"was begun with retrain.{field.name}=1, not 2"):
                check_identity(now, then, "a")
    for key in ("task", "seed", "precision"):
        with pytest.raises(UserError, match=f"was begun with {key}=1, not 2"):
            check_identity(identity("retrain", {key: 2}), identity("retrain", {key: 1}), "a")
    with pytest.raises(UserError, match="was begun with model.width=1, not 2"):
        check_identity(*(identity("retrain", {"model": {"width": value}}) for value in (2, 1)), "a")


def test_a_resumed_log_forgets_what_is_redone(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    for epoch in (1, 2, 3):
        log.record("train", epoch, {"loss": 1.0 / epoch})
    log.close()
    with log.metrics.open("a") as file:
        file.write('{"best/test/accuracy": 1, "epoch": 2}\n{"epoch": 2, "tra')
    RunLog(tmp_path, 2).close()
    kept = [json.loads(line) for line in log.metrics.read_text().splitlines()]
    assert kept == [{"epoch": 1, "train/loss": 1.0}, {"epoch": 2, "train/loss": 0.5}]


def test_a_loader_process_whose_parent_is_gone_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for parent in (os.getppid(), -1):
            batches._begin(parent, 0)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert ended == [1]
