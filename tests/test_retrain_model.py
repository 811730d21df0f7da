"""Networks built from genotypes: the published sizes, box features, spaces of other extents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from common.errors import UserError
from engine.config import load_config
from engine.run import RunOptions
from genotypes.genotype import Genotype, load, published
from retrain.model import build, restore, restore_alone, save, trained_for
from retrain.settings import RetrainSettings
from space.settings import ModelSettings, SideSettings, SpaceSettings
from tasks.base import eval_mode
from tasks.find import find_task
from tasks.itm import ImageTextMatching, ItmData
from texts.words import UNK, Vocabulary
from tools.demo.make import make_demo

GENOTYPE = Genotype("itm", ("self_att_64", "feed_forward"), ("rel_self_att_64", "guided_att_64"))


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> ImageTextMatching:
    return ImageTextMatching(ItmData(root=str(make_demo(tmp_path_factory.mktemp("data") / "demo", scenes=40))))


@pytest.mark.parametrize("name", ["itm", "vqa", "vgd"])
def test_the_large_model_is_the_published_one(name: str, task: ImageTextMatching) -> None:
    sections = {"model": ModelSettings, "retrain": RetrainSettings}
    argv = [f"--task={name}", "--profile=large"]
    config = load_config("retrain", argv, find=find_task, top=RunOptions, sections=sections)
    assert (config.retrain.width, config.retrain.lr) == (1024, 0.7e-4)
    with torch.device("meta"):
        model = build(task, GENOTYPE, config.model, config.retrain.width)
    attention = model.network.backbone.decoder[1].op.inner
    assert (attention.head, attention.heads) == (128, 8)
    assert model.head.text.score[0].out_features == 1024 and model.head.out.in_features == 2048


def test_box_features_tell_where_a_region_is(task: ImageTextMatching) -> None:
    split = task.split("val")
    inputs = split.batch(split.draw(np.arange(4), np.random.default_rng(0))).inputs
    moved = inputs._replace(boxes=inputs.boxes + 20)
    plain = Genotype("itm", ("feed_forward",), ("self_att_64", "guided_att_64"))  # reads no boxes by itself
    for option in (False, True):
        torch.manual_seed(0)
        model = build(task, plain, ModelSettings(bbox_features=option, pool_hidden=16), 64).eval()
        assert torch.allclose(model(inputs), model(moved), atol=1e-6) != option


def test_spaces_of_other_extents_are_fine_and_impossible_ones_refused() -> None:
    for encoder, decoder in ((4, 6), (12, 18), (1, 1)):
        SpaceSettings(
            SideSettings(encoder, ["none"]), SideSettings(decoder, ["std_conv_3", "uniimg_att_64"])
        ).validate()
    decoder = SideSettings(2, ["feed_forward"])
    for candidates, said in (
        ([], "space.encoder.candidates is empty"),
        (["feed_forward", "feed_forward"], "names an operation twice"),
        (["rel_self_att_64"], "'rel_self_att_64' cannot stand in the encoder"),
        (["self_at_64"], "did you mean 'self_att_64'"),
    ):
        with pytest.raises(UserError, match=said):
            SpaceSettings(SideSettings(2, candidates), decoder).validate()


def test_networks_of_a_seed_begin_alike_wherever_they_are_alike(task: ImageTextMatching) -> None:
    begun = []
    for seed, encoder in ((3, "self_att_64"), (3, "feed_forward"), (4, "self_att_64")):
        torch.manual_seed(seed)
        genotype = GENOTYPE.replace(encoder=(encoder, "feed_forward"))
        begun.append(build(task, genotype, ModelSettings(pool_hidden=16), 64).state_dict())
    one, other, elsewhere = begun
    alike = [name for name in one if ".encoder.0." not in name]
    assert len(alike) > 40 and all(torch.equal(one[name], other[name]) for name in alike)
    drawn = [name for name in alike if name.endswith("weight") and one[name].dim() > 1]
    assert not any(torch.equal(one[name], elsewhere[name]) for name in drawn)
    places = [name for name in other if ".encoder.0." in name and other[name].dim() > 1]
    assert places  # two feed-forwards, which begin otherwise
    assert not any(torch.equal(other[name], other[name.replace("encoder.0", "encoder.1")]) for name in places)


def test_a_genotype_with_an_impossible_block_is_refused(task: ImageTextMatching) -> None:
    with pytest.raises(UserError, match="'guided_att_64' cannot stand in the encoder"):
        build(task, GENOTYPE.replace(encoder=("guided_att_64",)), ModelSettings(), 64)


def test_published_genotypes_build(task: ImageTextMatching) -> None:
    with torch.device("meta"):
        for name in published():
            genotype = load(name)
            model = build(task, genotype, ModelSettings(), 512)
            assert len(model.network.backbone.encoder) == 12 and len(model.network.backbone.decoder) == 18
    assert Path(published()["mcan"]).exists()


def test_a_network_keeps_what_it_reads_misspelt_words_as(task: ImageTextMatching, tmp_path: Path) -> None:
    settings = ModelSettings(pool_hidden=8, word_width=8)
    words, before = task.words, task.vocabulary
    task.vocabulary = Vocabulary(words, {"grene": words[-1]})
    save(tmp_path / "best.pt", build(task, GENOTYPE, settings, 64), task, GENOTYPE, settings, 64, 1, {})
    alone, _ = restore_alone(tmp_path / "best.pt")
    task.vocabulary = before
    restore(tmp_path / "best.pt", task, None)
    for own in (alone, task):
        assert own.vocabulary.encode(["grene", "grened"], limit=2) == [len(words) - 1, UNK]
    state = torch.load(tmp_path / "best.pt", weights_only=True)
    torch.save({**state, "misspelt": ["grene"]}, tmp_path / "damaged.pt")
    with pytest.raises(UserError, match="as 'misspelt'; it is damaged"):
        restore_alone(tmp_path / "damaged.pt")
    settings = {name: value for name, value in state["settings"].items() if name != "embedding_dropout"}
    torch.save(
        {name: {**state, "settings": settings}[name] for name in state if name != "misspelt"}, tmp_path / "old.pt"
    )
    alone, trained = restore_alone(tmp_path / "old.pt")
    assert alone.vocabulary.misspelt == {} and trained.model.network.embedding_dropout.p == 0


def test_components_of_word_vectors_are_dropped_in_training_alone(task: ImageTextMatching) -> None:
    model = build(task, GENOTYPE, ModelSettings(pool_hidden=8, dropout=0.0, embedding_dropout=0.5), 64)
    tokens = torch.tensor([[3, 4, 5], [6, 7, 0]])
    once, again = (model.network.encode_texts(tokens, tokens == 0).states for _ in range(2))
    assert not torch.equal(once, again)
    with eval_mode(model):
        once, again = (model.network.encode_texts(tokens, tokens == 0).states for _ in range(2))
    assert torch.equal(once, again)


def test_a_network_is_read_only_with_its_own_way_to_part_texts(task: ImageTextMatching, tmp_path: Path) -> None:
    settings = ModelSettings(pool_hidden=8, word_width=8)
    model = build(task, GENOTYPE, settings, 64)
    save(tmp_path / "best.pt", model, task, GENOTYPE, settings, 64, 1, {})
    assert restore(tmp_path / "best.pt", task, None).genotype == GENOTYPE and trained_for(tmp_path / "best.pt") == "itm"
    other = ImageTextMatching(ItmData(root=task.data.root, segmenter="zh"))
    with pytest.raises(UserError, match="was trained with data.segmenter=null, not zh; .* say it again"):
        restore(tmp_path / "best.pt", other, None)
    torch.save({"epoch": 1, "stage": {}}, tmp_path / "last.pt")
    with pytest.raises(UserError, match="last.pt is no trained network; give the best.pt of a retraining"):
        trained_for(tmp_path / "last.pt")
