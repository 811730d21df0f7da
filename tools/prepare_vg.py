"""Visual Genome's questions as further training data for VQA: ``python -m tools.prepare_vg --data data --vg vg``.

Reads question_answers.json and image_data.json of Visual Genome and writes VG_questions.json and VG_annotations.json
in VQA's format. Published models keep a question if its image is in COCO's train or val and its answer is one that the
network can give.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import UserError, run
from common.files import read_json, write_json
from tasks.answers import AnswerVocabulary, normalise
from tasks.places import locate
from tasks.questions import read_annotations, read_questions
from tasks.vqa import PARTS, TEXTS, VqaData

ANNOTATORS = 10  # one person answered; VQA's format has ten answers


class Asked(NamedTuple):
    """A question of Visual Genome whose image is one of COCO's."""

    question_id: int
    image_id: int  # COCO's
    question: str
    answer: str


def read_genome(folder: Path) -> Iterator[Asked]:
    """The questions of question_answers.json about images that image_data.json gives a coco_id.

    Raises:
        UserError: a file is missing or not Visual Genome's.
    """
    images, asked = folder / "image_data.json", folder / "question_answers.json"
    coco = {}
    for place, image in enumerate(_list(images)):
        try:
            # The first release calls it id, later ones image_id.
            number = image["image_id"] if "image_id" in image else image["id"]
            coco[number] = image["coco_id"]
        except (KeyError, TypeError) as error:
            raise UserError(f"{images}, entry {place}: no {error}; it should be Visual Genome's") from error
    for place, image in enumerate(_list(asked)):
        try:
            number = image["id"] if "id" in image else image["image_id"]
            if coco.get(number) is not None:
                for qa in image["qas"]:
                    yield Asked(qa["qa_id"], coco[number], qa["question"], qa["answer"])
        except (KeyError, TypeError) as error:
            raise UserError(f"{asked}, entry {place}: no {error}; it should be Visual Genome's") from error


def _list(path: Path) -> list[Any]:
    content = read_json(path, f"Visual Genome's {path.name}")
    if not isinstance(content, list) or not content:
        raise UserError(f"{path} holds no list of images; it should be Visual Genome's {path.name}")
    return content


def known_answers(texts: Path, answer_min: int) -> AnswerVocabulary:
    """The answers a network trained on VQA's train and val can give."""
    most_common = []
    for part in ("train", "val"):
        questions = read_questions(texts / PARTS[part].questions)
        most_common += read_annotations(texts / PARTS[part].annotations, questions).most_common
    return AnswerVocabulary.of(most_common, answer_min)


def convert(asked: Iterator[Asked], answers: AnswerVocabulary) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Questions and annotations in VQA's format, of those whose normalised answer is known."""
    questions, annotations = [], []
    for one in asked:
        answer = normalise(one.answer)
        if answer not in answers.ids:
            continue
        own = {"question_id": one.question_id, "image_id": one.image_id}
        questions.append({**own, "question": one.question})
        given = [{"answer": answer, "answer_confidence": "yes", "answer_id": n + 1} for n in range(ANNOTATORS)]
        kinds = {"question_type": "none of the above", "answer_type": _answer_type(answer)}
        annotations.append({**own, **kinds, "multiple_choice_answer": answer, "answers": given})
    return questions, annotations


def _answer_type(answer: str) -> str:
    if answer in ("yes", "no"):
        return "yes/no"
    return "number" if answer.isdecimal() else "other"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, convert, say how much was kept."""
    parser = argparse.ArgumentParser(prog="python -m tools.prepare_vg", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data"), help="the data root, which has VQA's files in vqa/")
    parser.add_argument(
        "--vg", type=Path, required=True, help="the folder of Visual Genome's question_answers.json and image_data.json"
    )
    parser.add_argument("--answer-min", type=int, default=VqaData.answer_min, help="as data.answer_min in training")
    given = parser.parse_args(arguments)
    texts = locate(given.data, TEXTS, PARTS["train"].questions)
    answers = known_answers(texts, given.answer_min)
    questions, annotations = convert(read_genome(given.vg), answers)
    if not questions:
        raise UserError(
            f"no question under {given.vg} has an image in COCO and one of the {len(answers)} known answers"
        )
    heads = {"info": {"description": "Visual Genome in the format of VQA v2.0"}, "data_type": "mscoco"}
    for name, key, entries in (
        (PARTS["vg"].questions, "questions", questions),
        (PARTS["vg"].annotations, "annotations", annotations),
    ):
        write_json(texts / name, {**heads, key: entries}, indent=None)
        print(f"{texts / name}: {len(entries):,} {key}")
    print(f"next: make retrain GENO=mmnas_vqa SPLIT=train+val+vg DATA={given.data}")


if __name__ == "__main__":
    run(main)
