"""On a GPU: every task is searched and retrained in every precision, goes on where it stopped, and fits what memory
there is. Skipped where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from common.errors import UserError
from retrain.run import main as retrain
from retrain.stage import RetrainStage
from search.run import main as search
from tasks.find import task_names

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

SMALL = ["--profile=demo", "--model.pool_hidden=16", "--model.word_width=16"]
SEARCH = ["--space.encoder.blocks=1", "--space.decoder.blocks=2", "--search.width=64", "--search.epochs=3"]
STEPS = ["--search.alpha_start=0", "--search.alpha_every=1", "--search.blend_steps=2", "--search.val_images=5"]
RETRAIN = ["--retrain.width=64", "--retrain.epochs=2", "--retrain.val_images=5"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def arguments(task: str, demo: Path, version: str, *more: str) -> list[str]:
    return [f"--task={task}", f"--data.root={demo}", f"--version={version}", *SMALL, *more]


def losses(version: str) -> list[float]:
    lines = (Path("logs/log") / version / "metrics.jsonl").read_text().splitlines()
    return [line["train/loss"] for line in map(json.loads, lines) if "train/loss" in line]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("task", task_names())
def test_search_and_retrain(task: str, precision: str, demo: Path) -> None:
    search(arguments(task, demo, "found", f"--precision={precision}", *SEARCH, *STEPS))
    path = f"genotypes/searched/{task}/found.json"
    assert json.loads(Path(path).read_text())["provenance"]["moved"]
    retrain(arguments(task, demo, "trained", f"--geno={path}", f"--precision={precision}", *RETRAIN))
    for name in ("found", "trained"):
        assert losses(name)[-1] < losses(name)[0]
    assert Path("logs/ckpts/result_test/metrics_trained.json").exists()


def test_precisions_agree_in_the_first_epoch(demo: Path) -> None:
    for precision in ("fp32", "bf16", "fp16"):
        more = ["--geno=mcan", f"--precision={precision}", *RETRAIN, "--retrain.epochs=1"]
        retrain(arguments("vqa", demo, precision, *more))
    wanted = losses("fp32")
    assert losses("bf16") == pytest.approx(wanted, rel=1e-2) and losses("fp16") == pytest.approx(wanted, rel=1e-2)


def test_parts_of_a_batch_come_to_the_same(demo: Path) -> None:
    for count in (1, 4):
        more = ["--geno=mcan", "--precision=fp32", *RETRAIN, f"--retrain.accumulate={count}"]
        retrain(arguments("vgd", demo, f"in{count}", *more))
    assert losses("in4") == pytest.approx(losses("in1"), rel=1e-3)


def test_a_run_goes_on_where_it_stopped(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = ["--geno=mcan", "--precision=fp16", "--model.dropout=0.1", *RETRAIN, "--retrain.save_minutes=1e-9"]
    retrain(arguments("vgd", demo, "whole", *more))
    step, left = RetrainStage.train_step, 5

    def interrupted(*arguments: object) -> object:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return step(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RetrainStage, "train_step", interrupted)
        retrain(arguments("vgd", demo, "cut", *more))
    retrain(arguments("vgd", demo, "cut", *more, "--resume=true"))
    assert losses("cut") == pytest.approx(losses("whole"), rel=1e-3)


@pytest.fixture
def little_memory() -> None:
    """What a batch of this size does not fit into at once."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (600 << 20)) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


LARGE = ["--geno=mmnas_vqa", "--retrain.width=256", "--retrain.epochs=1", "--retrain.val_images=5", "--workers=0"]


def test_a_batch_is_halved_until_it_fits(demo: Path, little_memory: None, capsys: pytest.CaptureFixture[str]) -> None:
    more = [*LARGE, "--retrain.batch_size=512", "--retrain.accumulate=auto"]
    retrain(arguments("vqa", demo, "fits", *more))
    said = capsys.readouterr().out
    count = int(said.partition("accumulate: ")[2].partition(",")[0])
    assert count > 1


def test_what_does_not_fit_is_said_in_a_sentence(demo: Path, little_memory: None) -> None:
    with pytest.raises(UserError, match=r"the memory of the GPU is full; .*accumulate=auto"):
        retrain(arguments("vqa", demo, "full", *LARGE, "--retrain.batch_size=512"))
