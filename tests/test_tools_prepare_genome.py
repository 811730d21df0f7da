"""Visual Genome in VQA's format: the two published rules, and what is said about files that are something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_vqa

from common.errors import UserError
from tasks.vqa import VisualQuestionAnswering, VqaData
from tools.prepare.genome import main

IMAGES = [
    {"image_id": 1, "coco_id": 101},
    {"image_id": 2, "coco_id": None},
    {"id": 3, "coco_id": 5},
    {"image_id": 5, "coco_id": 201},  # of COCO's test
]


def qa(number: int, image: int, answer: str) -> dict[str, Any]:
    return {"qa_id": number, "image_id": image, "question": "What hue?", "answer": answer, "a_objects": []}


ASKED = [
    {"id": 1, "qas": [qa(10, 1, "The green."), qa(11, 1, "Turquoise."), qa(12, 1, "No.")]},
    {"id": 2, "qas": [qa(13, 2, "Green.")]},
    {"id": 3, "qas": [qa(14, 3, "Red")]},
    {"id": 4, "qas": [qa(15, 4, "Red")]},
    {"id": 5, "qas": [qa(16, 5, "Red")]},
]


def asked(**change: Any) -> list[dict[str, Any]]:
    """Questions of which one is other than it should be."""
    return [{"id": 1, "qas": [qa(10, 1, "Green."), qa(11, 1, "Red.") | change]}]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tiny_vqa.make_root(tmp_path / "root")
    for name in ("VG_questions.json", "VG_annotations.json"):
        (root / "vqa" / name).unlink()
    return root


def genome(folder: Path, images: Any = IMAGES, questions: Any = ASKED) -> Path:
    folder.mkdir()
    (folder / "image_data.json").write_text(json.dumps(images))
    (folder / "question_answers.json").write_text(json.dumps(questions))
    return folder


def run(root: Path, folder: Path, answer_min: int = 3) -> None:
    main([f"--data={root}", f"--vg={folder}", f"--answer-min={answer_min}"])


def test_kept_are_coco_images_and_known_answers(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(root, genome(tmp_path / "vg"))
    questions = tiny_vqa.read(root, "VG_questions.json", "questions")
    assert [(q["question_id"], q["image_id"]) for q in questions] == [(10, 101), (12, 101), (14, 5)]
    annotations = tiny_vqa.read(root, "VG_annotations.json", "annotations")
    assert [(a["multiple_choice_answer"], a["answer_type"]) for a in annotations] == [
        ("green", "other"), ("no", "yes/no"), ("red", "other"),
    ]  # fmt: skip
    said = capsys.readouterr().out
    assert "VG_questions.json: 3 questions" in said
    assert "questions of Visual Genome: 3 kept, 1 answered by none of the 6 known answers, 1 about an image" in said
    task = VisualQuestionAnswering(VqaData(root=str(root), split="train+val+vg", answer_min=3))
    split = task.split("train")
    assert len(split) == 67 and split.image_ids[-3:].tolist() == [101, 101, 5]
    assert split.samples.answers.targets(split.rows[-3:]).max(1)[0].tolist() == [1, 1, 1]


@pytest.mark.parametrize(("number", "image"), [("id", "image"), ("qa_id", "image_id"), ("id", "image_id")])
def test_questions_in_a_row_are_kept_alike(root: Path, tmp_path: Path, number: str, image: str) -> None:
    flat = [
        {number: one["qa_id"], image: entry["id"], "question": one["question"], "answer": one["answer"]}
        for entry in ASKED
        for one in entry["qas"]
    ]
    for folder, questions in (("by_image", ASKED), ("in_a_row", flat)):
        run(root, genome(tmp_path / folder, questions=questions))
        written = [(root / "vqa" / name).read_bytes() for name in ("VG_questions.json", "VG_annotations.json")]
        if folder == "by_image":
            expected = written
    assert written == expected


def test_answers_without_an_official_form_are_known_by_their_spelling(root: Path, tmp_path: Path) -> None:
    name = "v2_mscoco_train2014_annotations.json"
    entries = tiny_vqa.read(root, name, "annotations")
    tiny_vqa.write(root, name, "annotations", [entry | {"multiple_choice_answer": "a"} for entry in entries])
    run(root, genome(tmp_path / "vg", questions=[{"id": 1, "qas": [qa(10, 1, "A."), qa(11, 1, "The.")]}]))
    (kept,) = tiny_vqa.read(root, "VG_annotations.json", "annotations")
    assert kept["multiple_choice_answer"] == "a" and {one["answer"] for one in kept["answers"]} == {"a"}


@pytest.mark.parametrize(
    ("images", "questions", "said"),
    [
        ([{"image_id": 1}], ASKED, "image_data.json, entry 0: 'coco_id' is missing or not a whole number"),
        ([{"coco_id": 1}], ASKED, "image_data.json, entry 0: 'id' is missing or not a whole number"),
        ([5], ASKED, "image_data.json, entry 0: 'image_id' is missing or not a whole number"),
        (IMAGES, [{"id": 1}], "question_answers.json, entry 0 is of no form that is known: .* and its 'qas', or"),
        (IMAGES, [5], "question_answers.json, entry 0 is of no form that is known"),
        (IMAGES, [{"id": 1, "qas": {}}], "question_answers.json, entry 0: 'qas' is missing or not a list"),
        (IMAGES, [{"id": 1, "qas": [5]}], r"entry 0, qas\[0\]: 'question' is missing or not a text"),
        (IMAGES, [{"question": "?", "answer": "no", "id": 1}], "entry 0: 'image' is missing or not a whole number"),
        (IMAGES, asked(answer="\ud83d"), r"entry 0, qas\[1\] holds half a character"),
        (IMAGES, asked(question=None), r"entry 0, qas\[1\]: 'question' is missing or not a text"),
        (IMAGES, asked(question=7), r"entry 0, qas\[1\]: 'question' is missing or not a text"),
        (IMAGES, asked(answer=None), r"entry 0, qas\[1\]: 'answer' is missing or not a text"),
        (IMAGES, asked(answer=2), r"question_answers.json, entry 0, qas\[1\]: 'answer' is missing or not a text"),
        (IMAGES, asked(qa_id="x11"), r"entry 0, qas\[1\]: 'qa_id' is missing or not a whole number"),
        (IMAGES, asked(qa_id=10), r"question_answers.json, entry 0, qas\[1\]: qa_id 10 is there twice; keep one"),
        ({}, ASKED, "image_data.json holds no list; it should be"),
        (IMAGES, [], "question_answers.json holds no list; it should be"),
        (IMAGES, [{"id": 1, "qas": []}], "none of the questions under .* can be kept: there are none;"),
        (IMAGES, ASKED[1:2], "can be kept: 1 about an image that is not in COCO;"),
        (IMAGES, ASKED[3:4], "can be kept: 1 about an image that image_data.json does not have;"),
        (IMAGES, ASKED[4:], "can be kept: 1 about an image of COCO that no question of VQA's train or val is about;"),
        (
            IMAGES,
            [{"id": 1, "qas": [qa(1, 1, "Pink"), qa(2, 1, "Teal"), qa(3, 1, "")]}],
            "can be kept: 3 answered by none of the 6 known answers;",
        ),
    ],
)
def test_other_files_are_refused(root: Path, tmp_path: Path, images: Any, questions: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        run(root, genome(tmp_path / "vg", images, questions))
    assert not (root / "vqa/VG_questions.json").exists()


def test_missing_files(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="image_data.json does not exist; it should be Visual Genome's image_data.json"):
        run(root, tmp_path)
