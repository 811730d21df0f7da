"""Answers about pictures without a data set: the same as on the data set, for every task, from a file and pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_pictures
import torch
from PIL import Image
from tiny_pictures import Quarters
from tiny_trained import CPU, LABELS, OWN, Origin, trained

from common.errors import UserError
from engine import checkpoint
from pictures.extraction import extract_folder
from pictures.listing import list_pictures
from predict.predictor import Predictor, ranked
from readers.feature_store import FeatureStore
from space.inputs import Inputs
from texts.words import pad

TEXTS = ["what is red", "is it blue, or red?"]
TASKS = ("itm", "vgd", "vqa")


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.chdir(tmp_path)
    return sorted(tiny_pictures.folder(tmp_path / "pictures", 4).iterdir())


@pytest.mark.parametrize("name", TASKS)
def test_it_says_what_the_network_says_of_the_pack_of_the_same_pictures(
    name: str, pictures: list[Path], tmp_path: Path
) -> None:
    ckpt, task = trained(name, tmp_path)
    fresh = Predictor.load(ckpt, CPU, extractor=OWN)
    extract_folder(list_pictures(tmp_path / "pictures")[0], Quarters(CPU), tmp_path / "out", 0)
    stored = Predictor.load(ckpt, CPU, features=tmp_path / "out")
    in_memory = [Image.open(path) for path in pictures]
    store = FeatureStore([tmp_path / "out"])
    for found in (fresh.predict(pictures, TEXTS), fresh.predict(in_memory, TEXTS), stored.predict(pictures, TEXTS)):
        assert [(one.picture, one.text) for one in found.said] == [(p, t) for p in range(4) for t in range(2)]
        for picture, text, shown in found.said:
            tokens = pad([task.vocabulary.encode(task.tokenise(TEXTS[text]), 9)])
            alone = Inputs(*store.gather([picture], 3), *tokens, torch.tensor([0]))
            with torch.no_grad():
                logits = fresh.model(alone)
            regions = [box for box in shown.boxes if box.role == "region"]
            np.testing.assert_allclose([box.xyxy for box in regions], alone.boxes[0])
            assert shown.hw == (30, 40) and max(box.weight for box in regions) == 1 and shown.text == TEXTS[text]
            assert sum(box.probability for box in regions) == pytest.approx(1, abs=1e-5)
            if name == "itm":
                assert shown.score == pytest.approx(logits.item(), abs=1e-5)
            elif name == "vqa":
                scores = logits[0].sigmoid()
                assert [one.text for one in shown.answers] == [LABELS[i] for i in scores.argsort(descending=True)[:3]]
                assert shown.answers[0].probability == pytest.approx(scores.max().item(), abs=1e-5)
            else:
                probabilities = [box.probability for box in regions]
                np.testing.assert_allclose(probabilities, logits[0][0].softmax(0), atol=1e-5)
                assert shown.boxes[-1].role == "predicted" and shown.boxes[-1].probability == max(probabilities)


def test_matches_rank_by_picture_and_by_text(pictures: list[Path], tmp_path: Path) -> None:
    ckpt, _ = trained("itm", tmp_path)
    said = Predictor.load(ckpt, CPU, extractor=OWN).predict(pictures, TEXTS, [(0, 0), (0, 1), (3, 1), (2, 1)]).said
    by_picture, by_text = ranked(said, "picture"), ranked(said, "text")
    assert {place: len(own) for place, own in by_picture.items()} == {0: 2, 2: 1, 3: 1}
    assert {one.picture for one in by_text[1]} == {0, 2, 3}
    for own in (*by_picture.values(), *by_text.values()):
        assert [one.shown.score for one in own] == sorted((one.shown.score for one in own), reverse=True)


def test_words_that_it_does_not_know_or_read_are_named_and_none_is_refused(
    pictures: list[Path], tmp_path: Path
) -> None:
    predictor = Predictor.load(trained("vqa", tmp_path)[0], CPU, extractor=OWN)
    long = "is a zebra red or zebra blue " * 3
    (reading,) = predictor.predict(pictures[:1], [long]).readings
    assert (reading.unknown, len(reading.words)) == (["zebra"], 14) and len(reading.unread) == 7
    with pytest.raises(UserError, match=r"the text '\?' has no words"):
        predictor.predict(pictures, ["?"])


def test_damaged_pictures_are_named_and_the_others_answered(pictures: list[Path], tmp_path: Path) -> None:
    pictures[1].write_bytes(pictures[1].read_bytes()[:60])
    (tmp_path / "gone.png").symlink_to("nowhere")
    found = Predictor.load(trained("vqa", tmp_path)[0], CPU, extractor=OWN).predict(
        [*pictures, tmp_path / "gone.png"], ["what is red"]
    )
    assert [one.picture for one in found.said] == [0, 2, 3] and found.refused.keys() == {1, 4}
    assert str(pictures[1]) in found.refused[1] and "does not exist" in found.refused[4]


def test_only_features_as_the_network_knows_them_are_taken(pictures: list[Path], tmp_path: Path) -> None:
    ckpt, _ = trained("vqa", tmp_path)
    for named, said in (
        ({}, "a class of your own, .* say EXTRACTOR=tiny_pictures:Quarters"),
        ({"extractor": "tiny_pictures:Others"}, r"differ in extractor \('Others' and 'Quarters'\)"),
        ({"features": tmp_path / "none"}, "does not exist"),
    ):
        with pytest.raises(UserError, match=said):
            Predictor.load(ckpt, CPU, **named)
    unknown, _ = trained("vqa", tmp_path / "unknown", Origin("", {}))
    with pytest.raises(UserError, match="does not know what made the features .* FEATURES="):
        Predictor.load(unknown, CPU)
    assert Predictor.load(unknown, CPU, extractor=OWN).predict(pictures, TEXTS).said
    np.savez(tmp_path / "000.npz", x=np.ones((2, 5)), bbox=[[0, 0, 9, 9]] * 2, image_h=9, image_w=9)
    with pytest.raises(UserError, match="trained on features of width 3, these have 5"):
        Predictor.load(unknown, CPU, features=tmp_path / "000.npz").predict(pictures[:1], TEXTS)
    np.savez(tmp_path / "000.npz", x=np.ones((2, 3)), bbox=[[0, 0, 9, 9]] * 2, image_h=9, image_w=9)
    found = Predictor.load(unknown, CPU, features=tmp_path / "000.npz").predict(pictures[:2], TEXTS)
    assert len(found.said) == 2 and "000.npz, which must be called like the picture" in found.refused[1]


@pytest.mark.parametrize(
    ("key", "held"), [("limits", {"regions": 0}), ("limits", [3]), ("extractor", {"extractor": 3}), ("called", 3)]
)
def test_a_damaged_origin_is_told(key: str, held: object, tmp_path: Path) -> None:
    ckpt, _ = trained("itm", tmp_path)
    checkpoint.save(ckpt, {**checkpoint.load(ckpt), key: held})
    with pytest.raises(UserError, match=f"as '{key}'; it is damaged"):
        Predictor.load(ckpt, CPU, extractor=OWN)
