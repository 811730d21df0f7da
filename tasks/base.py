"""What a task is: samples, batches, a head, a loss and a score. Search and retrain know nothing else about it."""

from __future__ import annotations

import contextlib
import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from common.errors import UserError, check_known
from common.numbers import whole
from common.sharing import shared
from outcome.samples import Prediction, Scored
from readers.feature_store import FeatureStore
from space.inputs import Inputs, sent
from space.settings import ModelSettings
from texts.spelling import misspelt
from texts.tokens import Tokeniser, tokeniser, unsegmented
from texts.word_vectors import WordVectors, about, find_source
from texts.words import SPECIAL, Vocabulary

R = TypeVar("R")
COCO, FLICKR = "coco", "flickr"  # whose numbers image ids may be
Count = whole(1, 100_000)  # of regions, tokens or negatives that a configuration asks for


NO_TOTALS: dict[str, float] = {}


class Batch(NamedTuple):
    """A batch, or a part of one, for the network and what the loss and the score need besides."""

    inputs: Inputs
    targets: dict[str, Tensor]
    totals: dict[str, float] = NO_TOTALS  # what the loss divides by, summed over the parts of a batch beforehand
    share: float = 1.0  # of the samples of the batch, in this part of it

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        targets = {name: sent(value, device) for name, value in self.targets.items()}
        return self._replace(inputs=self.inputs.to(device), targets=targets)


class Wording(NamedTuple):
    """How a page speaks of what a task takes and gives."""

    text: str = "Text"
    several: bool = False  # pictures and texts meet each other
    share: str = "share of the weight"  # what the number of a region is


class Output(NamedTuple):
    """One output of an exported network.

    Args:
        shape: names or lengths of its axes, "batch" first.
        meaning: for whoever uses it.
        unsure: called with all outputs; (B,) bool, the samples for which rounding alone can make another of this one.
    """

    shape: tuple[str | int, ...]
    meaning: str
    unsure: Callable[..., Tensor] | None = None


@dataclass
class Evaluation:
    """What scoring a split gives: numbers by name, and the prediction files a task wants written."""

    metrics: dict[str, float]
    details: dict[str, float] = field(default_factory=dict)  # finer numbers, for a report but not for every epoch
    predictions: Any = None  # JSON-able; None where the task has none
    notes: list[str] = field(default_factory=list)  # lines for people: protocol, pool sizes
    chance: dict[str, float] = field(default_factory=dict)  # what guessing would score, where that is known
    samples: Callable[[], Scored] | None = None  # how every sample went, for a report; None where nobody knows
    # Draws samples by their numbers out of what scoring them has found; None where ``Task.showcase`` costs no more.
    showcase: Callable[[np.ndarray], list[Prediction]] | None = None


class Split(ABC):
    """A part of a task's samples. Batches are a pure function of what is drawn, so any step can be redone."""

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def image_ids(self) -> np.ndarray:
        """(len,) the image of every sample; search splits training data by it."""

    @property
    def seen_images(self) -> np.ndarray:
        """Every image that its batches can show, negatives among them."""
        return self.image_ids

    @property
    def sizes(self) -> np.ndarray:
        """(len,) how large each sample is, such as its number of regions; batches are made of similar ones."""
        return np.ones(len(self), np.int64)

    @abstractmethod
    def subset(self, indices: np.ndarray) -> Split:
        """The split of only these samples; whatever it draws on its own (negatives) it draws among them."""

    def draw(self, indices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(B, ...) these samples, each with what it meets by chance in training, such as negatives; ``rng`` decides."""
        return indices

    @abstractmethod
    def batch(self, drawn: np.ndarray) -> Batch:
        """Make a batch of what ``draw`` gave, or of some of its rows, or, for ``in_batches``, of samples alone."""

    def refresh(self, model: nn.Module, epoch: int, rng: np.random.Generator) -> None:
        """Before an epoch: mine negatives and the like with the model in eval mode and without gradients."""

    def state_dict(self) -> dict[str, Tensor]:
        """What ``refresh`` left behind and a resumed run needs."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what ``state_dict`` gave."""


class Task(ABC):
    """One task over one data root. ``Data`` is its typed section of the configuration, with ``word_vectors`` in it.

    A task's ``__init__`` sets ``store``, and ``vocabulary`` where ``known_texts`` does not say what is in it.
    """

    name: ClassVar[str]
    title: ClassVar[str]  # for people: "Image-text matching"
    Data: ClassVar[type]
    objective: ClassVar[str]  # the metric, higher is better, by which epochs are compared
    wording: ClassVar[Wording] = Wording()
    outputs: ClassVar[dict[str, Output]] = {}  # of an exported network, in order; none where it cannot be exported
    store: FeatureStore | None = None  # none without data
    pictures: str = ""  # COCO or FLICKR where image ids are numbers of theirs
    trained_on: Sequence[str] = ("train",)  # the splits that ``train`` consists of
    divided_by: str = "image"  # what stands in one split only; where it is no image, train and val share images

    def __init__(self, data: Any) -> None:
        """Take the data section.

        Raises:
            UserError: the data root is not there.
        """
        self.data = data
        if not Path(data.root).is_dir():
            raise UserError(f"the data root {data.root} does not exist; data/README.md shows what it should hold")

    @classmethod
    def without_data(cls, data: Any, words: Sequence[str], labels: Sequence[str], region_width: int) -> Self:
        """The task as a trained network knows it, with no data set around: enough to build the network and to predict.

        Of the data section limits and segmenter count; words, labels and the width of regions are the network's.
        """
        task = cls.__new__(cls)  # __init__ would read the data set
        task.data, task.vocabulary, task.region_width = data, Vocabulary(words), region_width
        task.take_labels(labels)
        return task

    def take_labels(self, labels: Sequence[str]) -> None:
        """Know what the outputs of the head stand for without the data, where that depends on them."""

    @cached_property
    def tokenise(self) -> Tokeniser:
        """How texts come apart into words."""
        return tokeniser(getattr(self.data, "segmenter", None))  # a user's own task may have none

    def known_texts(self) -> Iterable[Sequence[str]]:
        """Tokens of all texts whose words the network is to know; for a task that sets no ``vocabulary`` itself."""
        raise NotImplementedError(f"{type(self).__name__} sets no vocabulary and has no known_texts")

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The words of ``known_texts``; where vectors tell which are misspelt, these with the words that are meant."""
        counts = Counter(token for tokens in self.known_texts() for token in tokens)
        if self.vector_source is None:
            return Vocabulary.of([counts])
        return Vocabulary.of([counts], misspelt(counts, WordVectors(counts, self.vector_source)))

    @property
    def words(self) -> list[str]:
        """The vocabulary by token id; 0 PAD, 1 UNK, 2 CLS."""
        return self.vocabulary.words

    @property
    def labels(self) -> list[str]:
        """What the outputs of the head stand for, by place, where that depends on the data."""
        return []

    @cached_property
    def vector_source(self) -> str | None:
        """Where word vectors come from; None to learn them."""
        return find_source(self.data.word_vectors)

    @property
    def word_vectors(self) -> np.ndarray | None:
        """(len(words), d) float32 vectors to start the embedding from, or None to learn them."""
        if self.vector_source is None:
            return None
        return WordVectors(self.words[len(SPECIAL) :], self.vector_source).of(self.words)

    @property
    def remarks(self) -> list[str]:
        """What people should know about this data before a run: lines for the log."""
        notes = [about(self.vector_source), *self.vocabulary.remarks]
        language = unsegmented(self.words[len(SPECIAL) :])
        if language is not None:
            remedy = f'say ARGS="data.segmenter={language}" (spaCy\'s code of the language)'
            notes.append(
                "warning: most words of these texts are whole sentences, as their script puts no spaces between words; "
                + (remedy if language else "put spaces between their words beforehand")
            )
        return notes

    @cached_property
    def region_width(self) -> int:
        """D, the width of a region feature."""
        return self.store.width

    @property
    def fingerprint(self) -> str:
        """A short hash of the features that training reads, for provenance."""
        return self.store.fingerprint

    def features(self, split: str) -> FeatureStore:
        """The features a split is read from; the same for all of them unless a task says otherwise."""
        return self.store

    def _check_split(self, name: str, known: Iterable[str], on: str = "") -> None:
        """Refuse the name of a split that is not among the known ones (``on`` says of which data set)."""
        check_known("split", name, known, f"{self.title}{on}")

    @property
    def identity(self) -> dict[str, str]:
        """What a run cannot go on without: short hashes of features, words and labels, and the extractor if known."""
        mistakes = self.vocabulary.misspelt
        texts = {"words": self.words, "labels": self.labels} | ({"misspelt": mistakes} if mistakes else {})
        hashes = {key: hashlib.sha256(repr(text).encode()).hexdigest()[:12] for key, text in texts.items()}
        extractor = {"extractor": ", ".join(self.store.extractor.values())} if self.store.extractor else {}
        return {**extractor, "features": self.fingerprint, **hashes}

    @abstractmethod
    def split(self, name: str) -> Split:
        """The split of this name ('train', 'val', 'test', or whatever else the task has).

        Raises:
            UserError: no such split, or its files are missing or broken.
        """

    def contents(self, name: str) -> dict[str, np.ndarray]:
        """What no other split may hold of this one, by plural name: "images" (their ids), and what else tells samples.

        Needs the texts alone, no features, where a task can do without.

        Raises:
            UserError: as ``split``.
        """
        return {"images": self.split(name).image_ids}

    @property
    def test_splits(self) -> list[str]:
        """The splits that RUN=test scores."""
        return ["test"]

    @property
    def final_splits(self) -> list[str]:
        """The splits that the best network is scored on when its training is over."""
        return self.test_splits

    def check_model(self, settings: ModelSettings) -> None:
        """Before a network is built: refuse sizes that do not go with the data section.

        Raises:
            UserError: they do not.
        """

    @abstractmethod
    def head(self, width: int, pool_hidden: int, dropout: float) -> nn.Module:
        """The module that turns the network's final states into this task's outputs."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Run the model on a batch, which may be a part of a larger one.

        Returns:
            At least ``loss`` (scalar); other entries are logged. ``loss`` and entries whose names end in ``_loss`` add
            up over the parts of a batch, so they are sums over samples, or such sums divided by ``batch.totals``;
            others are means over samples.
        """

    @abstractmethod
    def evaluate(self, model: nn.Module, split: Split, batch_size: int) -> Evaluation:
        """Score a split with the model in eval mode and without gradients."""

    def save_predictions(self, predictions: Any, folder: Path, version: str, split: str) -> list[Path]:
        """Write what ``evaluate`` predicted where users of this task look for it. Returns the files written."""
        return []

    def predict(self, model: nn.Module, images: np.ndarray, inputs: Inputs, best: int) -> list[Prediction]:
        """What the model, in eval mode and without gradients, says of each sample, whatever may be true.

        ``images`` (B,) are ids, ``inputs`` are where the model is, ``best`` is how many answers at most, of several.

        Raises:
            UserError: the task predicts nothing.
        """
        raise UserError(f"{self.title} predicts nothing about a picture; a task's method `predict` does")

    def export(self, made: Any, inputs: Inputs) -> tuple[Tensor, ...]:
        """What the head ``made`` of these inputs, as the ``outputs`` of an exported network.

        It is traced: of tensors nothing but other tensors may be made.
        """
        raise NotImplementedError

    def showcase(self, model: nn.Module, split: Split, indices: np.ndarray) -> list[Prediction]:
        """What the model, in eval mode and without gradients, makes of these samples of a split, to be drawn.

        Raises:
            UserError: the task has nothing to draw.
        """
        raise UserError(f"{self.title} has no pictures to show; a task's method `showcase` gives them")


@contextlib.contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients, for scoring and mining; afterwards the model trains on."""
    before = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(before)


def in_batches(work: Callable[[Batch], R], split: Split, batch_size: int, what: str) -> Iterator[tuple[np.ndarray, R]]:
    """Every sample of a split once, with progress: (B,) their numbers and what comes of their batch.

    Samples of similar size stand together and those of one image side by side, so that little is padded and an image
    is encoded as seldom as may be.

    Args:
        work: gives what can be pickled, such as arrays; see ``common.sharing.shared``.
        split: whose samples.
        batch_size: at most so many together.
        what: what to call this in the progress display.
    """
    order = np.lexsort((split.image_ids, split.sizes))
    starts = range(0, len(order), batch_size)

    def done(start: int) -> R:
        return work(split.batch(order[start : start + batch_size]))

    for start, found in zip(starts, shared(done, starts, what), strict=True):
        yield order[start : start + batch_size], found
