"""Shortlists against brute force: who is on them, how the others rank, how much goes through the whole network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from common.errors import UserError
from genotypes.genotype import Genotype
from matching import scores, shortlist
from matching.scores import encoded_blocks, score_matrix
from matching.shortlist import kth_highest, shortlist_matrix, similarities
from retrain.model import build
from retrain.run import main as retrain
from space.inputs import Inputs
from space.network import Model
from space.settings import ModelSettings
from tasks.base import eval_mode
from tasks.itm import ImageTextMatching, ItmData
from tools.demo.make import make_demo

GENOTYPE = Genotype("itm", ("self_att_64",), ("rel_self_att_64", "guided_att_64"))
ALIGNED = ModelSettings(pool_hidden=16, word_width=16, align_width=12)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo(tmp_path_factory.mktemp("data") / "demo", scenes=60)


@pytest.fixture(autouse=True)
def in_several_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "GROUP", 4)
    monkeypatch.setattr(scores, "TEXTS", 17)
    monkeypatch.setattr(shortlist, "PAIRS", {"cpu": 12})
    monkeypatch.setattr(shortlist, "TOGETHER", 7)


class Small:
    """An untrained network and the matrix it is asked for, of the demo's training split."""

    def __init__(self, root: Path) -> None:
        self.task = ImageTextMatching(ItmData(root=str(root)))
        torch.manual_seed(0)
        self.model: Model = build(self.task, GENOTYPE, ALIGNED, 64)
        self.split = self.task.split("train").subset(np.arange(50))
        self.images = np.unique(self.split.image_ids)
        self.which = self.model, self.split.tokens, self.split.rows, self.split.store, self.images, 36

    def similarities(self) -> np.ndarray:
        """(I,C), pair by pair, without padding."""
        network, found = self.model.network, np.empty((len(self.images), len(self.split)), np.float32)
        for c in range(len(self.split)):
            for i, image in enumerate(self.images):
                one = Inputs(*self.split.store.gather([image], 36), *self.split.tokens.gather(self.split.rows[[c]]))
                found[i, c] = float(network(one).similarity)
        return found


@pytest.fixture
def small(demo: Path) -> Iterator[Small]:
    made = Small(demo)
    with eval_mode(made.model):
        yield made


def best_of(values: np.ndarray, k: int) -> set[int]:
    return set(sorted(range(len(values)), key=lambda place: -values[place])[:k])


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_best_of_each_image_and_each_text_are_reranked_and_no_other_passes_them(
    small: Small, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    similar, exact = small.similarities(), score_matrix(*small.which)
    images, captions = similar.shape
    listed = {(i, c) for i in range(images) for c in best_of(similar[i], k)}
    listed |= {(i, c) for c in range(captions) for i in best_of(similar[:, c], k)}
    fuse, fused = small.model.network.fuse, []

    def counted(texts: object, images: object, text_index: torch.Tensor, image_index: torch.Tensor) -> object:
        fused.append(len(text_index))
        return fuse(texts, images, text_index, image_index)

    monkeypatch.setattr(small.model.network, "fuse", counted)
    scores, count = shortlist_matrix(*small.which, k)
    assert sum(fused) == count == len(listed) < similar.size
    chosen = np.zeros(similar.shape, bool)
    chosen[tuple(np.array(sorted(listed)).T)] = True
    np.testing.assert_allclose(scores[chosen], exact[chosen], atol=1e-5)
    for given, on_list, likeness in zip((scores, scores.T), (chosen, chosen.T), (similar, similar.T), strict=True):
        for row, reranked, by_similarity in zip(given, on_list, likeness, strict=True):
            assert row[~reranked].max(initial=-np.inf) < row[reranked].min()
            others = row[~reranked][np.argsort(by_similarity[~reranked])]
            assert (np.diff(others) > -1e-5 * shortlist.FAR).all()  # pair by pair is another order of summing


@pytest.mark.parametrize("k", [10, 100])
def test_a_shortlist_of_everything_is_exact(small: Small, k: int) -> None:
    scores, reranked = shortlist_matrix(*small.which, k)
    assert reranked == scores.size
    np.testing.assert_array_equal(scores, score_matrix(*small.which))


def test_ties_with_the_last_place_are_on_the_list() -> None:
    scores = np.array([[1, 3, 2, 2], [0, 0, 0, 0], [4, 1, 2, 3]], np.float32)
    assert kth_highest(scores, 2).tolist() == [2, 0, 3]
    assert kth_highest(scores, 9).tolist() == [1, 0, 1]


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="no bf16 on this processor")
def test_reduced_precision_makes_no_ties(small: Small) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        found = similarities(small.model, next(encoded_blocks(*small.which)))
    assert found.dtype == np.float32 and len(np.unique(found)) == found.size


def test_recalls_are_marked(demo: Path, small: Small) -> None:
    exact = small.task.evaluate(small.model, small.split, 64)
    found = {}
    for k in (2, 10):
        task = ImageTextMatching(ItmData(root=str(demo), shortlist=k))
        found[k] = task.evaluate(small.model, small.split, 64)
    assert found[10].metrics == {**exact.metrics, "reranked": 100.0}
    assert found[10].notes == [*exact.notes, "shortlist of 10: 500 of 500 pairs scored by the whole network"]
    pairs = shortlist_matrix(*small.which, 2)[1]
    assert found[2].metrics["reranked"] == pytest.approx(100 * pairs / 500)
    assert f"shortlist of 2: {pairs} of 500 pairs scored by the whole network" in found[2].notes


def test_what_a_shortlist_does_not_go_with_is_refused(demo: Path) -> None:
    with pytest.raises(
        UserError, match="data.shortlist=8 does not go with data.protocol=flickr-1k, whose .*; leave one"
    ):
        ImageTextMatching(ItmData(root=str(demo), shortlist=8, protocol="flickr-1k"))
    task = ImageTextMatching(ItmData(root=str(demo), shortlist=8))
    with pytest.raises(UserError, match="data.shortlist=8 needs a network that aligns .* model.align_width=0 .* leave"):
        build(task, GENOTYPE, ModelSettings(pool_hidden=16, word_width=16), 64)


def test_from_the_command_line_to_every_file_of_numbers(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    GENOTYPE.save("one.json")
    sizes = ["--model.pool_hidden=16", "--model.word_width=16", "--retrain.width=64", "--retrain.epochs=1"]
    options = [f"--data.root={demo}", "--gpu=cpu", *sizes, "--retrain.warmup_steps=5"]
    retrain(["--geno=one.json", "--version=a", "--data.shortlist=1", *options])
    lines = [json.loads(line) for line in Path("logs/log/a/metrics.jsonl").read_text().splitlines()]
    told = {key: value for line in lines for key, value in line.items() if key.endswith("/reranked")}
    assert told.keys() == {"val/reranked", "best/test/reranked"} and all(0 < share < 100 for share in told.values())
    results = Path("logs/ckpts/result_test")
    by_list = json.loads((results / "metrics_a.json").read_text())["metrics"]["test"]
    assert by_list["reranked"] == told["best/test/reranked"]
    retrain(["--run=test", "--version=a", *options])
    assert "reranked" not in json.loads((results / "metrics_a_test.json").read_text())["metrics"]["test"]
    with pytest.raises(UserError, match="needs a network that aligns"):
        retrain(["--geno=one.json", "--data.shortlist=1", "--model.align_width=0", *options])
    with pytest.raises(UserError, match="data.shortlist=0 should be a whole number from 1 to"):
        retrain(["--geno=one.json", "--data.shortlist=0", *options])
