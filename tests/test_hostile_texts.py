"""Spoilt files of texts, of every kind that a task or a tool reads: each is read, or refused in one sentence."""

from __future__ import annotations

import json
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_vgd
import tiny_vqa
from fuzz import VALUES, answered, for_numbers, fuzzed, spoilt_bytes, spoilt_json, spoilt_text, spoilt_tree

from readers.captions import read_captions, read_flickr_ids
from readers.expressions import files_of
from tasks.base import Split
from tasks.vgd import VgdData, VisualGrounding
from tasks.vqa import PARTS, VisualQuestionAnswering, VqaData
from tools.prepare import genome

KARPATHY = {
    "images": [{"imgid": n, "filename": f"{100 + n}.jpg", "split": "train", "sentids": [n]} for n in range(6)],
    "dataset": "flickr30k",
}


def used(split: Split) -> None:
    """A batch of everything: what a reader let through has to carry it."""
    split.batch(split.draw(np.arange(len(split)), np.random.default_rng(0)))


@fuzzed
def test_captions_and_ids(many: bool, tmp_path: Path) -> None:
    captions, ids, names = (tmp_path / name for name in ("train_caps.txt", "train_ids.txt", "dataset.json"))
    whole = {
        captions: "".join(f"a dog number {n} runs\n" for n in range(30)),
        ids: "".join(f"{n % 6}\n" for n in range(30)),
        names: json.dumps(KARPATHY),
    }

    def check(rng: random.Random) -> None:
        for path, text in whole.items():
            path.write_text(text)
        path = rng.choice(list(whole))
        spoil = rng.choice((spoilt_text, lambda text, rng: spoilt_bytes(text.encode(), rng)))
        path.write_bytes(spoilt_json(KARPATHY, rng) if path == names else spoil(whole[path], rng))
        answered(
            "captions, ids and Karpathy",
            lambda: read_captions(captions, ids, read_flickr_ids(names, rng.random() < 0.5)),
        )

    for_numbers(many, check, 100)


@pytest.fixture(scope="module")
def vqa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vqa.make_root(tmp_path_factory.mktemp("vqa"))


@fuzzed
@pytest.mark.parametrize(
    "name", [PARTS["train"].questions, PARTS["train"].annotations, PARTS["vg"].questions, PARTS["vg"].annotations]
)
def test_questions_and_annotations(many: bool, name: str, vqa: Path) -> None:
    path = vqa / "vqa" / name
    whole = path.read_bytes()

    def read() -> None:
        used(VisualQuestionAnswering(VqaData(str(vqa), split="train+val+vg", answer_min=0)).split("train"))

    def check(rng: random.Random) -> None:
        path.write_bytes(spoilt_json(json.loads(whole), rng))
        try:
            answered("questions and annotations", read)
        finally:
            path.write_bytes(whole)

    for_numbers(many, check)


@fuzzed
@pytest.mark.parametrize("name", ["question_answers.json", "image_data.json"])
def test_visual_genome(many: bool, name: str, vqa: Path, tmp_path: Path) -> None:
    qas = [{"qa_id": n, "question": "What color is it?", "answer": "red"} for n in range(4)]
    files = {
        "question_answers.json": [{"id": 11, "qas": qas[:2]}, {"image": 12, **qas[2]}, {"id": 12, "qas": qas[3:]}],
        "image_data.json": [
            {"image_id": 11, "coco_id": 1},
            {"image_id": 12, "coco_id": None},
            {"id": 13, "coco_id": 2},
        ],
    }
    known = genome.read_known(vqa / "vqa", 0)
    paths = [tmp_path / file for file in files]

    def check(rng: random.Random) -> None:
        for path in paths:
            path.write_bytes(
                spoilt_json(files[path.name], rng) if path.name == name else json.dumps(files[path.name]).encode()
            )
        answered(
            "Visual Genome", lambda: genome.convert(genome.read_genome(paths[0]), genome.read_coco_ids(paths[1]), known)
        )

    for_numbers(many, check, 100)


@pytest.fixture(scope="module")
def vgd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vgd.make_root(tmp_path_factory.mktemp("vgd"))


def spoilt_pickle(value: Any, rng: random.Random) -> bytes:
    protocol = rng.choice((0, 2, 4))
    if rng.random() < 0.5:
        return spoilt_bytes(pickle.dumps(value, protocol), rng)
    # What texts of Python 2 cannot hold, protocol 0 cannot either.
    return pickle.dumps(
        spoilt_tree(value, rng, (*VALUES, b"\xff", (1, (2, 3)), {1, 2}, np.int64(7), np.nan)), max(2, protocol)
    )


@fuzzed
@pytest.mark.parametrize("name", ["refs(unc).p", "instances.json", "train.json"])
def test_referring_expressions(many: bool, name: str, vgd: Path) -> None:
    folder = tiny_vgd.folder(vgd)
    files = files_of(vgd, "refcoco", "unc")
    pickled, instances = files.pickle.read_bytes(), files.instances.read_bytes()
    entries = [
        {"tokens": ["red"], "image_id": 1, "bbox": [1, 2, 30, 40], "ref_id": n, "split": "train"} for n in range(3)
    ]

    def check(rng: random.Random) -> None:
        if name == "refs(unc).p":
            files.pickle.write_bytes(spoilt_pickle(pickle.loads(pickled), rng))
        elif name == "instances.json":
            files.instances.write_bytes(spoilt_json(json.loads(instances), rng))
        else:
            files.pickle.unlink(missing_ok=True)
            files.by_split["train"].write_bytes(spoilt_json(entries, rng))
        try:
            answered("referring expressions", lambda: used(VisualGrounding(VgdData(str(vgd))).split("train")))
        finally:
            files.pickle.write_bytes(pickled)
            files.instances.write_bytes(instances)

    for_numbers(many, check)
    for left in folder.glob("*.json"):
        if left != files.instances:
            left.unlink()
