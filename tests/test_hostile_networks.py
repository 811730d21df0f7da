"""Spoilt networks, runs to go on with and checkpoints of the original: each is read, or refused in one sentence."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pytest
import tiny_vqa
import torch
from fuzz import VALUES, answered, for_numbers, fuzzed, spoilt_bytes, spoilt_tree

from common.errors import UserError
from engine import checkpoint, held
from genotypes.genotype import Genotype
from retrain.model import build, restore, save
from retrain.run import main as retrain
from space.settings import ModelSettings
from tasks.vqa import VisualQuestionAnswering, VqaData
from tools.original.convert import convert

GENOTYPE = Genotype("vqa", ("self_att_64",), ("guided_att_64",))
SIZES = ModelSettings(word_width=6, pool_hidden=8, relation_width=8)
TENSORS: tuple[Any, ...] = (
    *(torch.zeros(shape) for shape in ((), (0,), (3,), (64, 64), (1, 1, 1))),
    torch.zeros(1).expand(10**12),
    torch.zeros(1, 1).expand(10**6, 10**6),
    torch.full((64, 64), torch.nan),
    torch.zeros(3, dtype=torch.int64),
    torch.zeros(3, 3).to_sparse(),
)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> VisualQuestionAnswering:
    root = tiny_vqa.make_root(tmp_path_factory.mktemp("vqa"))
    return VisualQuestionAnswering(VqaData(str(root), answer_min=0))


def spoilt(state: Any, rng: random.Random) -> bytes:
    written = io.BytesIO()
    if rng.random() < 0.3:
        torch.save(state, written)
        return spoilt_bytes(written.getvalue(), rng)
    torch.save(spoilt_tree(plain(state), rng, (*VALUES, *TENSORS)), written)
    return written.getvalue()


def plain(state: Any) -> Any:
    return {key: plain(value) for key, value in state.items()} if isinstance(state, dict) else state


@fuzzed
def test_trained_networks(many: bool, task: VisualQuestionAnswering, tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    save(path, build(task, GENOTYPE, SIZES, 64), task, GENOTYPE, SIZES, 64, 1, {"accuracy": 1.0})
    state, words = checkpoint.load(path), task.vocabulary

    def check(rng: random.Random) -> None:
        task.vocabulary = words
        path.write_bytes(spoilt(state, rng))
        if answered("trained networks", lambda: restore(path, task, None)) is None:
            assert all(value.isfinite().all() for value in restore(path, task, None).model.state_dict().values())

    for_numbers(many, check, 25)


def original(task: VisualQuestionAnswering) -> dict[str, torch.Tensor]:
    """A checkpoint of the original's names and little else that would be right."""
    return {
        f"module.{name}": torch.zeros(shape)
        for name, shape in {
            "embedding.weight": (len(task.words), 6),
            "imgfeat_linear.weight": (64, 6),
            "linear_y_rel.weight": (8, 4),
            "attflat_x.mlp.fc.linear.weight": (8, 64),
            "proj.weight": (6, 128),
            "proj.bias": (6,),
            "backnone.cells_enc.0.dag.0.0.ln.a_2": (64,),
        }.items()
    }


@fuzzed
def test_the_original_s(many: bool, task: VisualQuestionAnswering, tmp_path: Path) -> None:
    path, state = tmp_path / "epoch13.pkl", {"state_dict": original(task), "epoch": 13}
    words = task.vocabulary

    def check(rng: random.Random) -> None:
        task.vocabulary = words
        path.write_bytes(spoilt(state, rng))
        answered("networks of the original", lambda: convert(path, tmp_path / "out.pt", task, GENOTYPE, SIZES))

    for_numbers(many, check, 60)


@pytest.fixture(scope="module")
def run(task: VisualQuestionAnswering, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The words of a training that is over, in a folder of its own."""
    folder = tmp_path_factory.mktemp("run")
    geno = GENOTYPE.save(folder / "g.json")
    sizes = ["--model.word_width=6", "--model.pool_hidden=8", "--retrain.width=64", "--retrain.batch_size=16"]
    words = [f"--geno={geno}", f"--data.root={task.data.root}", "--data.answer_min=0", "--gpu=cpu", *sizes]
    words += [f"--logs={folder}", "--version=a", "--retrain.epochs=1", "--threads=1"]
    retrain(words)
    return words


@fuzzed
def test_runs_to_go_on_with(many: bool, run: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(run[-4].removeprefix("--logs=")) / "ckpts/a/last.pt"
    whole, state = path.read_bytes(), checkpoint.load(path)
    monkeypatch.setattr("engine.loop.Loop.run", lambda loop: None)
    monkeypatch.setattr("retrain.run.report", lambda *_: None)

    def check(rng: random.Random) -> None:
        path.write_bytes(spoilt(state, rng))
        try:
            answered("runs to go on with", lambda: retrain([*run, "--resume=true"]))
        finally:
            path.write_bytes(whole)

    for_numbers(many, check, 8)


def test_weights_that_are_not_finite_are_told(task: VisualQuestionAnswering, tmp_path: Path) -> None:
    model = build(task, GENOTYPE, SIZES, 64)
    model.head.out.bias.data[0] = torch.nan
    save(tmp_path / "best.pt", model, task, GENOTYPE, SIZES, 64, 1, {})
    with pytest.raises(UserError, match=r"best.pt holds weights that are NaN or infinite, such as 'head.out.bias'"):
        restore(tmp_path / "best.pt", task, None)


def test_a_newer_program_s_setting_is_told(task: VisualQuestionAnswering, tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    save(path, build(task, GENOTYPE, SIZES, 64), task, GENOTYPE, SIZES, 64, 1, {})
    state = checkpoint.load(path)
    checkpoint.save(path, {**state, "settings": {**state["settings"], "newer": 1}})
    with pytest.raises(UserError, match="has the setting 'newer', which this program does not know; update it"):
        restore(path, task, None)
    tensors = {key: torch.zeros(3) for key in ("task", "called", "segmenter")}
    for key, value in {**tensors, "genotype": {**state["genotype"], "schema": torch.zeros(3)}}.items():
        checkpoint.save(path, {**state, key: value})
        with pytest.raises(UserError, match=f"as '{key}'; it is damaged"):
            restore(path, task, None)
    for name, value in (("dropout", 2.0), ("head_scale", "1"), ("bbox_features", 1), ("pool_hidden", 10**9)):
        checkpoint.save(path, {**state, "settings": {**state["settings"], name: value}})
        with pytest.raises(UserError, match=f"as the setting '{name}'; it is damaged"):
            restore(path, task, None)


def test_a_tensor_that_claims_more_than_it_holds_is_refused() -> None:
    with pytest.raises(UserError, match="no weights in 'a'"):
        held.weights(Path("a.pt"), {"a": torch.zeros(1).expand(10**12)})
