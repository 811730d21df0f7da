"""A trained network that answers questions about pictures, grounds phrases in them, or matches texts with them

predictor = Predictor.load(Path("logs/ckpts/<version>/best.pt"), torch.device("cpu"))
for said in predictor.predict([Path("cat.jpg")], ["what color is the cat?"]).said:
    print(said.shown.answers)
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from common.errors import UserError, brief
from common.progress import track
from outcome.samples import Prediction
from pictures.registry import EXTRACTORS, find_extractor
from predict.sources import Fresh, Pictured, Source, Stored
from readers.features import Features
from retrain.model import Trained, check_extractor, restore_alone
from space.inputs import Inputs
from tasks.base import Task, eval_mode
from texts.words import pad

PAIRS = 64  # of a picture and a text, in one pass through the network
BEST = 3  # answers
Pair = tuple[int, int]  # the places of a picture and of a text


class Reading(NamedTuple):
    """What the network reads of a text."""

    words: list[str]
    unknown: list[str]  # of them, those that it was not trained on
    unread: list[str]  # words behind the most that it reads


class Said(NamedTuple):
    """What the network says of one picture and one text."""

    picture: int  # its place among the pictures
    text: int  # its place among the texts
    shown: Prediction  # answers, a predicted box or a score, and the regions by weight


class Predictions(NamedTuple):
    """What the network says of some pictures and texts."""

    said: list[Said]  # in the order of the pairs, but for refused pictures
    refused: dict[int, str]  # by place of a picture, why there is nothing about it
    readings: list[Reading]  # of each text


class Predictor:
    """A trained network with its task and what gives it features. ``load`` makes one."""

    def __init__(self, task: Task, trained: Trained, source: Source, device: torch.device) -> None:
        self.task, self.source, self.device = task, source, device
        self.model = trained.model.to(device).eval()

    @classmethod
    def load(
        cls,
        ckpt: Path,
        device: torch.device,
        *,
        extractor: str | None = None,
        features: Path | None = None,
        task: str | None = None,
    ) -> Predictor:
        """Read a trained network, and find the extractor of the features that it was trained on.

        Args:
            ckpt: the best.pt of a retraining.
            device: where it computes.
            extractor: the name of the extractor, instead of the one that the file names.
            features: a folder of features called like the pictures, or the npz of one picture, instead of an extractor.
            task: the task, where the file does not say.

        Raises:
            UserError: the file is no trained network, or features as it knows them cannot be had.
        """
        found, trained = restore_alone(ckpt, task)
        if features is not None:
            source, what = Stored(features), f"the features of {features}"
        else:
            name = extractor or _named(ckpt, trained)
            source, what = Fresh(find_extractor(name, device)), f"features of EXTRACTOR={name}"
        check_extractor(ckpt, trained.extractor, source.facts, what)
        return cls(found, trained, source, device)

    def predict(
        self,
        pictures: Sequence[Pictured],
        texts: Sequence[str],
        pairs: Sequence[Pair] | None = None,
        best: int = BEST,
    ) -> Predictions:
        """What the network says.

        Args:
            pictures: files, on a disk or in memory, or pictures that are read already.
            texts: questions, phrases or captions.
            pairs: which pictures are held against which texts, by their places; None for every one against every one.
            best: at most so many answers, where the network chooses among some.

        Raises:
            UserError: a text has no words, or features are of another width than the network knows.
        """
        readings = [self.read(text) for text in texts]
        asked = list(itertools.product(range(len(pictures)), range(len(texts))) if pairs is None else pairs)
        of_picture: dict[int, list[int]] = defaultdict(list)
        for number, (picture, _) in enumerate(asked):
            of_picture[picture].append(number)
        refused: dict[int, str] = {}
        said: dict[int, Said] = {}
        with eval_mode(self.model):
            for numbers, one in self._each(pictures, readings, asked, of_picture, refused, best):
                for number, shown in zip(numbers, one, strict=True):
                    picture, text = asked[number]
                    said[number] = Said(picture, text, shown._replace(text=texts[text]))
        return Predictions([said[number] for number in sorted(said)], refused, readings)

    def read(self, text: str) -> Reading:
        """What the network reads of a text.

        Raises:
            UserError: it has no words.
        """
        words = self.task.tokenise(text)
        if not words:
            raise UserError(f"the text {brief(text)} has no words; write some")
        limit = getattr(self.task.data, "max_tokens", len(words))
        return Reading(words[:limit], self.task.vocabulary.unknown(words[:limit]), words[limit:])

    def _each(
        self,
        pictures: Sequence[Pictured],
        readings: Sequence[Reading],
        asked: Sequence[Pair],
        of_picture: dict[int, list[int]],
        refused: dict[int, str],
        best: int,
    ) -> Iterator[tuple[list[int], list[Prediction]]]:
        """Numbers of pairs and what is said of them, a pass at a time, so that few pictures are in memory."""
        tokens = [self.task.vocabulary.encode(one.words, len(one.words)) for one in readings]
        wanted = list(of_picture)
        groups = [wanted[start : start + self.source.batch] for start in range(0, len(wanted), self.source.batch)]
        for group in track(groups, "predicting"):
            names = [_name(pictures[place], place) for place in group]
            features: dict[int, Features] = {}
            for place, found in zip(group, self.source.features([pictures[p] for p in group], names), strict=True):
                if isinstance(found, str):
                    refused[place] = found
                else:
                    features[place] = self._checked(found)
            numbers = [number for place in group if place in features for number in of_picture[place]]
            for start in range(0, len(numbers), PAIRS):
                some = numbers[start : start + PAIRS]
                images = np.array([asked[number][0] for number in some])
                inputs = self._inputs(features, tokens, [asked[number] for number in some])
                yield some, self.task.predict(self.model, images, inputs.to(self.device), best)

    def _checked(self, features: Features) -> Features:
        width = features.x.shape[1]
        if width != self.task.region_width:
            raise UserError(
                f"the network was trained on features of width {self.task.region_width}, these have {width}; use the "
                "extractor that made those"
            )
        return features

    def _inputs(self, features: dict[int, Features], tokens: list[list[int]], pairs: Sequence[Pair]) -> Inputs:
        """Every picture and every text once."""
        (pictures, image_index), (texts, text_index) = (
            np.unique(part, return_inverse=True) for part in zip(*pairs, strict=True)
        )
        return Inputs(
            *padded([features[place] for place in pictures], getattr(self.task.data, "max_regions", None)),
            *pad([tokens[place] for place in texts]),
            torch.from_numpy(image_index),
            torch.from_numpy(text_index),
        )


def padded(features: Sequence[Features], limit: int | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features of I pictures side by side, of each at most so many regions, as ``FeatureStore.gather`` gives them."""
    regions, boxes = (
        pad_sequence([torch.from_numpy(np.asarray(part)[:limit]) for part in parts], batch_first=True)
        for parts in ([one.x for one in features], [one.boxes for one in features])
    )
    counts = torch.tensor([len(one.x[:limit]) for one in features])
    gone = torch.arange(regions.shape[1]) >= counts[:, None]
    return regions, boxes, torch.from_numpy(np.stack([one.hw for one in features])), gone


def ranked(said: Iterable[Said], by: Literal["picture", "text"]) -> dict[int, list[Said]]:
    """By place of a picture its texts, or of a text its pictures, the best match first; of tasks that score matches."""
    groups: dict[int, list[Said]] = defaultdict(list)
    for one in said:
        groups[getattr(one, by)].append(one)
    return {place: sorted(own, key=lambda one: -one.shown.score) for place, own in sorted(groups.items())}


def _named(ckpt: Path, trained: Trained) -> str:
    """The extractor that a network's file names, unless it is code that only its owner should have run."""
    if not trained.extractor:
        raise UserError(
            f"checkpoint {ckpt} does not know what made the features it was trained on; give features of the pictures "
            "as FEATURES=<a folder of npz, or one npz>, or say EXTRACTOR=... if you know it"
        )
    known = trained.extractor.get("extractor", "of no name")
    if not trained.called:
        raise UserError(f"checkpoint {ckpt} was trained on features of the extractor {known}; say EXTRACTOR=...")
    family, _, place = trained.called.partition(":")
    if family == "transformers" and not Path(place).is_dir():
        raise UserError(
            f"checkpoint {ckpt} was trained on features of the model {place}, no folder here, and nothing is fetched "
            f"on a file's word: say EXTRACTOR={trained.called}, or name its folder"
        )
    if trained.called not in EXTRACTORS and family != "transformers":
        raise UserError(
            f"checkpoint {ckpt} was trained on features of a class of your own, which a file alone does not have run; "
            f"say EXTRACTOR={trained.called}"
        )
    return trained.called


def _name(picture: Pictured, place: int) -> str:
    return f"picture {place + 1}" if isinstance(picture, Image) else str(picture)
