"""Scores of shortlists: the k most similar of each text and of each image, re-ranked by the whole network."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from common.progress import track
from matching.scores import Block, chunks, encoded_blocks, score_pairs, some_texts
from readers.feature_store import FeatureStore
from space.network import Model, device_of
from texts.words import TokenStore

# Pairs compared in one go, which takes a few numbers for each word with each region of them: on a CPU so few that these
# stay near its cache.
PAIRS, PAIRS_ELSEWHERE = {"cpu": 2048}, 1 << 14
TOGETHER = 256  # rows or columns of the matrix that are sorted at a time
FAR = 2.0**60  # further from 0 than any logit is; a power of 2, so that multiplying by it changes no order


def shortlist_matrix(
    model: Model, tokens: TokenStore, captions: np.ndarray, store: FeatureStore, images: np.ndarray, limit: int, k: int
) -> tuple[np.ndarray, int]:
    """Scores of every image id with every caption row; only those of shortlists come from the whole network.

    A pair is re-ranked where its similarity is among the k highest of its image or among the k highest of its text,
    ties with the k-th included ("align before fuse", arXiv 2107.07651, section 5). The other pairs stand below all
    that are, in the order of their similarity, so that both directions can be ranked by one matrix.

    Args:
        model: in eval mode; its head gives one logit and its network aligns texts and images.
        tokens: texts.
        captions: (C,) rows of them.
        store: region features.
        images: (I,) image ids.
        limit: at most so many regions of an image.
        k: at least 1; from I or C on every pair is re-ranked, and the scores are those of ``score_matrix``.

    Returns:
        (I,C) float32, and how many of them are logits of the whole network.
    """
    blocks = partial(encoded_blocks, model, tokens, captions, store, images, limit)
    scores, reranked = np.empty((len(images), len(captions)), np.float32), 0
    for block in blocks():
        scores[block.place] = similarities(model, block)
    of_image, of_text, highest = kth_highest(scores, k), kth_highest(scores.T, k), scores.max()
    for block in blocks():
        (image, text), part = block.place, scores[block.place]
        chosen = ((part >= of_image[image]) | (part >= of_text[text])).T
        pairs = np.argwhere(chosen)
        part = FAR * (part - highest - 1)
        part.T[chosen] = score_pairs(model, block.texts, block.images, pairs, f"re-ranking pairs, {block.part}")
        scores[block.place] = part
        reranked += len(pairs)
    return scores, reranked


@torch.no_grad()
def similarities(model: Model, block: Block) -> np.ndarray:
    """(i,c) float32 similarities of all images of a block with all its captions."""
    device = device_of(model)
    texts, images = (side._replace(vectors=side.vectors.float()) for side in (block.texts, block.images))
    together = max(1, PAIRS.get(device.type, PAIRS_ELSEWHERE) // len(images.pad))
    groups = torch.arange(len(texts.pad), device=device).split(together)
    # In bf16 so many pairs are equally similar that shortlists grow by ties.
    with torch.autocast(device.type, enabled=False):
        found = [
            model.network.similarity(some_texts(texts, some), images).cpu()
            for some in track(groups, f"comparing texts and images, {block.part}")
        ]
    return torch.cat(found).numpy().T


def kth_highest(scores: np.ndarray, k: int) -> np.ndarray:
    """(N,M) -> (N,) the k-th highest number of each row, the lowest where there are fewer."""
    k = min(k, scores.shape[1])
    some = chunks(np.arange(len(scores)), TOGETHER)
    return np.concatenate([np.partition(scores[rows], -k, axis=1)[:, -k] for rows in some])
