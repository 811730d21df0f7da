"""The search as a run: training data split by image, an early stop, the same numbers with loader processes."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from test_end_to_end import metrics, settings

from search.run import main as search
from search.stage import TOGETHER, SearchStage, split_by_image
from tasks.itm import ImageTextMatching, ItmData
from tools.demo.make import make_demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo(tmp_path_factory.mktemp("data") / "demo", scenes=40)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.8, 0.99])
def test_the_halves_never_meet(demo: Path, share: float) -> None:
    split = ImageTextMatching(ItmData(root=str(demo))).split("train")
    weights, alphas = split_by_image(split, share, np.random.default_rng(0))
    images = [set(half.image_ids.tolist()) for half in (weights, alphas)]
    assert all(images) and not images[0] & images[1]
    assert len(weights) + len(alphas) == len(split)
    for half, own in ((weights, images[0]), (alphas, images[1])):
        assert len(own) >= 2
        captions, rows = half.negatives.draw(np.arange(len(half)), np.random.default_rng(1))
        drawn = {*half.image_ids[captions].tolist(), *half.negatives.images[rows].tolist()}
        assert drawn <= own


def test_a_settled_search_stops_early(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lead.json").write_text('{"encoder": ["self_att_64"], "decoder": ["self_att_64", "guided_att_64"]}')
    still = ["--search.alpha_start=0", "--search.alpha_lr=1e-12", "--search.start=lead.json"]
    still += ["--search.epochs=9", "--search.patience=2"]
    search([*settings("search", "itm", demo, "still"), *still])
    assert max(record["epoch"] for record in metrics("still")) == 3


def test_an_architecture_batch_in_parts_is_the_same_step(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = []
    for together in (1000, 8):
        monkeypatch.setitem(TOGETHER, "cpu", together)
        version = f"by{together}"
        search([*settings("search", "vqa", demo, version), "--model.dropout=0", "--search.alpha_start=0"])
        sides = json.loads(Path(f"genotypes/searched/vqa/{version}.json").read_text())["probabilities"]
        found.append([p for side in sides.values() for block in side for p in block.values()])
    assert max(found[0]) > 0.6  # alpha has moved
    np.testing.assert_allclose(*found, atol=0.01)


def test_loader_processes_change_no_number(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for workers in (0, 2):
        search([*settings("search", "itm", demo, f"w{workers}"), f"--workers={workers}", "--data.hard_from=1"])
    assert metrics("w0") == metrics("w2")


def test_ctrl_c_saves_and_says_how_to_go_on(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    step = SearchStage.train_step

    def interrupted(self: SearchStage, *arguments: object) -> object:
        signal.raise_signal(signal.SIGINT)
        return step(self, *arguments)

    monkeypatch.setattr(SearchStage, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(settings("search", "itm", demo, "stopped"))
    assert (
        "saved in epoch 1/2, step 1; go on with the same command and RESUME=1 VERSION=stopped"
        in capsys.readouterr().out
    )
    monkeypatch.setattr(SearchStage, "train_step", step)
    search([*settings("search", "itm", demo, "stopped"), "--resume=true"])
    search(settings("search", "itm", demo, "whole"))
    assert metrics("stopped") == metrics("whole")
