"""Visual grounding on RefCOCO, RefCOCO+ and RefCOCOg: which region does a phrase mean, and where exactly is it.

A sample is a phrase about an image and a box: {"phrase": "man left of the bus", "image": 581857, "box": (x1, y1, x2,
y2)}.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.errors import UserError, check_known
from common.files import write_json
from common.numbers import whole
from common.progress import track
from outcome.places import Places, shape
from outcome.samples import Box, Curve, Line, Prediction, Scored
from readers.box_check import check_boxes
from readers.box_readings import OVERLAP
from readers.boxes import decode, encode, overlaps
from readers.data_root import find_path
from readers.expressions import BY_OBJECT, DIVISIONS, Expression, files_of, read_expressions
from readers.feature_store import FeatureStore
from readers.true_boxes import corners
from space.heads import RegionPointer
from space.inputs import Inputs
from space.network import device_of
from tasks.base import COCO, Batch, Count, Evaluation, Output, Split, Task, Wording, in_batches
from tasks.distractors import WEIGHT, among_others, twice
from tasks.showcase import region_predictions
from texts.word_vectors import AUTO
from texts.words import TokenStore

Distractors = whole(0, 100)
CLOSE = 1e-5  # probabilities that differ by less of themselves are alike
OFFSET_SCALE = np.array([0.1, 0.1, 0.2, 0.2])  # offsets are learned as multiples of these
OFFSET_WEIGHT = 0.5
BLIND = "guessing", "largest region", "most central region"  # what can be answered without the phrase

FEATURES = {
    "vg_woref": ("detfeat100_woref", "vgd/bua-r101-fix100"),
    "coco_mrcn": ("vgd_coco/fix100", "vgd/vgd_coco/fix100"),
}
OLDER = {"refcocog": "refcocg"}  # how older releases of features spell a data set


@dataclass
class VgdData:
    """The data section of visual grounding.

    Args:
        root: folder of the data sets, laid out as data/README.md says.
        dataset: refcoco, refcoco+ or refcocog.
        split_by: who divided it: unc, umd or google; null for the usual one.
        feat: vg_woref (a detector trained on Visual Genome) or coco_mrcn (Mask R-CNN trained on COCO).
        refs: folder of the data set's refs(*).p and instances.json, or of its JSON files, instead of the usual one,
            relative to root.
        features: folder of region features instead of the usual one, relative to root.
        max_regions: at most so many regions of an image, the first ones.
        max_tokens: at most so many words of a phrase.
        segmenter: spaCy's code of the phrases' language where its words have no spaces between them (zh, ja, th).
        word_vectors: an installed spaCy vectors package, a folder made by `spacy init vectors`, auto for the installed
            package that has most words, if there is one, or null to learn them.
        distractors: in training every phrase is shown a second time, for half the weight, with the regions of so many
            other images at most beside its own, drawn anew each time. One makes up to three times the work; 0 for
            none, as published.
    """

    root: str = "data/demo"
    dataset: str = "refcoco"
    split_by: str | None = None
    feat: str = "vg_woref"
    refs: str | None = None
    features: str | None = None
    max_regions: Count = 100
    max_tokens: Count = 14
    segmenter: str | None = None
    word_vectors: str | None = AUTO
    distractors: Distractors = 0


class VgdSplit(Split):
    """Some of the expressions.

    Args:
        data: the data section.
        store: region features.
        expressions: those of the split.
        tokens: their token ids.
        rows: rows of ``tokens`` by expression.
    """

    def __init__(
        self, data: VgdData, store: FeatureStore, expressions: list[Expression], tokens: TokenStore, rows: np.ndarray
    ) -> None:
        self.data, self.store, self.expressions, self.tokens, self.rows = data, store, expressions, tokens, rows
        self._images = np.array([one.image for one in expressions], np.int64)
        self.boxes = corners(np.array([one.bbox for one in expressions], np.float64).reshape(-1, 4))

    def __len__(self) -> int:
        return len(self.expressions)

    @property
    def image_ids(self) -> np.ndarray:
        """(expressions,) image of every expression."""
        return self._images

    @property
    def sizes(self) -> np.ndarray:
        """(expressions,) regions of every expression's image."""
        return self.store.counts(self.image_ids, self.data.max_regions)

    def subset(self, indices: np.ndarray) -> VgdSplit:
        """Only these expressions."""
        some = [self.expressions[index] for index in indices]
        return VgdSplit(self.data, self.store, some, self.tokens, self.rows[indices])

    def draw(self, indices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """These phrases; with distractors (B,1+k), each with k phrases whose images lend their regions."""
        others = self.data.distractors
        return np.column_stack([indices, rng.integers(len(self), size=(len(indices), others))]) if others else indices

    def batch(self, drawn: np.ndarray) -> Batch:
        """B phrases, each image once, and those among distractors behind them, if some are drawn.

        Targets of these B or 2B samples: ``overlap`` (.,R) with the true box, 0 below one half and at padding;
        ``offsets`` (.,R,4) towards it from the regions that overlap; with distractors ``weight`` (.) of every sample.
        """
        drawn = drawn.reshape(len(drawn), -1)
        phrases = drawn[:, 0]
        images, at = np.unique(self._images[drawn], return_inverse=True)
        own, *lenders = at.reshape(drawn.shape).T.copy()
        inputs = Inputs(
            *self.store.gather(images, self.data.max_regions),
            *self.tokens.gather(self.rows[phrases]),
            image_index=torch.from_numpy(own),
        )
        targets = dict(zip(("overlap", "offsets"), _targets(inputs, own, self.boxes[phrases]), strict=True))
        totals = loss_totals(targets["overlap"])
        if lenders:
            inputs = among_others(inputs, np.stack(lenders, 1))
            targets = {name: twice(target, inputs.regions.shape[1]) for name, target in targets.items()}
            targets["weight"] = torch.tensor([1.0, WEIGHT]).repeat_interleave(len(drawn))
        return Batch(inputs, targets, totals)


def _targets(inputs: Inputs, image_index: np.ndarray, truth: np.ndarray) -> tuple[Tensor, Tensor]:
    boxes, real = inputs.boxes.numpy(), ~inputs.regions_pad.numpy()
    overlap = np.zeros((len(truth), boxes.shape[1]), np.float32)
    offsets = np.zeros((*overlap.shape, 4), np.float32)
    for sample, image in enumerate(image_index):
        regions = boxes[image][real[image]]
        found = overlaps(regions, truth[sample : sample + 1])[:, 0]
        near = np.flatnonzero(found >= OVERLAP)
        overlap[sample, near] = found[near]
        target = np.broadcast_to(truth[sample], (len(near), 4))
        offsets[sample, near] = encode(regions[near], target) / OFFSET_SCALE
    return torch.from_numpy(overlap), torch.from_numpy(offsets)


class VisualGrounding(Task):
    """Which region does this phrase mean?"""

    name = "vgd"
    title = "Visual grounding"
    Data = VgdData
    objective = "accuracy"
    wording = Wording("Phrase", share="probability of being meant")
    outputs: ClassVar = {
        "box": Output(
            ("batch", 4),
            "x1 y1 x2 y2 of what the phrase means, in pixels of the image, both corners inside: the most probable "
            "region, moved and clipped to the image",
            lambda box, probabilities: undecided(probabilities),
        ),
        "probabilities": Output(("batch", "regions"), "of each region to be meant; they sum to 1, padding has 0"),
    }
    pictures = COCO

    def __init__(self, data: VgdData) -> None:
        super().__init__(data)
        check_known("DATASET", data.dataset, DIVISIONS, self.title)
        check_known("FEAT", data.feat, FEATURES, self.title)
        divisions = DIVISIONS[data.dataset]
        self.split_by = data.split_by or next(iter(divisions))
        check_known("data.split_by", self.split_by, divisions, self.title)
        self.splits = divisions[self.split_by]
        self.divided_by = "object" if self.split_by in BY_OBJECT else "image"
        self.store = FeatureStore([self._features()])
        self.files = files_of(Path(data.root), data.dataset, self.split_by, data.refs)
        expressions = read_expressions(self.files, self.tokenise)
        self.expressions = {name: [one for one in expressions if one.split == name] for name in self.splits}
        self._checked: dict[str, list[str]] = {}  # by split what its check found to remark
        self._need("train")

    def _features(self) -> Path:
        data, usual = self.data, FEATURES[self.data.feat]
        if data.feat == "coco_mrcn":
            spelt = (data.dataset, OLDER.get(data.dataset, data.dataset))
            usual = [f"{folder}/{name}_{self.split_by}" for folder in usual for name in spelt]
        return find_path(data.root, [data.features] if data.features else usual)

    def _path(self, split: str) -> Path:
        return self.files.pickle if self.files.pickle.exists() else self.files.by_split[split]

    def _need(self, split: str) -> list[Expression]:
        if not self.expressions[split]:
            path, others = self._path(split), [name for name in self.splits if self.expressions[name]]
            wrong = f"has no entry whose 'split' is {split}" if path.exists() else "does not exist"
            remedy = f"only {', '.join(others) or 'nothing'} is there; write it as data/README.md says"
            raise UserError(f"{path}, which the split {split} is read from, {wrong}: {remedy}")
        return self.expressions[split]

    def known_texts(self) -> Iterator[Sequence[str]]:
        """Those of training; with given vectors also the other splits', as published."""
        names = ["train"] if self.vector_source is None else self.splits
        return (one.tokens for name in names for one in self.expressions[name])

    @property
    def test_splits(self) -> list[str]:
        """testA and testB, or test; val where the division has no other."""
        return [name for name in self.splits if name.startswith("test")] or ["val"]

    def contents(self, name: str) -> dict[str, np.ndarray]:
        """Images, what is meant in them, and ref_ids where one file numbers all splits."""
        said = self._need(name)
        meant = {
            "images": np.array([one.image for one in said], np.int64),
            "objects": np.array([f"{one.image}: {one.bbox}" for one in said]),
        }
        if not self.files.pickle.exists():
            return meant
        return {**meant, "ref_ids": np.array([one.ref_id for one in said if one.ref_id is not None], np.int64)}

    def split(self, name: str) -> VgdSplit:
        """train, val, and testA, testB or test."""
        self._check_split(name, self.splits, f" on {self.data.dataset} ({self.split_by})")
        expressions = self._need(name)
        if name not in self._checked:
            self._checked[name] = self._check(name, expressions)
        tokens = TokenStore(self.vocabulary.encode(one.tokens, self.data.max_tokens) for one in expressions)
        return VgdSplit(self.data, self.store, expressions, tokens, np.arange(len(expressions)))

    def _check(self, name: str, expressions: list[Expression]) -> list[str]:
        """Hold a split against the features: what there is to remark, unless it is refused."""
        what = f"{name} expressions of {self._path(name)}"
        self.store.require([one.image for one in expressions], f"the {what}")
        return check_boxes(what, expressions, self.store, self.data.max_regions)

    @property
    def remarks(self) -> list[str]:
        """Of the data; after ``split("train")`` also what share of it no region covers, where that is much."""
        return super().remarks + self._checked.get("train", [])

    @cached_property
    def places(self) -> Places:
        """Where training says that things are, by what they are called."""
        said = self._need("train")
        images, limit = np.array([one.image for one in said]), self.data.max_regions
        words = [self.vocabulary.encode(one.tokens, self.data.max_tokens) for one in said]
        boxes, known = corners(np.array([one.bbox for one in said], np.float64)), np.unique(images)
        offered = [shape(self.store.boxes(i, limit), hw) for i, hw in zip(known, self.store.sizes(known), strict=True)]
        return Places(words, shape(boxes, self.store.sizes(images)), np.concatenate(offered), len(self.words))

    def head(self, width: int, pool_hidden: int, dropout: float) -> nn.Module:
        """A score and four offsets per region."""
        return RegionPointer(width, pool_hidden, dropout)

    def export(self, made: tuple[Tensor, Tensor], inputs: Inputs) -> tuple[Tensor, ...]:
        """The box of the best region, moved, and the probabilities of all."""
        scores, offsets = made
        best = scores.argmax(1)[:, None, None].expand(-1, 1, 4)
        box, offset = (part.gather(1, best).squeeze(1) for part in (inputs.boxes, offsets))
        return moved(box, offset, inputs.image_hw), scores.softmax(1)

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Kullback-Leibler divergence to the normalised overlaps + 0.5 smooth L1 on the offsets of those that overlap.

        Phrases whose box no region overlaps teach nothing (arXiv 2004.12070, section 3.3). Among distractors they are
        samples like others, of half the weight, which the sums are not divided by.
        """
        scores, offsets = model(batch.inputs)
        return grounding_loss(scores.float(), offsets.float(), **batch.targets, **batch.totals)

    def evaluate(self, model: nn.Module, split: VgdSplit, batch_size: int) -> Evaluation:
        """Percent of phrases whose predicted box overlaps the true one by half or more."""
        boxes, certainty, blind = np.zeros((len(split), 4)), np.zeros(len(split)), np.zeros((len(split), len(BLIND)))

        def grounded(batch: Batch) -> tuple[np.ndarray, ...]:
            scores, offsets = (part.float().cpu() for part in model(batch.inputs.to(device_of(model))))
            certain, near = scores.softmax(-1).amax(-1).numpy(), batch.targets["overlap"] > 0
            return predicted_boxes(scores, offsets, batch.inputs), certain, blindly(batch.inputs, near)

        for indices, numbers in in_batches(grounded, split, batch_size, "grounding"):
            boxes[indices], certainty[indices], blind[indices] = numbers
        found = np.array([overlaps(a[None], b[None])[0, 0] for a, b in zip(boxes, split.boxes, strict=True)])
        hit, chance = found >= OVERLAP, blind[:, 0]
        predictions = [
            {**_ids(one), "box": [round(x, 2) for x in box], "score": round(score, 4)}
            for one, box, score in zip(split.expressions, boxes.tolist(), certainty.tolist(), strict=True)
        ]
        note = (
            f"{len(split)} phrases; a region by chance would score {100 * chance.mean():.2f}; "
            f"{100 * (chance > 0).mean():.2f} % have a region that overlaps the true box by half"
        )
        scored, guessed = ({"accuracy": float(100 * part.mean())} for part in (hit, chance))
        samples = partial(self._outcome, split, found, certainty, blind)
        return Evaluation(scored, predictions=predictions, notes=[note], chance=guessed, samples=samples)

    def _outcome(self, split: VgdSplit, found: np.ndarray, certainty: np.ndarray, blind: np.ndarray) -> Scored:
        """What became of every phrase, by the overlap of the predicted box with the true one."""
        hit = (found >= OVERLAP).astype(float)
        at = np.arange(1, 20) / 20
        share = [100 * float((found >= one).mean()) for one in at]
        return Scored(
            metric="accuracy",
            images=split.image_ids,
            score=hit,
            certainty=certainty,
            order=np.where(hit > 0, certainty, -certainty),
            values={"accuracy": hit},
            groups={"words of the phrase": split.tokens.lengths[split.rows], "regions of the image": split.sizes},
            baselines={**dict(zip(BLIND, blind.T, strict=True)), "words alone": self._by_words(split)},
            curve=Curve("phrases found, percent", "least overlap that counts", at.tolist(), {"network": share}),
        )

    def _by_words(self, split: VgdSplit) -> np.ndarray:
        """(phrases,) whether the region is right that the words alone make most probable."""
        right, sizes = np.zeros(len(split)), split.store.sizes(split.image_ids)
        words, pad = (part.numpy() for part in split.tokens.gather(split.rows))
        for place, image in enumerate(track(split.image_ids, "answering by words alone")):
            regions = split.store.boxes(image, self.data.max_regions)
            best = regions[self.places.guess(words[place][~pad[place]], shape(regions, sizes[place]))]
            right[place] = overlaps(best[None], split.boxes[place][None])[0, 0] >= OVERLAP
        return right

    def save_predictions(self, predictions: Any, folder: Path, version: str, split: str) -> list[Path]:
        """Write a box and its score for every phrase."""
        path = folder / f"result_run_{version}_{split}.json"
        write_json(path, predictions, indent=None)
        return [path]

    def predict(self, model: nn.Module, images: np.ndarray, inputs: Inputs, best: int) -> list[Prediction]:
        """The predicted box; regions by the probability of being meant."""
        scores, offsets = (part.float().cpu() for part in model(inputs))
        probabilities = scores.softmax(-1)
        found, certain = predicted_boxes(scores, offsets, inputs).tolist(), probabilities.amax(-1).tolist()
        boxes = [Box(tuple(box), "predicted", probability=p) for box, p in zip(found, certain, strict=True)]
        shown = zip(region_predictions(images, inputs, probabilities), boxes, strict=True)
        return [
            one._replace(boxes=[*one.boxes, box], lines=[Line(f"probability {box.probability:.2f}")])
            for one, box in shown
        ]

    def showcase(self, model: nn.Module, split: VgdSplit, indices: np.ndarray) -> list[Prediction]:
        """The phrase, the predicted box and the true one; regions by the probability of being meant."""
        inputs = split.batch(indices).inputs.to(device_of(model))
        shown = self.predict(model, split.image_ids[indices], inputs, 1)
        return [*map(_compare, shown, split.boxes[indices], (split.expressions[index] for index in indices))]


def blindly(inputs: Inputs, near: Tensor) -> np.ndarray:
    """(B,3) what is scored without reading, in the order of ``BLIND``; near (B,R): regions that are right."""
    index, pad = inputs.image_index, inputs.regions_pad
    low, high = inputs.boxes.split(2, -1)
    areas = (high - low).prod(-1).masked_fill(pad, -1)
    distances = (low + high - inputs.image_hw.flip(-1)[:, None]).square().sum(-1).masked_fill(pad, torch.inf)
    picked = torch.stack((areas.argmax(1), distances.argmin(1)), 1)[index]
    chance = near.sum(1, keepdim=True) / (~pad).sum(1, keepdim=True)[index]
    return torch.cat((chance, near.gather(1, picked)), 1).numpy()


def _ids(one: Expression) -> dict[str, int]:
    given = {"ref_id": one.ref_id, "sent_id": one.sent_id}
    return {name: value for name, value in given.items() if value is not None}


def _compare(shown: Prediction, true: np.ndarray, expression: Expression) -> Prediction:
    *regions, found = shown.boxes
    overlap = overlaps(np.array([found.xyxy]), true[None])[0, 0]
    line = Line(f"overlap {overlap:.2f}", bool(overlap >= OVERLAP), f"probability {found.probability:.2f}")
    boxes = [*regions, Box(tuple(true.tolist()), "true"), found]
    return shown._replace(text=" ".join(expression.tokens), lines=[line], boxes=boxes)


def loss_totals(overlap: Tensor) -> dict[str, float]:
    """How many phrases have a region that overlaps, and how many such regions there are, by (B,R) overlaps."""
    near = overlap > 0
    return {"phrases": int(near.any(1).sum()), "regions": int(near.sum())}


def grounding_loss(
    scores: Tensor,
    found: Tensor,
    overlap: Tensor,
    offsets: Tensor,
    phrases: float,
    regions: float,
    weight: Tensor | None = None,
) -> dict[str, Tensor]:
    """The loss of ``VisualGrounding``.

    Args:
        scores: (B,R), the dtype's minimum at padding.
        found: (B,R,4) predicted offsets.
        overlap: (B,R) overlaps of at least one half, else 0.
        offsets: (B,R,4) true offsets where ``overlap`` is positive.
        phrases: how many phrases of the whole batch have a region that overlaps.
        regions: how many regions overlap, of all phrases of the whole batch.
        weight: (B,) what each sample counts; None where all count 1.

    Returns:
        ``loss`` and its two parts; zero, with a graph, where no sample overlaps.
    """
    near = overlap > 0
    target = overlap / overlap.sum(1, keepdim=True).clamp(min=OVERLAP)
    divergence = torch.xlogy(target, target) - target * scores.log_softmax(-1)
    weight = divergence.new_ones(()) if weight is None else weight.unsqueeze(-1)
    score_loss = (weight * divergence).sum() / max(1, phrases)
    # Taken as right where nothing overlaps: to pick the others out a GPU would have to be waited for.
    aimed = torch.where(near.unsqueeze(-1), found, offsets)
    box_loss = (weight * F.smooth_l1_loss(aimed, offsets, reduction="none").sum(-1)).sum() / max(1, regions)
    return {"loss": score_loss + OFFSET_WEIGHT * box_loss, "score_loss": score_loss, "box_loss": box_loss}


def predicted_boxes(scores: Tensor, offsets: Tensor, inputs: Inputs) -> np.ndarray:
    """(B,4) the best region of every phrase, moved by its offsets and clipped to its image."""
    best = scores.argmax(1)
    sample = torch.arange(len(best))
    image = inputs.image_index.cpu()
    boxes, hw = inputs.boxes.cpu()[image, best].numpy(), inputs.image_hw.cpu()[image].numpy()
    return decode(boxes, offsets[sample, best].numpy() * OFFSET_SCALE, hw)


def moved(boxes: Tensor, offsets: Tensor, image_hw: Tensor) -> Tensor:
    """Boxes moved by a network's offsets and clipped to their image: ``readers.boxes.decode`` of tensors.

    Args:
        boxes: (B,4) xyxy, pixels.
        offsets: (B,4) in units of OFFSET_SCALE.
        image_hw: (B,2) pixels.

    Returns:
        (B,4) xyxy, pixels.
    """
    offsets = offsets * torch.tensor(OFFSET_SCALE, dtype=offsets.dtype)
    side = boxes[:, 2:] - boxes[:, :2] + 1
    centre = boxes[:, :2] + side / 2 + offsets[:, :2] * side
    grown = offsets[:, 2:].exp() * side
    corners = torch.cat((centre - grown / 2, centre + grown / 2 - 1), 1)
    return corners.clamp(min=0).minimum(image_hw.flip(1).repeat(1, 2) - 1)


def undecided(probabilities: Tensor) -> Tensor:
    """(B,) bool: where two regions are as probable, either may become the box."""
    most = probabilities.amax(1, keepdim=True)
    return (probabilities > (1 - CLOSE) * most).sum(1) > 1
