"""Visual Genome's questions as further training data for VQA: ``python -m tools.prepare.genome --data data --vg vg``.

Reads question_answers.json, in either of its forms, and image_data.json of Visual Genome and writes VG_questions.json
and VG_annotations.json in VQA's format. As published, a question is kept if its image is in COCO's train or val, which
are the images that VQA asks about there, and its answer is one that the network can give.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.arguments import Parser, home_path
from common.errors import UserError, run
from common.files import read_json, write_json
from readers.annotations import read_annotations
from readers.data_root import find_path
from readers.entries import field
from readers.questions import read_questions
from tasks.answers import ANNOTATORS, AnswerVocabulary, normalise
from tasks.vqa import PARTS, TEXTS, VqaData

KEPT = "kept"


class Asked(NamedTuple):
    """A question of Visual Genome."""

    where: str  # file and entry
    question_id: int
    image_id: int  # Visual Genome's
    question: str
    answer: str


class Known(NamedTuple):
    """What VQA's train and val hold, by which the questions of Visual Genome are chosen."""

    images: set[int]
    answers: AnswerVocabulary  # those that a network trained on them can give


def read_genome(path: Path) -> Iterator[Asked]:
    """The questions of question_answers.json, by image or in a row.

    By image, as released: ``{"id": image, "qas": [{"qa_id", "question", "answer"}, ...]}``. In a row, as the interface
    of Visual Genome gives them: ``{"id", "image", "question", "answer"}``. An image's id may be called ``image_id``, a
    question's ``qa_id`` in both.

    Raises:
        UserError: the file is missing, or an entry is of neither form.
    """
    for place, entry in enumerate(_list(path)):
        where = f"{path}, entry {place}"
        if isinstance(entry, dict) and "question" in entry:
            yield _asked(where, entry, _id(where, entry, "image_id", "image"))
        elif isinstance(entry, dict) and "qas" in entry:
            image = _id(where, entry, "id", "image_id")
            for number, qa in enumerate(field(where, entry, "qas", list)):
                yield _asked(f"{where}, qas[{number}]", qa, image)
        else:
            raise UserError(
                f"{where} is of no form that is known: an entry holds an image and its 'qas', or a 'question', its "
                "'answer', 'qa_id' and 'image_id'; use Visual Genome's question_answers.json"
            )


def _asked(where: str, entry: Any, image: int) -> Asked:
    question, answer = (field(where, entry, name, str) for name in ("question", "answer"))
    return Asked(where, _id(where, entry, "qa_id", "id"), image, question, answer)


def read_coco_ids(path: Path) -> dict[int, int | None]:
    """Visual Genome's images by id: COCO's id, None where COCO does not have the image.

    Raises:
        UserError: the file is missing or not Visual Genome's image_data.json.
    """
    coco = {}
    for place, entry in enumerate(_list(path)):
        where = f"{path}, entry {place}"
        number = _id(where, entry, "image_id", "id")
        # Null says that COCO does not have the image; a file without the field is another file.
        foreign = "coco_id" in entry and entry["coco_id"] is None
        coco[number] = None if foreign else field(where, entry, "coco_id", int)
    return coco


def _id(where: str, entry: Any, usual: str, other: str) -> int:
    """An id; the files and their releases differ in what they call it."""
    return field(where, entry, other if isinstance(entry, dict) and usual not in entry else usual, int)


def _list(path: Path) -> list[Any]:
    content = read_json(path, f"Visual Genome's {path.name}")
    if not isinstance(content, list) or not content:
        raise UserError(f"{path} holds no list; it should be Visual Genome's {path.name}")
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


class Converted(NamedTuple):
    """Questions and annotations in VQA's format, and what became of all questions, by its description."""

    questions: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    fates: Counter[str]


def convert(asked: Iterable[Asked], coco: dict[int, int | None], known: Known) -> Converted:
    """Keep the questions whose image and normalised answer are known.

    Raises:
        UserError: two of those have one qa_id.
    """
    done, seen = Converted([], [], Counter()), set()
    for one in asked:
        answer = normalise(one.answer)
        fate = _fate(one.image_id, answer, coco, known)
        done.fates[fate] += 1
        if fate != KEPT:
            continue
        if one.question_id in seen:
            raise UserError(f"{one.where}: qa_id {one.question_id} is there twice; keep one of them")
        seen.add(one.question_id)
        own = {"question_id": one.question_id, "image_id": coco[one.image_id]}
        done.questions.append({**own, "question": one.question})
        # One person answered; VQA's format has ten answers.
        given = [{"answer": answer, "answer_confidence": "yes", "answer_id": n + 1} for n in range(ANNOTATORS)]
        kinds = {"question_type": "none of the above", "answer_type": _answer_type(answer)}
        done.annotations.append({**own, **kinds, "multiple_choice_answer": answer, "answers": given})
    return done


def _fate(image: int, answer: str, coco: dict[int, int | None], known: Known) -> str:
    """What becomes of a question: ``KEPT``, or why it is left out."""
    if image not in coco:
        return "about an image that image_data.json does not have"
    if coco[image] is None:
        return "about an image that is not in COCO"
    if coco[image] not in known.images:
        return "about an image of COCO that no question of VQA's train or val is about"
    return KEPT if answer in known.answers.ids else f"answered by none of the {len(known.answers)} known answers"


def _answer_type(answer: str) -> str:
    if answer in ("yes", "no"):
        return "yes/no"
    return "number" if answer.isdecimal() else "other"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, convert, say how much was kept."""
    parser = Parser(prog="python -m tools.prepare.genome", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=home_path, default=Path("data"), help="the data root, which has VQA's files in vqa/"
    )
    parser.add_argument(
        "--vg",
        type=home_path,
        required=True,
        help="the folder of Visual Genome's question_answers.json and image_data.json",
    )
    parser.add_argument("--answer-min", type=int, default=VqaData.answer_min, help="as data.answer_min in training")
    given = parser.parse_args(arguments)
    texts = find_path(given.data, TEXTS, PARTS["train"].questions)
    known = read_known(texts, given.answer_min)
    coco = read_coco_ids(given.vg / "image_data.json")
    questions, annotations, fates = convert(read_genome(given.vg / "question_answers.json"), coco, known)
    told = ", ".join(f"{count:,} {fate}" for fate, count in fates.most_common()) or "there are none"
    if not questions:
        raise UserError(
            f"none of the questions under {given.vg} can be kept: {told}; use the whole of both data sets, "
            "or lower --answer-min for more known answers"
        )
    heads = {"info": {"description": "Visual Genome in the format of VQA v2.0"}, "data_type": "mscoco"}
    for name, key, entries in (
        (PARTS["vg"].questions, "questions", questions),
        (PARTS["vg"].annotations, "annotations", annotations),
    ):
        write_json(texts / name, {**heads, key: entries}, indent=None)
        print(f"{texts / name}: {len(entries):,} {key}")
    print(f"questions of Visual Genome: {told}")
    print(f"next: make retrain GENO=mmnas_vqa SPLIT=train+val+vg DATA={given.data}")


if __name__ == "__main__":
    run(main)
