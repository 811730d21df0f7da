"""The demo data's texts in the file layouts of the three tasks' public data sets."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from common.files import atomic_write, write_json
from common.progress import track
from tools.demo.language import CAPTIONS, captions, expressions
from tools.demo.questions import ANNOTATORS, FEWEST, MOST, Asker, Question, annotate, answer_type
from tools.demo.scenes import ATTRIBUTES, HEIGHT, ROUND, WIDTH, Scene

COCO_FOLDER = {"train": "train2014", "val": "val2014", "test": "test2015"}  # a split's name in VQA v2
_VG_QUESTIONS = 2  # extra ones a training image
_VG_FIRST_ID = 10**9  # above all of VQA's question ids, which are image ids times 1000
_TARGETS = 4  # things an image that expressions mean, at most
_REFS = {  # data set -> file -> split by split of the images
    "refcoco": {"refs(unc).p": {"train": "train", "val": "val", "testA": "testA", "testB": "testB"}},
    "refcoco+": {"refs(unc).p": {"train": "train", "val": "val", "testA": "testA", "testB": "testB"}},
    "refcocog": {
        "refs(umd).p": {"train": "train", "val": "val", "testA": "test", "testB": "test"},
        "refs(google).p": {"train": "train", "val": "val"},
    },
}


def coco_name(folder: str, image_id: int) -> str:
    """COCO's file name of a picture, for example COCO_train2014_000000000009.jpg."""
    return f"COCO_{folder}_{image_id:012d}.jpg"


def write_itm(root: Path, scenes: Sequence[Scene], seed: int) -> None:
    """Captions and ids under itm/, five captions an image; COCO's test split is the first half of its testall."""
    said = {scene.image_id: captions(scene, seed) for scene in track(scenes, "writing captions")}
    listed = random.Random(f"{seed}/flickr").sample(scenes, len(scenes))
    entries = [_flickr_entry(imgid, scene, said[scene.image_id]) for imgid, scene in enumerate(listed)]
    write_json(root / "itm/dataset_flickr30k.json", {"images": entries, "dataset": "flickr30k"}, indent=None)
    imgid_of = {scene.image_id: imgid for imgid, scene in enumerate(listed)}
    for split, stem in {"train": "train", "val": "dev", "test": "test"}.items():
        images = [scene.image_id for scene in scenes if scene.split == split]
        texts = [caption for image in images for caption in said[image]]
        repeats = 1 if split == "train" else CAPTIONS  # Flickr30K's release has it so
        imgids = [imgid_of[image] for image in images for _ in range(repeats)]
        _write_split(root / "itm/f30k_precomp", stem, texts, imgids)
        half = len(images) // 2 if split == "test" else len(images)
        for name, some in {stem: images[:half], **({"testall": images} if split == "test" else {})}.items():
            per_caption = [image for image in some for _ in range(CAPTIONS)]
            _write_split(root / "itm/coco_precomp", name, texts[: len(per_caption)], per_caption)


def _flickr_entry(imgid: int, scene: Scene, texts: Sequence[str]) -> dict[str, Any]:
    sentids = list(range(CAPTIONS * imgid, CAPTIONS * (imgid + 1)))
    sentences = [
        {"tokens": text.lower().replace(",", "").rstrip(".").split(), "raw": text, "imgid": imgid, "sentid": sentid}
        for text, sentid in zip(texts, sentids, strict=True)
    ]
    named = {"split": scene.split, "filename": f"{scene.image_id}.jpg"}
    return {"sentids": sentids, "imgid": imgid, "sentences": sentences, **named}


def _write_split(folder: Path, stem: str, texts: Iterable[str], ids: Iterable[int]) -> None:
    for kind, lines in (("caps", texts), ("ids", ids)):
        with atomic_write(folder / f"{stem}_{kind}.txt") as file:
            file.writelines(f"{line}\n" for line in lines)


def write_vqa(root: Path, scenes: Sequence[Scene], seed: int) -> None:
    """Questions and annotations under vqa/; the test splits have no annotations, test-dev is half of the test."""
    for split, folder in COCO_FOLDER.items():
        asker, rows = Asker(), []
        for scene in track([scene for scene in scenes if scene.split == split], f"writing {split} questions"):
            rng = random.Random(f"{seed}/questions/{scene.image_id}")
            asked = asker.ask(scene, rng.randint(FEWEST, MOST), rng)
            first = scene.image_id * 1000
            rows += [(number, scene.image_id, question) for number, question in enumerate(asked, first)]
        _write_questions(root / f"vqa/v2_OpenEnded_mscoco_{folder}_questions.json", rows, folder)
        if split == "test":
            dev = set([scene.image_id for scene in scenes if scene.split == split][::2])
            rows = [row for row in rows if row[1] in dev]
            _write_questions(root / "vqa/v2_OpenEnded_mscoco_test-dev2015_questions.json", rows, "test-dev2015")
        else:
            rng = random.Random(f"{seed}/annotators/{split}")
            made = [_annotation(*row, annotate(row[2], rng)) for row in rows]
            _write_annotations(root / f"vqa/v2_mscoco_{folder}_annotations.json", made, folder)
    _write_vg(root, [scene for scene in scenes if scene.split == "train"], seed)


def _write_vg(root: Path, scenes: Sequence[Scene], seed: int) -> None:
    asker, rows = Asker(), []
    for scene in scenes:
        rng = random.Random(f"{seed}/vg/{scene.image_id}")
        for question in asker.ask(scene, _VG_QUESTIONS, rng):
            rows.append((_VG_FIRST_ID + len(rows), scene.image_id, question))
    # One person answered each of Visual Genome's questions; converted files repeat the answer.
    answers = [
        [{"answer": row[2].answer, "answer_confidence": "yes", "answer_id": n} for n in range(1, ANNOTATORS + 1)]
        for row in rows
    ]
    made = [_annotation(*row, given) for row, given in zip(rows, answers, strict=True)]
    _write_questions(root / "vqa/VG_questions.json", rows, "train2014")
    _write_annotations(root / "vqa/VG_annotations.json", made, "train2014")


def _head(subset: str) -> dict[str, Any]:
    info = {"description": "synthetic demo data in the layout of VQA v2.0", "version": "1.0"}
    return {"info": info, "data_type": "mscoco", "data_subtype": subset, "license": {"name": "", "url": ""}}


def _write_questions(path: Path, rows: Iterable[tuple[int, int, Question]], subset: str) -> None:
    listed = [
        {"image_id": image_id, "question": question.text.capitalize(), "question_id": question_id}
        for question_id, image_id, question in rows
    ]
    write_json(path, {**_head(subset), "task_type": "Open-Ended", "questions": listed}, indent=None)


def _annotation(question_id: int, image_id: int, question: Question, answers: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "question_type": question.template,
        "multiple_choice_answer": question.answer,
        "answers": answers,
        "image_id": image_id,
        "answer_type": answer_type(question),
        "question_id": question_id,
    }


def _write_annotations(path: Path, annotations: list[dict[str, Any]], subset: str) -> None:
    write_json(path, {**_head(subset), "annotations": annotations}, indent=None)


def write_refs(root: Path, scenes: Sequence[Scene], seed: int) -> None:
    """Expressions under refs/, in COCO's and refer's formats.

    In the test splits A and B half of the images each stand: A asks for round things, B for edged ones.
    """
    tests = [scene.image_id for scene in scenes if scene.split == "test"]
    part_of = {scene.image_id: scene.split for scene in scenes}
    part_of |= {image: f"test{'AB'[place % 2]}" for place, image in enumerate(tests)}
    instances = _instances(scenes)
    for name, files in _REFS.items():
        write_json(root / f"refs/{name}/instances.json", instances, indent=None)
        refs: list[dict[str, Any]] = []
        sentences = 0
        for scene in track(scenes, f"writing {name} expressions"):
            for target in _targets(scene, part_of[scene.image_id], random.Random(f"{seed}/targets/{scene.image_id}")):
                texts = expressions(scene, name, target, seed)
                refs.append(_ref(len(refs), sentences, scene, target, texts))
                sentences += len(texts)
        for file_name, splits in files.items():
            kept = [{**ref, "split": splits[part]} for ref in refs if (part := part_of[ref["image_id"]]) in splits]
            with atomic_write(root / "refs" / name / file_name, "wb") as file:
                pickle.dump(kept, file, protocol=2)


def _targets(scene: Scene, part: str, rng: random.Random) -> list[int]:
    wanted = {"testA": (True,), "testB": (False,)}.get(part, (True, False))
    pool = [i for i, thing in enumerate(scene.things) if (thing.shape in ROUND) in wanted]
    return sorted(rng.sample(pool, min(_TARGETS, len(pool))))


def _annotation_id(scene: Scene, thing: int) -> int:
    return scene.image_id * 100 + thing


def _ref(ref_id: int, first_sentence: int, scene: Scene, target: int, texts: Sequence[str]) -> dict[str, Any]:
    sentences = [
        {"tokens": text.split(), "raw": text, "sent": text, "sent_id": sent_id}
        for sent_id, text in enumerate(texts, first_sentence)
    ]
    ann_id = _annotation_id(scene, target)
    return {
        "ref_id": ref_id,
        "ann_id": ann_id,
        "image_id": scene.image_id,
        "file_name": f"COCO_train2014_{scene.image_id:012d}_{ann_id}.jpg",
        "category_id": ATTRIBUTES["shape"].index(scene.things[target].shape) + 1,
        "sent_ids": [sentence["sent_id"] for sentence in sentences],
        "sentences": sentences,
    }


def _instances(scenes: Sequence[Scene]) -> dict[str, Any]:
    shapes = ATTRIBUTES["shape"]
    annotations = []
    for scene in scenes:
        for number, thing in enumerate(scene.things):
            x1, y1, x2, y2 = (round(value, 2) for value in thing.box)
            box = {"bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)], "area": round((x2 - x1) * (y2 - y1), 2)}
            outline = [[x1, y1, x2, y1, x2, y2, x1, y2]]
            ids = {"id": _annotation_id(scene, number), "image_id": scene.image_id}
            kind = {"category_id": shapes.index(thing.shape) + 1, "iscrowd": 0, "segmentation": outline}
            annotations.append({**ids, **kind, **box})
    return {
        "info": {"description": "synthetic demo data in the layout of COCO", "version": "1.0"},
        "licenses": [],
        "images": [
            {
                "id": scene.image_id,
                "file_name": coco_name("train2014", scene.image_id),
                "width": WIDTH,
                "height": HEIGHT,
            }
            for scene in scenes
        ],
        "annotations": annotations,
        "categories": [
            {"supercategory": "round" if shape in ROUND else "edged", "id": number, "name": shape}
            for number, shape in enumerate(shapes, 1)
        ],
    }
