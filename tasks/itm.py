"""Image-text matching on Flickr30K and COCO: captions and images, one logit a pair, recall@K both ways.

A sample is a caption with its image: {"caption": "a dog runs", "image": 1000092795}. In a batch it meets one
negative caption and one negative image.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jsonargparse.typing import NonNegativeInt
from torch import Tensor, nn

from common.errors import UserError, check_known
from common.progress import track
from matching.contrast import contrasted
from matching.negatives import Negatives
from matching.scores import encode_images, encode_texts, score_matrix, score_pairs
from matching.shortlist import shortlist_matrix
from outcome.retrieval import BEST, RECALLS, Piece, chance, chance_within, folds, highest, metrics, positions, within
from outcome.samples import Curve, Line, Prediction, Scored
from readers.captions import Captions, IdMap, read_captions, read_flickr_ids
from readers.data_root import find_path
from readers.feature_pack import is_packed
from readers.feature_store import FeatureStore
from space.heads import Matcher
from space.inputs import Inputs
from space.network import Model, device_of
from space.settings import ModelSettings
from tasks.base import COCO, FLICKR, Batch, Count, Evaluation, Output, Split, Task, Wording
from tasks.showcase import pooled, with_lines
from texts.word_vectors import AUTO
from texts.words import TokenStore

MARGIN = 0.2
DRAWN = 50  # ranks of a recall curve, at most
TELLING = 3  # different captions, which two images do not have in common by chance


class Tokenised(NamedTuple):
    """The captions of one split as tokens."""

    tokens: list[list[str]]
    images: np.ndarray  # (captions,) image id


class Layout(NamedTuple):
    """Where a data set lies under the data root (the first place that is there), and the file stems of its splits.

    Without a place for ``ids`` the ids of its texts are those in the names of its feature files.
    """

    features: tuple[str, ...]
    parts: tuple[str, ...]  # the folders inside the features' one
    texts: tuple[str, ...]
    ids: tuple[str, ...]
    splits: dict[str, str]


FLICKR_IDS = ("itm/dataset_flickr30k.json", "itm/dataset.json")
LAYOUTS = {
    "flickr": Layout(
        ("flickr_rois_resnet101_fix36", "itm/flickr_bua-r101-fix36"),
        ("",),
        ("itm/f30k_precomp", "itm/flickr"),
        FLICKR_IDS,
        {"train": "train", "val": "dev", "test": "test"},
    ),
    "coco": Layout(
        ("rois_resnet101_fix36", "itm/bua-r101-fix36"),
        ("train2014", "val2014"),
        ("itm/coco_precomp", "itm/coco"),
        (),
        {"train": "train", "val": "dev", "test": "test", "testall": "testall"},
    ),
}
LOSSES = ("bce", "margin")
FEATURE_NAMES = ("filename", "imgid")


@dataclass
class ItmData:
    """The data section of image-text matching.

    Args:
        root: folder of the data sets, laid out as data/README.md says.
        dataset: flickr (Flickr30K) or coco.
        texts: folder of the files of captions and ids instead of the data set's own, relative to root.
        ids: the JSON file that tells which picture an id of the texts means, instead of Flickr30K's usual one, relative
            to root.
        feature_names: what Flickr30K's feature files are named by: filename (of the picture) or imgid.
        features: folder of region features instead of the data set's own, relative to root; it holds all of them, or
            COCO's in train2014 and val2014.
        max_regions: at most so many regions of an image, the first ones.
        max_tokens: at most so many words of a caption.
        segmenter: spaCy's code of the captions' language where its words have no spaces between them (zh, ja, th).
        word_vectors: an installed spaCy vectors package, a folder made by `spacy init vectors`, auto for the installed
            package that has most words, if there is one, or null to learn them.
        protocol: flickr-1k, coco-1k or coco-5k for a test of exactly the published size; null for the split as it is.
        shortlist: evaluate by shortlists: the whole network scores only this many captions of each image and images of
            each caption, those it aligns best (model.align_width); null for every pair, as protocols ask.
        test_split: the split RUN=test scores; null for test, or testall under a coco protocol.
        loss: bce (2 positive + caption negative + image negative) or margin (hinge of 0.2 on matching probabilities).
        hard_pool: random negatives scored per image and per caption when mining.
        hard_kept: hardest negatives kept of them, one of which a step draws.
        hard_from: first epoch (0-based) that mines; null never mines and draws at random.
    """

    root: str = "data/demo"
    dataset: str = "flickr"
    texts: str | None = None
    ids: str | None = None
    feature_names: str = "filename"
    features: str | None = None
    max_regions: Count = 36
    max_tokens: Count = 50
    segmenter: str | None = None
    word_vectors: str | None = AUTO
    protocol: str | None = None
    shortlist: Count | None = None
    test_split: str | None = None
    loss: str = "bce"
    hard_pool: Count = 64
    hard_kept: Count = 5
    hard_from: NonNegativeInt | None = 0


def _layout(data: ItmData) -> Layout:
    """The data set's layout, and in it the places that the configuration names instead."""
    named = {"features": data.features, "texts": data.texts, "ids": data.ids}
    return LAYOUTS[data.dataset]._replace(**{key: (place,) for key, place in named.items() if place})


class ItmSplit(Split):
    """Captions, their images, and the negatives drawn among them.

    Args:
        data: the data section.
        store: region features.
        tokens: captions.
        rows: (captions,) rows of ``tokens`` that belong to the split.
        images: (captions,) image id of every caption.
        protocol: how the split is evaluated, see outcome/retrieval.py.
    """

    def __init__(
        self,
        data: ItmData,
        store: FeatureStore,
        tokens: TokenStore,
        rows: np.ndarray,
        images: np.ndarray,
        protocol: str | None = None,
    ) -> None:
        self.data, self.store, self.tokens, self.rows = data, store, tokens, rows
        self._images, self.protocol = images, protocol
        self.negatives = Negatives(images)

    def __len__(self) -> int:
        return len(self._images)

    @property
    def image_ids(self) -> np.ndarray:
        """(captions,) image of every caption."""
        return self._images

    @property
    def seen_images(self) -> np.ndarray:
        """The images that negatives are drawn from, its own."""
        return self.negatives.images

    def subset(self, indices: np.ndarray) -> ItmSplit:
        """Only these captions; negatives are drawn among them."""
        return ItmSplit(self.data, self.store, self.tokens, self.rows[indices], self._images[indices])

    def draw(self, indices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(B,3) captions, a negative caption of each one's image, and the row of a negative image of each."""
        return np.stack((indices, *self.negatives.draw(indices, rng)), axis=1)

    def batch(self, drawn: np.ndarray) -> Batch:
        """3B pairs: the positives, then each image with a negative caption, then each caption with a negative image.

        Texts and images that occur more than once stand in the batch once.
        """
        indices, captions, images = drawn.T
        own = self.negatives.row_of[indices]
        texts, text_index = np.unique(np.concatenate((indices, captions, indices)), return_inverse=True)
        regions, image_index = np.unique(np.concatenate((own, own, images)), return_inverse=True)
        return Batch(
            Inputs(
                *self.store.gather(self.negatives.images[regions], self.data.max_regions),
                *self.tokens.gather(self.rows[texts]),
                torch.from_numpy(image_index),
                torch.from_numpy(text_index),
            ),
            {},
        )

    def refresh(self, model: nn.Module, epoch: int, rng: np.random.Generator) -> None:
        """Mine hard negatives with the model as it stands, unless it aligns texts and images and finds them by that."""
        if self.data.hard_from is None or epoch < self.data.hard_from or model.network.alignment is not None:
            return

        def score(captions: np.ndarray, images: np.ndarray, pairs: np.ndarray) -> np.ndarray:
            texts = encode_texts(model, self.tokens, self.rows[captions])
            encoded = encode_images(model, self.store, self.negatives.images[images], self.data.max_regions)
            return score_pairs(model, texts, encoded, pairs)

        progress = partial(track, what="mining negatives")
        self.negatives.mine(score, self.data.hard_pool, self.data.hard_kept, rng, progress)

    def state_dict(self) -> dict[str, Tensor]:
        """The mined pools."""
        if self.negatives.hard_captions is None:
            return {}
        pools = {"hard_captions": self.negatives.hard_captions, "hard_images": self.negatives.hard_images}
        return {name: torch.from_numpy(pool) for name, pool in pools.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take the mined pools back."""
        for name, pool in state.items():
            setattr(self.negatives, name, pool.numpy())


class ImageTextMatching(Task):
    """Does this text describe this image?"""

    name = "itm"
    title = "Image-text matching"
    Data = ItmData
    objective = "rsum"
    wording = Wording("Captions, one a line", several=True)
    outputs: ClassVar = {"score": Output(("batch",), "a logit, whose sigmoid is the probability that they match")}

    def __init__(self, data: ItmData) -> None:
        super().__init__(data)
        check_known("DATASET", data.dataset, LAYOUTS, self.title)
        self.layout, self.root = _layout(data), Path(data.root)
        for name in self.test_splits:
            self._check_split(name, self.layout.splits, f" on {data.dataset}")
        check_known("data.loss", data.loss, LOSSES, self.title)
        if None not in (data.shortlist, data.protocol):
            raise UserError(
                f"data.shortlist={data.shortlist} does not go with data.protocol={data.protocol}, whose numbers are of "
                "every pair scored by the whole network; leave one of them out"
            )
        check_known("data.feature_names", data.feature_names, FEATURE_NAMES, self.title)
        self.id_map = self._id_map()
        self.pictures = COCO if self.id_map is None else FLICKR if self.id_map.id_of is None else ""
        self.store = FeatureStore(self._features(), self.id_map and self.id_map.id_of)
        self.read = {"train": self._read("train")}

    def _features(self) -> list[Path]:
        # The first part tells the layout: packs stand in for the parts, never for the folder around them.
        folder = find_path(self.root, self.layout.features, self.layout.parts[0])
        parts = [folder / part for part in self.layout.parts]
        if self.data.features and not any(part.is_dir() or is_packed(part) for part in parts):
            return [folder]
        return parts

    def _id_map(self) -> IdMap | None:
        if not self.layout.ids:
            return None
        return read_flickr_ids(find_path(self.root, self.layout.ids), self.data.feature_names == "imgid")

    def captions(self, split: str) -> Captions:
        """The captions of a split as they are read, whether their images have features or not."""
        return read_captions(*self._caption_files(split), self.id_map)

    def _caption_files(self, split: str) -> tuple[Path, Path]:
        folder, stem = find_path(self.root, self.layout.texts), self.layout.splits[split]
        return folder / f"{stem}_caps.txt", folder / f"{stem}_ids.txt"

    def _tokens(self, split: str, texts: list[str]) -> list[list[str]]:
        return [self.tokenise(text) for text in track(texts, f"reading the {split} captions")]

    def _read(self, split: str) -> Tokenised:
        texts, images = self.captions(split)
        self.store.require(np.unique(images), f"the {split} captions", self._hint())
        return Tokenised(self._tokens(split, texts), images)

    def _hint(self) -> str:
        """What may be the matter where most images have no features."""
        if self.id_map is None:
            return ""
        if self.data.feature_names == "imgid":
            return "these look like names of pictures: leave data.feature_names out"
        imgids, files = self.id_map.images.keys(), self.store.files
        if 2 * sum(name.isdecimal() and int(name) in imgids for name in files) > len(files):
            return "these look like imgids: say data.feature_names=imgid"
        return f"name them like the pictures in {self.id_map.path}"

    def known_texts(self) -> Iterator[Sequence[str]]:
        """Those of training; with given vectors also those of the other splits that are there, as published."""
        given = [] if self.vector_source is None else filter(self._has_captions, self.layout.splits)
        others = (self._tokens(split, self.captions(split).texts) for split in given if split != "train")
        return (tokens for texts in (self.read["train"].tokens, *others) for tokens in texts)

    def _has_captions(self, split: str) -> bool:
        return self._caption_files(split)[0].exists()

    @property
    def test_splits(self) -> list[str]:
        """The protocol's split, or the one named in the configuration."""
        coco = (self.data.protocol or "").startswith("coco")
        return [self.data.test_split or ("testall" if coco else "test")]

    def contents(self, name: str) -> dict[str, np.ndarray]:
        """Images, and hashes of all that is said of an image, where it is enough to tell."""
        self._check_split(name, self.layout.splits, f" on {self.data.dataset}")
        texts, images = self.captions(name)
        said: dict[int, set[str]] = defaultdict(set)
        for text, image in zip(texts, images.tolist(), strict=True):
            said[image].add(text.lower().strip(" ."))
        telling = ["\n".join(sorted(captions)) for captions in said.values() if len(captions) >= TELLING]
        hashes = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in telling]
        return {"images": images, "sets of captions": np.frombuffer(b"".join(hashes), np.uint64)}

    def split(self, name: str) -> ItmSplit:
        """train, val, test; COCO also has testall (all 5,000 test images)."""
        self._check_split(name, self.layout.splits, f" on {self.data.dataset}")
        captions = self.read[name] if name in self.read else self._read(name)
        tokens = TokenStore(self.vocabulary.encode(tokens, self.data.max_tokens) for tokens in captions.tokens)
        protocol = self.data.protocol if name in self.test_splits else None
        folds(protocol, np.unique(captions.images, return_counts=True)[1])  # refuses a protocol of another size
        return ItmSplit(self.data, self.store, tokens, np.arange(len(tokens)), captions.images, protocol)

    def check_model(self, settings: ModelSettings) -> None:
        """Refuse shortlists where texts and images are not aligned."""
        if self.data.shortlist is not None and not settings.align_width:
            raise UserError(
                f"data.shortlist={self.data.shortlist} needs a network that aligns texts and images, and with "
                "model.align_width=0 it does not; leave data.shortlist out, or train with model.align_width=128 or so"
            )

    def head(self, width: int, pool_hidden: int, dropout: float) -> nn.Module:
        """One matching logit."""
        return Matcher(width, pool_hidden, dropout)

    def export(self, made: Tensor, inputs: Inputs) -> tuple[Tensor, ...]:
        """The logits (B,1) without their axis."""
        return (made.squeeze(1),)

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Positives count as much as both negatives together (design after Yu et al. 2020, section 3.3).

        Where the network aligns texts and images, a contrastive loss trains that, and negatives are hard ones of the
        batch by it.
        """
        aligns = model.network.alignment is not None
        logits, contrast = contrasted(model, batch.inputs) if aligns else (model(batch.inputs), None)
        positive, caption, image = logits.float().view(3, -1)
        if self.data.loss == "margin":
            p, c, i = (x.sigmoid() for x in (positive, caption, image))
            loss = ((MARGIN - p + c).clamp(min=0) + (MARGIN - p + i).clamp(min=0)).sum()
        else:
            loss = (2 * F.softplus(-positive) + F.softplus(caption) + F.softplus(image)).sum()
        accuracy = ((positive > caption).float().mean() + (positive > image).float().mean()) / 2
        found = {"loss": loss, "pair_accuracy": 100 * accuracy}
        return found if contrast is None else {**found, "loss": loss + contrast, "contrastive_loss": contrast}

    def evaluate(self, model: Model, split: ItmSplit, batch_size: int) -> Evaluation:
        """Recalls over the whole matrix of scores, or by shortlists; in folds where the protocol has some."""
        images, first = np.unique(split.image_ids, return_index=True)
        images = images[np.argsort(first)]  # folds are made in the files' order
        image_of = positions(images, split.image_ids)
        counts = np.bincount(image_of)
        scored, notes, pools, pieces = [], [], folds(split.protocol, counts), []
        for pool in pools:
            captions = np.flatnonzero(np.isin(image_of, pool))
            which = model, split.tokens, split.rows[captions], self.store, images[pool], self.data.max_regions
            own, k = positions(pool, image_of[captions]), self.data.shortlist
            scores, whole = (score_matrix(*which), None) if k is None else shortlist_matrix(*which, k)
            pieces.append(Piece.of(scores, own, captions))
            scored.append(metrics(*pieces[-1].ranks))
            if whole is not None:
                scored[-1]["reranked"] = 100 * whole / scores.size
                notes.append(f"shortlist of {k}: {whole:,} of {scores.size:,} pairs scored by the whole network")
        mean = {name: float(np.mean([fold[name] for fold in scored])) for name in scored[0]}
        first_pool = counts[pools[0]]
        guessed = chance(first_pool)
        note = (
            f"protocol {split.protocol or 'whole split'}: {len(pools)} pool(s) of {len(first_pool)} images and "
            f"{first_pool.sum()} captions; rsum by chance {guessed['rsum']:.1f}"
        )
        every = Piece.of_all(pieces)
        samples = partial(_outcome, split, every, chance_within(first_pool))
        notes = [note, "chance is the only baseline: words alone match nothing", *notes]
        return Evaluation(
            mean,
            notes=notes,
            chance=guessed,
            samples=samples,
            showcase=lambda indices: self._shown(model, split, indices, every.best[indices]),
        )

    def predict(self, model: Model, images: np.ndarray, inputs: Inputs, best: int) -> list[Prediction]:
        """How well text and image match; regions by their weight for the text."""
        logits, shown = pooled(model, images, inputs)
        return [one._replace(score=score) for one, score in zip(shown, logits.squeeze(1).tolist(), strict=True)]

    def showcase(self, model: Model, split: ItmSplit, indices: np.ndarray) -> list[Prediction]:
        """The captions of the whole split that match each image best; regions by their weight for the first one."""
        images = split.image_ids[indices]
        scores = score_matrix(model, split.tokens, split.rows, split.store, images, self.data.max_regions)
        return self._shown(model, split, indices, highest(scores, BEST))

    def _shown(self, model: Model, split: ItmSplit, indices: np.ndarray, best: np.ndarray) -> list[Prediction]:
        """B samples with the captions whose numbers (B,k) ``best`` has, those that match each one's image best."""
        images, limit = split.image_ids[indices], self.data.max_regions
        inputs = Inputs(*split.store.gather(images, limit), *split.tokens.gather(split.rows[best[:, 0]]))
        shown = self.predict(model, images, inputs.to(device_of(model)), 1)
        texts = map(self.vocabulary.decode, split.tokens.gather(split.rows[best.ravel()])[0].tolist())
        right = split.image_ids[best] == images[:, None]
        return with_lines(shown, ([Line(next(texts), yes) for yes in own] for own in right.tolist()))


def _outcome(split: ItmSplit, every: Piece, guessed: Mapping[str, np.ndarray]) -> Scored:
    """What became of every caption; of an image at the first of its captions."""
    ways = {"i2t": every.to_text, "t2i": every.to_image}
    most = min(DRAWN, *map(len, guessed.values()))
    names = {"i2t": "texts of an image", "t2i": "image of a text"}
    lines = {names[way]: within(rank, most).tolist() for way, rank in zip(ways, every.ranks, strict=True)}
    lines |= {f"{names[way]}, guessing": (100 * shares[:most]).tolist() for way, shares in guessed.items()}
    recalls = {
        f"{way}_r{k}": np.where(np.isnan(rank), np.nan, rank <= k) for way, rank in ways.items() for k in RECALLS
    }
    return Scored(
        metric="t2i_r1",
        images=split.image_ids,
        score=recalls["t2i_r1"],
        certainty=every.certainty,
        order=every.margin,
        values=recalls,
        totals={"rsum": [*recalls]},
        groups={
            "words of the text": split.tokens.lengths[split.rows],
            "regions of the image": split.store.counts(split.image_ids, split.data.max_regions),
        },
        baselines={"guessing": np.full(len(split), guessed["t2i"][0])},
        curve=Curve("found, percent", "among the first", list(range(1, most + 1)), lines) if most > 1 else None,
    )
