"""Details for a report are made by the first process alone, and whatever fails there costs the report and no run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_vgd
import torch

from common import sharing
from common.errors import UserError
from common.sharing import Sharing, shared
from engine.distributed import Ranks
from engine.runtime import Runtime, start
from genotypes.genotype import Genotype
from outcome.details import Details
from outcome.samples import Prediction
from report.splits import read_splits
from retrain.model import build
from retrain.run import main as retrain
from retrain.run import write_details
from space.settings import ModelSettings
from tasks.base import Evaluation, eval_mode
from tasks.vgd import VgdData, VgdSplit, VisualGrounding

GENOTYPE = Genotype("vgd", ("self_att_64",), ("guided_att_64",))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vgd.make_root(tmp_path_factory.mktemp("data") / "root")


class OfTwo(Sharing):
    """The first of two processes, of which the other never comes."""

    size = 2

    def of_all(self, value: object) -> list[object]:
        """Would wait for the other for hours."""
        raise AssertionError("the first process waits for the other")


class Second(Ranks):
    """The second of two processes, which does everything itself, as nobody is there."""

    def __init__(self) -> None:
        super().__init__(1, 2)

    def add(self, *arrays: np.ndarray) -> None:
        """Nothing to add."""

    def of_first(self, value: object) -> object:
        """Its own."""
        return value

    def of_all(self, value: object) -> list[object]:
        """Its own."""
        return [value, value]

    def close(self) -> None:
        """Nothing to leave."""


class Sharer(VisualGrounding):
    """Draws with work that processes share."""

    def showcase(self, model: object, split: VgdSplit, indices: np.ndarray) -> list[Prediction]:
        assert shared(str, range(len(indices)), None) == [str(place) for place in range(len(indices))]
        return super().showcase(model, split, indices)


class Said(list):
    """A log."""

    info = list.append


def told(
    root: Path, path: Path, spoil: Callable[[Evaluation], None] | None = None
) -> tuple[dict[str, Details], list[str]]:
    """Details of a network that was never trained, from the first process of two, and what was said."""
    task, said = Sharer(VgdData(root=str(root), word_vectors=None)), Said()
    model, split = build(task, GENOTYPE, ModelSettings(pool_hidden=8, word_width=8), 64), task.split("val")
    with eval_mode(model):
        found = task.evaluate(model, split, 8)
    if spoil:
        spoil(found)
    sharing.share_with(OfTwo())
    try:
        write_details(path, task, model, {"val": (split, found)}, Runtime(torch.device("cpu"), 0), said)
        assert isinstance(sharing._now, OfTwo)
    finally:
        sharing.share_with(Sharing())
    return read_splits(path) if path.exists() else {}, said


def test_the_first_process_waits_for_no_other(root: Path, tmp_path: Path) -> None:
    found, said = told(root, tmp_path / "a.json")
    assert found["val"].best and found["val"].worst and said == []


def fail(error: BaseException) -> Callable[..., None]:
    """Something that raises."""

    def raising(*_: object) -> None:
        raise error

    return raising


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), UserError("no file"), KeyError("x")])
def test_what_fails_is_a_note(root: Path, tmp_path: Path, error: Exception) -> None:
    found, said = told(root, tmp_path / "a.json", lambda found: setattr(found, "samples", fail(error)))
    assert found == {} and said == [f"note: the report has no details of val ({error})"]


def test_a_task_that_draws_nothing_has_details_without_samples(root: Path, tmp_path: Path) -> None:
    nothing = fail(UserError("nothing to draw"))
    found, said = told(root, tmp_path / "a.json", lambda found: setattr(found, "showcase", nothing))
    assert found["val"].samples > 20 and not found["val"].best and said == []


def test_details_that_cannot_be_written_are_a_note(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found, (said,) = told(root, tmp_path / "file/a.json")
    assert found == {} and said.startswith("note: the report has no details (cannot write ")

    def unknown(found: Evaluation) -> None:
        scored = found.samples()
        found.samples = lambda: dataclasses.replace(scored, metric=np.int64(3))

    found, (said,) = told(root, tmp_path / "a.json", unknown)
    assert found == {} and said == "note: the report has no details (Object of type int64 is not JSON serializable)"


def test_who_stops_the_run_is_obeyed(root: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        told(root, tmp_path / "a.json", lambda found: setattr(found, "samples", fail(KeyboardInterrupt())))


def test_other_processes_make_no_details(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    GENOTYPE.save("g.json")
    sizes = ["--model.pool_hidden=8", "--model.word_width=8", "--retrain.width=64", "--data.word_vectors=null"]
    options = ["--geno=g.json", "--gpu=cpu", f"--data.root={root}", *sizes]
    retrain([*options, "--version=a", "--retrain.epochs=1", "--retrain.warmup_steps=2"])
    made: list[object] = []
    monkeypatch.setattr("retrain.run.in_detail", lambda *_: made.append(1))

    def second(*given: object) -> Runtime:
        return dataclasses.replace(start(*given), ranks=Second())

    retrain([*options, "--run=val", "--version=b", "--ckpt=logs/ckpts/a/best.pt"])
    assert made == [1]
    monkeypatch.setattr("retrain.run.start", second)
    retrain([*options, "--run=val", "--version=c", "--ckpt=logs/ckpts/a/best.pt"])
    assert made == [1] and not Path("logs/log/c").exists()
