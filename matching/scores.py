"""Scores of many image-text pairs, with every text and every image encoded once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from common.sharing import shared
from readers.feature_store import FeatureStore
from space.inputs import rows
from space.network import Images, Model, Texts, device_of
from space.relations import Relations
from texts.words import TokenStore

# Pairs in one pass through the decoder: on a CPU so few that their states stay in its cache.
PAIRS, PAIRS_ELSEWHERE = {"cpu": 64}, 512
ENCODED = 64  # images in one pass through the decoder's stem
GROUP = 256  # images whose states and relations are in memory at a time
TEXTS = 5000  # texts whose states are


@torch.no_grad()
def encode_texts(model: Model, tokens: TokenStore, which: np.ndarray) -> Texts:
    """Encode these texts. Row r of the result is text ``which[r]``."""
    return model.network.encode_texts(*(part.to(device_of(model)) for part in tokens.gather(which)))


@torch.no_grad()
def encode_images(model: Model, store: FeatureStore, ids: np.ndarray, limit: int) -> Images:
    """Encode these images as far as no text is needed. Row r of the result is image ``ids[r]``."""
    parts = []
    for chunk in chunks(ids, ENCODED):
        regions, boxes, image_hw, pad = (part.to(device_of(model)) for part in store.gather(chunk, limit))
        parts.append(model.network.encode_images(regions, boxes, image_hw, pad))
    most = max(part.pad.shape[1] for part in parts)
    grow = [most - part.pad.shape[1] for part in parts]
    states, vectors = (
        None if whole[0] is None else torch.cat([F.pad(x, (0, 0, 0, n)) for x, n in zip(whole, grow, strict=True)])
        for whole in ([part.states for part in parts], [part.vectors for part in parts])
    )
    pad = torch.cat([F.pad(part.pad, (0, n), value=True) for part, n in zip(parts, grow, strict=True)])
    relations = None
    if first := parts[0].relations:
        geometry = [F.pad(p.relations.geometry, (0, 0, 0, n, 0, n)) for p, n in zip(parts, grow, strict=True)]
        relations = Relations(torch.cat(geometry), first.features, keep=True)
    return Images(states, pad, relations, vectors)


@torch.no_grad()
def score_pairs(model: Model, texts: Texts, images: Images, pairs: np.ndarray, what: str | None = None) -> np.ndarray:
    """Logits of pairs.

    Args:
        model: in eval mode; its head gives one logit.
        texts: encoded texts.
        images: encoded images.
        pairs: (P,2) int rows (text, image).
        what: what to call this in the progress display; None for none.

    Returns:
        (P,) float32.
    """
    # Pairs of one text go through together, so that a pass projects few texts' keys and values.
    by_text = np.argsort(pairs[:, 0], kind="stable")
    passes = list(chunks(by_text, PAIRS.get(device_of(model).type, PAIRS_ELSEWHERE)))

    def scored(chunk: np.ndarray) -> np.ndarray:
        text, image = torch.from_numpy(pairs[chunk]).to(texts.states.device).unbind(1)
        used, text_index = text.unique(return_inverse=True)
        states = model.network.fuse(some_texts(texts, used), images, text_index, image)
        return model.head(states).squeeze(-1).float().cpu().numpy()

    scores = np.zeros(len(pairs), np.float32)
    for chunk, found in zip(passes, shared(scored, passes, what), strict=True):
        scores[chunk] = found
    return scores


class Block(NamedTuple):
    """Some images and some captions of a matrix of scores, encoded."""

    place: tuple[np.ndarray, np.ndarray]  # (i,1) rows and (1,c) columns, of its images and of its captions
    texts: Texts
    images: Images
    part: str  # which of how many it is, for the progress display


def encoded_blocks(
    model: Model, tokens: TokenStore, captions: np.ndarray, store: FeatureStore, images: np.ndarray, limit: int
) -> Iterator[Block]:
    """Every image id with every caption row; both go through in groups to bound memory."""
    columns, rows_of = list(chunks(np.arange(len(captions)), TEXTS)), list(chunks(np.arange(len(images)), GROUP))
    number = itertools.count(1)
    for column in columns:
        texts = encode_texts(model, tokens, captions[column])
        for row in rows_of:
            encoded = encode_images(model, store, images[row], limit)
            yield Block(np.ix_(row, column), texts, encoded, f"part {next(number)}/{len(columns) * len(rows_of)}")


def score_matrix(
    model: Model, tokens: TokenStore, captions: np.ndarray, store: FeatureStore, images: np.ndarray, limit: int
) -> np.ndarray:
    """(I,C) float32 logits of every image id with every caption row."""
    scores = np.empty((len(images), len(captions)), np.float32)
    for block in encoded_blocks(model, tokens, captions, store, images, limit):
        every = np.ones((len(block.texts.pad), len(block.images.pad)), bool)
        logits = score_pairs(model, block.texts, block.images, np.argwhere(every), f"scoring pairs, {block.part}")
        scores[block.place] = logits.reshape(every.shape).T
    return scores


def some_texts(texts: Texts, which: Tensor) -> Texts:
    """These rows of encoded texts, padded to the longest of them."""
    longest = int((~rows(texts.pad, which)).sum(1).max())
    return Texts(*(part if part is None else rows(part, which)[:, :longest] for part in texts))


def chunks(values: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """The values in their order, at most so many at a time."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
