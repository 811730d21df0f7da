"""Visual question answering on VQA v2 and Visual Genome: a vocabulary of answers, soft scores, the official accuracy.

A sample is a question about an image: {"question": "what color is the dog?", "image": 262148}, with the answers of ten
people: ["brown", "brown", "tan", ...].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jsonargparse.typing import NonNegativeInt
from torch import Tensor, nn

from common.errors import check_known
from common.files import write_json
from common.progress import track
from outcome.beginnings import LONGEST, Beginnings
from outcome.samples import Answer, Line, Prediction, Scored
from readers.annotations import Annotations, read_annotations
from readers.data_root import find_path
from readers.feature_store import FeatureStore
from readers.questions import Questions, read_questions
from readers.submissions import check_submission
from space.heads import PooledClassifier
from space.inputs import Inputs
from space.network import Model, device_of
from tasks.answers import AnswerTable, AnswerVocabulary, by_kind, normalise, of_kinds
from tasks.base import COCO, Batch, Count, Evaluation, Output, Split, Task, Wording, in_batches
from tasks.showcase import pooled, with_lines
from tasks.vqa_notes import annotators, coverage, incomplete, is_vqa
from texts.word_vectors import AUTO
from texts.words import TokenStore


class Part(NamedTuple):
    """The files of one release: questions, annotations (None where they are secret), folders of features.

    ``size`` is how many questions VQA v2 has, None where the part is not VQA's (visualqa.org/download.html).
    """

    questions: str
    annotations: str | None
    features: tuple[str, ...]
    size: int | None


PARTS = {
    "train": Part(
        "v2_OpenEnded_mscoco_train2014_questions.json", "v2_mscoco_train2014_annotations.json", ("train2014",), 443_757
    ),
    "val": Part(
        "v2_OpenEnded_mscoco_val2014_questions.json", "v2_mscoco_val2014_annotations.json", ("val2014",), 214_354
    ),
    "vg": Part("VG_questions.json", "VG_annotations.json", ("train2014", "val2014"), None),
    "test": Part("v2_OpenEnded_mscoco_test2015_questions.json", None, ("test2015",), 447_793),
    "test-dev": Part("v2_OpenEnded_mscoco_test-dev2015_questions.json", None, ("test2015",), 107_394),
}
TRAINED_ON = ("train", "train+val", "train+val+vg")
TESTS = ("test", "test-dev")
OWN_ANSWERS = "test_answers.json"  # to the test questions of a data set of one's own, as make dataset writes them
SPLITS = ("train", "val", *TESTS)
SHOWN = 3  # answers
RIGHT = 0.95  # least accuracy of an answer that is shown as right: four of ten people gave it
TEXTS, FEATURES = ("vqa", "vqa/annotations"), ("coco_extract", "vqa/bua-r101-max100")


@dataclass
class VqaData:
    """The data section of visual question answering.

    Args:
        root: folder of the data sets, laid out as data/README.md says.
        texts: folder of questions and annotations instead of the usual one, relative to root.
        features: folder of the folders train2014, val2014 and test2015 of region features instead of the usual one,
            relative to root.
        split: the questions to train on: train, train+val, or train+val+vg (with Visual Genome).
        test_split: the questions that RUN=test answers: test (test2015) or test-dev (test-dev2015, some of those).
        max_regions: at most so many regions of an image, the first ones.
        max_tokens: at most so many words of a question.
        segmenter: spaCy's code of the questions' language where its words have no spaces between them (zh, ja, th).
        word_vectors: an installed spaCy vectors package, a folder made by `spacy init vectors`, auto for the installed
            package that has most words, if there is one, or null to learn them.
        answer_min: the network knows the answers that are the most common one of more than so many questions.
    """

    root: str = "data/demo"
    texts: str | None = None
    features: str | None = None
    split: str = "train"
    test_split: str = "test"
    max_regions: Count = 100
    max_tokens: Count = 14
    segmenter: str | None = None
    word_vectors: str | None = AUTO
    answer_min: NonNegativeInt = 8


class Samples(NamedTuple):
    """Q questions ready for batches."""

    ids: np.ndarray  # (Q,) question ids
    images: np.ndarray  # (Q,) image ids
    tokens: TokenStore
    answers: AnswerTable | None  # None where annotations are secret
    question_types: np.ndarray  # (Q,) texts, "" where it is not known
    answer_types: np.ndarray  # (Q,) texts, "" where it is not known
    notes: Sequence[str] = ()  # what people should know of these questions


class VqaSplit(Split):
    """Some of the questions.

    Args:
        samples: all of them.
        rows: which of them belong to the split.
        store: region features.
        max_regions: at most so many regions of an image.
    """

    def __init__(self, samples: Samples, rows: np.ndarray, store: FeatureStore, max_regions: int) -> None:
        self.samples, self.rows, self.store, self.max_regions = samples, rows, store, max_regions

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def image_ids(self) -> np.ndarray:
        """(questions,) image of every question."""
        return self.samples.images[self.rows]

    @property
    def sizes(self) -> np.ndarray:
        """(questions,) regions of every question's image."""
        return self.store.counts(self.image_ids, self.max_regions)

    def subset(self, indices: np.ndarray) -> VqaSplit:
        """Only these questions."""
        return VqaSplit(self.samples, self.rows[indices], self.store, self.max_regions)

    def batch(self, drawn: np.ndarray) -> Batch:
        """B questions, each image once; the target ``scores`` (B, answers) are soft."""
        rows = self.rows[drawn]
        images, image_index = np.unique(self.samples.images[rows], return_inverse=True)
        inputs = Inputs(
            *self.store.gather(images, self.max_regions),
            *self.samples.tokens.gather(rows),
            image_index=torch.from_numpy(image_index),
        )
        answers = self.samples.answers
        return Batch(inputs, {} if answers is None else {"scores": answers.targets(rows)})


class VisualQuestionAnswering(Task):
    """What is the answer to this question about this image?"""

    name = "vqa"
    title = "Visual question answering"
    Data = VqaData
    objective = "accuracy"
    wording = Wording("Question")
    outputs: ClassVar = {"probabilities": Output(("batch", "answers"), "of each answer, in the order of `answers`")}
    pictures = COCO

    def __init__(self, data: VqaData) -> None:
        super().__init__(data)
        check_known("SPLIT", data.split, TRAINED_ON, self.title)
        check_known("data.test_split", data.test_split, TESTS, self.title)
        self.texts = find_path(data.root, [data.texts] if data.texts else TEXTS, PARTS["train"].questions)
        self.trained_on = data.split.split("+")
        # val is scored after every epoch, so its features are needed whatever is trained on.
        self.store = self._store("train", "val")
        self._questions: dict[str, Questions] = {}
        self._tokens: dict[str, list[list[str]]] = {}
        self._annotations: dict[str, Annotations] = {}
        self.answers = self._answer_vocabulary()

    def _store(self, *parts: str) -> FeatureStore:
        usual = FEATURES if self.data.features is None else [self.data.features]
        folder = find_path(self.data.root, usual, PARTS["train"].features[0])
        return FeatureStore([folder / name for part in parts for name in PARTS[part].features])

    @cached_property
    def _test_store(self) -> FeatureStore:
        return self._store("train", "val", "test")

    def features(self, split: str) -> FeatureStore:
        """Of train and val; for the test splits those of test too, whose files nobody needs to train."""
        return self._test_store if split in TESTS else self.store

    def questions(self, part: str) -> Questions:
        """The questions of a part, read once."""
        if part not in self._questions:
            self._questions[part] = read_questions(self.texts / PARTS[part].questions)
        return self._questions[part]

    def tokens(self, part: str) -> list[list[str]]:
        """The words of the questions of a part."""
        if part not in self._tokens:
            texts = track(self.questions(part).texts, f"reading the {part} questions")
            self._tokens[part] = [self.tokenise(text) for text in texts]
        return self._tokens[part]

    def annotations(self, part: str) -> Annotations:
        """The annotations of a part, read once."""
        if part not in self._annotations:
            self._annotations[part] = read_annotations(self._answered(part), self.questions(part))
        return self._annotations[part]

    def _answered(self, part: str) -> Path | None:
        """The file of a part's annotations. VQA's of test are secret; a data set of one's own may have some."""
        named, own = PARTS[part].annotations, self.texts / OWN_ANSWERS
        return self.texts / named if named else own if part == "test" and own.exists() else None

    def known_texts(self) -> Iterator[Sequence[str]]:
        """Those of train and val (so that SPLIT=train and train+val share them), and of vg if it is trained on.

        With given vectors also those of test and vg where they are there, as published.
        """
        given = [] if self.vector_source is None else [part for part in PARTS if self._has_questions(part)]
        parts = dict.fromkeys(("train", "val", *self.trained_on, *given))
        return (tokens for part in parts for tokens in self.tokens(part))

    def _answer_vocabulary(self) -> AnswerVocabulary:
        """Of train and val whatever is trained on, as published; of train alone where val has no annotations."""
        parts = [part for part in ("train", "val") if (self.texts / PARTS[part].annotations).exists()]
        most_common = [answer for part in parts or ["train"] for answer in self.annotations(part).most_common]
        return AnswerVocabulary.of(most_common, self.data.answer_min)

    @property
    def labels(self) -> list[str]:
        """The answers it can give."""
        return self.answers.words

    def take_labels(self, labels: Sequence[str]) -> None:
        """Know these answers."""
        self.answers = AnswerVocabulary(labels)

    @property
    def remarks(self) -> list[str]:
        """Also whether val can be believed, and what should be known of the questions that the run has read."""
        return super().remarks + self._caution + self._notes(list(self._questions))

    @property
    def _caution(self) -> list[str]:
        if "val" not in self.trained_on:
            return []
        return [f"note: val is trained on (SPLIT={self.data.split}), its accuracy is no result"]

    def _notes(self, parts: Sequence[str]) -> list[str]:
        """What people should know of these parts."""
        read = {part: annotations.answers for part, annotations in self._annotations.items()}
        answers = {part: read[part] for part in parts if part in read}
        # Of everything that was read, so that a run that says it of several splits says one thing, and so once.
        notes = [*annotators(read), *coverage(answers, self.answers, self.data.answer_min)]
        for part in filter(TESTS.__contains__, parts):
            notes += incomplete(part, self.questions(part), PARTS[part].size, self._beside_vqa)
        return notes

    @property
    def _beside_vqa(self) -> bool:
        """Whether train or val have as many questions as VQA v2's."""
        return any(len(self.questions(part).ids) == PARTS[part].size for part in ("train", "val"))

    @property
    def test_splits(self) -> list[str]:
        """The one that the configuration names."""
        return [self.data.test_split]

    @property
    def final_splits(self) -> list[str]:
        """val, unless it is trained on, and the test split where it is there: nobody needs its files to train."""
        val = [] if "val" in self.trained_on else ["val"]
        return [*val, *filter(self._has_questions, self.test_splits)]

    def _has_questions(self, part: str) -> bool:
        return (self.texts / PARTS[part].questions).exists()

    def contents(self, name: str) -> dict[str, np.ndarray]:
        """Images alone: question ids may begin anew in every file."""
        parts = self.trained_on if name == "train" else [name]
        return {"images": np.concatenate([self.questions(part).images for part in parts])}

    def split(self, name: str) -> VqaSplit:
        """train (what data.split says), val, test or test-dev."""
        self._check_split(name, SPLITS)
        store = self.features(name)
        samples = self._samples(self.trained_on if name == "train" else [name], store)
        return VqaSplit(samples, np.arange(len(samples.ids)), store, self.data.max_regions)

    def _samples(self, parts: Sequence[str], store: FeatureStore) -> Samples:
        read = [self.questions(part) for part in parts]
        for questions in read:
            store.require(questions.images, f"the questions of {questions.path}")
        known = [self.annotations(part) for part in parts if self._answered(part)]
        answers = [given for annotations in known for given in annotations.answers]
        limit = self.data.max_tokens
        return Samples(
            np.concatenate([questions.ids for questions in read]),
            np.concatenate([questions.images for questions in read]),
            TokenStore(self.vocabulary.encode(tokens, limit) for part in parts for tokens in self.tokens(part)),
            AnswerTable(answers, self.answers) if known else None,
            np.array([kind for annotations in known for kind in annotations.question_types]),
            np.array([kind for annotations in known for kind in annotations.answer_types]),
            self._notes(parts),
        )

    def head(self, width: int, pool_hidden: int, dropout: float) -> nn.Module:
        """A logit for every answer."""
        return PooledClassifier(width, pool_hidden, len(self.answers), dropout)

    def export(self, made: Tensor, inputs: Inputs) -> tuple[Tensor, ...]:
        """Logits (B,A) as probabilities."""
        return (made.sigmoid(),)

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Binary cross entropy of every answer with its soft score, summed over answers and batch."""
        logits = model(batch.inputs).float()
        scores = batch.targets["scores"]
        accuracy = scores.gather(1, logits.argmax(1, keepdim=True)).mean()
        return {"loss": F.binary_cross_entropy_with_logits(logits, scores, reduction="sum"), "accuracy": 100 * accuracy}

    def evaluate(self, model: Model, split: VqaSplit, batch_size: int) -> Evaluation:
        """The official accuracy in percent, overall and by kind where kinds are known, and what was answered."""
        samples, rows = split.samples, split.rows
        given, certainty = predict(model, split, batch_size)
        predictions = [
            {"question_id": question, "answer": self.answers.words[answer]}
            for question, answer in zip(samples.ids[rows].tolist(), given.tolist(), strict=True)
        ]
        if samples.answers is None:
            test = self.data.test_split
            note = f"these {len(rows):,} questions come without answers, so there is no score"
            if is_vqa(self.questions(test), self._beside_vqa):
                note += (
                    f"; VQA's evaluation server scores predictions of all {PARTS[test].size:,} questions of its {test}"
                )
            return Evaluation({}, predictions=predictions, notes=[note, *samples.notes])
        accuracy = samples.answers.accuracy(rows, given)
        constant, chance = samples.answers.best_constant(rows)
        note = f"{len(rows)} questions; always {self.answers.words[constant]!r} would score {100 * chance:.2f}"
        return Evaluation(
            {"accuracy": float(100 * accuracy.mean()), **by_kind(accuracy, samples.answer_types[rows])},
            by_kind(accuracy, samples.question_types[rows]),
            predictions,
            [note, *samples.notes, *self._caution],
            {"accuracy": float(100 * chance)},
            partial(self._outcome, split, given, certainty, accuracy, constant),
        )

    def _outcome(
        self, split: VqaSplit, given: np.ndarray, certainty: np.ndarray, accuracy: np.ndarray, constant: int
    ) -> Scored:
        """What became of every question; the baselines are its best constant answer, and its first words alone."""
        samples, rows = split.samples, split.rows
        alone = Beginnings(*self._training_answers())
        words = [alone.guess(own) for own in samples.tokens.gather(rows)[0].tolist()]
        baselines = {"guessing": np.full(len(rows), constant), "words alone": np.array(words)}
        people = np.array([*self.answers.words, ""])
        return Scored(
            metric="accuracy",
            images=split.image_ids,
            score=accuracy,
            certainty=certainty,
            order=np.where(accuracy >= RIGHT, certainty, np.where(accuracy == 0, -certainty, np.nan)),
            values={
                "accuracy": accuracy,
                **of_kinds(accuracy, samples.answer_types[rows]),
                **of_kinds(accuracy, samples.question_types[rows]),
            },
            groups={
                "kind of answer": samples.answer_types[rows],
                "kind of question": samples.question_types[rows],
                "words of the question": samples.tokens.lengths[rows],
                "regions of the image": split.sizes,
            },
            baselines={name: samples.answers.accuracy(rows, answers) for name, answers in baselines.items()},
            said=people[given],
            meant=people[samples.answers.most_given(rows)],
        )

    def _training_answers(self) -> tuple[list[list[int]], list[int]]:
        """The first words of every training question, and the known answer that it has."""
        told = [
            (self.vocabulary.encode(tokens, LONGEST), self.answers.ids[answer])
            for part in self.trained_on
            for tokens, given in zip(self.tokens(part), self.annotations(part).most_common, strict=True)
            if (answer := normalise(given)) in self.answers.ids
        ]
        return [words for words, _ in told], [answer for _, answer in told]

    def save_predictions(self, predictions: Any, folder: Path, version: str, split: str) -> list[Path]:
        """Write a submission for the evaluation server and read it back to check it.

        Raises:
            UserError: it cannot be written, or what was written is no complete submission.
        """
        name = f"result_run_{version}.json" if split == "test" else f"result_run_{version}_{split}.json"
        write_json(folder / name, predictions, indent=None)
        check_submission(folder / name, self.questions(split).ids)
        return [folder / name]

    def predict(self, model: Model, images: np.ndarray, inputs: Inputs, best: int) -> list[Prediction]:
        """The best answers, by the score that people are expected to give them."""
        logits, shown = pooled(model, images, inputs)
        scores, found = logits.sigmoid().topk(min(best, len(self.answers)))
        words = ([self.answers.words[answer] for answer in own] for own in found.tolist())
        answered = [[*map(Answer, *both)] for both in zip(words, scores.tolist(), strict=True)]
        said = [one._replace(answers=own) for one, own in zip(shown, answered, strict=True)]
        return with_lines(said, ([Line(one.text, None, f"{one.probability:.2f}") for one in own] for own in answered))

    def showcase(self, model: Model, split: VqaSplit, indices: np.ndarray) -> list[Prediction]:
        """The question, the three best answers, and what people said where that is none of them."""
        inputs, truth = split.batch(indices).inputs, split.samples.answers
        shown = self.predict(model, split.image_ids[indices], inputs.to(device_of(model)), SHOWN)
        if truth is not None:
            shown = with_lines(shown, map(partial(self._judged, truth), split.rows[indices], shown))
        questions = map(self.vocabulary.decode, inputs.tokens.tolist())
        return [one._replace(text=f"{question}?") for one, question in zip(shown, questions, strict=True)]

    def _judged(self, truth: AnswerTable, row: int, shown: Prediction) -> list[Line]:
        rows, given = np.array([row]), np.array([self.answers.ids[answer.text] for answer in shown.answers])
        right = truth.accuracy(rows.repeat(len(given)), given) >= RIGHT
        lines = [line._replace(right=bool(yes)) for line, yes in zip(shown.lines, right, strict=True)]
        wanted = truth.targets(rows)[0]
        if not right.any() and wanted.any():
            lines.append(Line(f"people said {self.answers.words[wanted.argmax()]}"))
        return lines


def predict(model: nn.Module, split: VqaSplit, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """(questions,) the id of the most probable answer to each, and (questions,) its probability."""
    given, certainty = np.zeros(len(split), np.int64), np.zeros(len(split))

    def answered(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        highest, answers = model(batch.inputs.to(device_of(model))).float().max(1)
        return answers.cpu().numpy(), highest.sigmoid().cpu().numpy()

    for indices, answers in in_batches(answered, split, batch_size, "answering"):
        given[indices], certainty[indices] = answers
    return given, certainty
