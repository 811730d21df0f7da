"""Visual Genome's questions as further training data for VQA: ``python -m tools.prepare.genome --data data --vg vg``.

Reads question_answers.json and image_data.json of Visual Genome and writes VG_questions.json and VG_annotations.json
in VQA's format. As published, a question is kept if its image is in COCO's train or val, which are the images that VQA
asks about there, and its answer is one that the network can give.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import UserError, run
from common.files import read_json, write_json
from readers.data_root import find_path
from readers.entries import field
from readers.questions import read_annotations, read_questions
from tasks.answers import AnswerVocabulary, normalise
from tasks.vqa import PARTS, TEXTS, VqaData

ANNOTATORS = 10  # one person answered; VQA's format has ten answers


class Asked(NamedTuple):
    """A question of Visual Genome whose image is one of COCO's."""

    question_id: int
    image_id: int  # COCO's
    question: str
    answer: str


class Known(NamedTuple):
    """What VQA's train and val hold, by which the questions of Visual Genome are chosen."""

    images: set[int]
    answers: AnswerVocabulary  # those that a network trained on them can give


def read_genome(folder: Path) -> Iterator[Asked]:
    """The questions of question_answers.json about images that image_data.json gives a coco_id.

    Raises:
        UserError: a file is missing or not Visual Genome's, or two of these questions have one qa_id.
    """
    coco, path, seen = _coco_ids(folder / "image_data.json"), folder / "question_answers.json", set()
    for place, entry in enumerate(_list(path)):
        where = f"{path}, entry {place}"
        image = coco.get(_image_id(where, entry, "id", "image_id"))
        if image is None:
            continue
        for number, qa in enumerate(field(where, entry, "qas", list)):
            one = _asked(f"{where}, qas[{number}]", qa, image)
            if one.question_id in seen:
                raise UserError(f"{where}, qas[{number}]: qa_id {one.question_id} is there twice; keep one of them")
            seen.add(one.question_id)
            yield one


def _asked(where: str, qa: Any, image: int) -> Asked:
    texts = (field(where, qa, name, str) for name in ("question", "answer"))
    return Asked(field(where, qa, "qa_id", int), image, *texts)


def _coco_ids(path: Path) -> dict[int, int | None]:
    """Visual Genome's images by id: COCO's id, None where COCO does not have the image."""
    coco = {}
    for place, entry in enumerate(_list(path)):
        where = f"{path}, entry {place}"
        number = _image_id(where, entry, "image_id", "id")
        # Null says that COCO does not have the image; a file without the field is another file.
        foreign = "coco_id" in entry and entry["coco_id"] is None
        coco[number] = None if foreign else field(where, entry, "coco_id", int)
    return coco


def _image_id(where: str, entry: Any, usual: str, other: str) -> int:
    """An image's id; the files and their releases differ in what they call it."""
    return field(where, entry, other if isinstance(entry, dict) and usual not in entry else usual, int)


def _list(path: Path) -> list[Any]:
    content = read_json(path, f"Visual Genome's {path.name}")
    if not isinstance(content, list) or not content:
        raise UserError(f"{path} holds no list of images; it should be Visual Genome's {path.name}")
    return content


def read_known(texts: Path, answer_min: int) -> Known:
    """Read VQA's train and val, each file once.

    Raises:
        UserError: a file is missing or malformed, or no answer occurs often enough.
    """
    images, most_common = set(), []
    for part in ("train", "val"):
        questions = read_questions(texts / PARTS[part].questions)
        images.update(questions.images.tolist())
        most_common += read_annotations(texts / PARTS[part].annotations, questions).most_common
    return Known(images, AnswerVocabulary.of(most_common, answer_min))


def convert(asked: Iterable[Asked], known: Known) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Questions and annotations in VQA's format, of those whose image and normalised answer are known."""
    questions, annotations = [], []
    for one in asked:
        answer = normalise(one.answer)
        if one.image_id not in known.images or answer not in known.answers.ids:
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
    parser = argparse.ArgumentParser(prog="python -m tools.prepare.genome", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data"), help="the data root, which has VQA's files in vqa/")
    parser.add_argument(
        "--vg", type=Path, required=True, help="the folder of Visual Genome's question_answers.json and image_data.json"
    )
    parser.add_argument("--answer-min", type=int, default=VqaData.answer_min, help="as data.answer_min in training")
    given = parser.parse_args(arguments)
    texts = find_path(given.data, TEXTS, PARTS["train"].questions)
    known = read_known(texts, given.answer_min)
    questions, annotations = convert(read_genome(given.vg), known)
    if not questions:
        raise UserError(
            f"no question under {given.vg} has an image in COCO's train or val and one of the "
            f"{len(known.answers)} known answers; use the whole of both data sets, or lower --answer-min"
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
