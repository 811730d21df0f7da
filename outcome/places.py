"""A baseline by words alone: the region that lies where training phrases with the same words meant theirs to lie

Naive Bayes: of a region's features only its place, size and form are looked at, and of the phrase each word by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PIECES = 10  # into which each of the four numbers of a box is cut, as many meant boxes in each
WORTH = 10.0  # phrases as good as seen beforehand, which lie as all do, so that a rare word says little


def shape(boxes: np.ndarray, image_hw: np.ndarray) -> np.ndarray:
    """Where boxes lie in their image: centre, logarithm of the area, logarithm of width by height.

    Args:
        boxes: (N,4) xyxy, pixels, both corners inside.
        image_hw: (N,2) or (2,) height and width, pixels.

    Returns:
        (N,4).
    """
    size = image_hw[..., ::-1]
    centre, side = (boxes[:, :2] + boxes[:, 2:]) / 2 / size, np.maximum(boxes[:, 2:] - boxes[:, :2] + 1, 1) / size
    return np.column_stack((centre, np.log(side.prod(1)), np.log(side[:, 0] / side[:, 1])))


class Places:
    """What training says of where things are that are called so.

    Args:
        texts: N training phrases as ids of words, each below ``words``.
        meant: (N,4) shapes of the boxes that they mean.
        offered: (M,4) shapes of all regions that could have been chosen instead.
        words: how many there are.
    """

    def __init__(self, texts: Sequence[Sequence[int]], meant: np.ndarray, offered: np.ndarray, words: int) -> None:
        self._edges = np.quantile(meant, np.arange(1, PIECES) / PIECES, axis=0)
        pieces = self._pieces(meant)
        every, none = (_shares(each, 1) for each in (pieces, self._pieces(offered)))
        different = [np.unique(text) for text in texts]
        word, lengths = np.concatenate(different), [*map(len, different)]
        counts = np.zeros((words, *every.shape))
        for number, of_texts in enumerate(pieces.T):
            np.add.at(counts[:, number], (word, np.repeat(of_texts, lengths)), 1)
        seen = counts[:, 0].sum(1)[:, None, None]
        self._of_any = np.log(every / none)  # (4,PIECES) that a region there is meant, whatever the phrase
        self._of_word = np.log((counts + WORTH * every) / (seen + WORTH) / every)  # (words,4,PIECES) what a word adds

    def guess(self, text: Sequence[int], offered: np.ndarray) -> int:
        """Which of (R,4) shapes the phrase means; of equals the first."""
        logarithms = self._of_any + self._of_word[np.unique(text)].sum(0)
        return int(logarithms[np.arange(4), self._pieces(offered)].sum(1).argmax())

    def _pieces(self, shapes: np.ndarray) -> np.ndarray:
        columns = zip(self._edges.T, shapes.T, strict=True)
        return np.column_stack([np.searchsorted(edges, values, side="right") for edges, values in columns])


def _shares(pieces: np.ndarray, beforehand: float) -> np.ndarray:
    """(4,PIECES) of (N,4) pieces, with so many seen in each beforehand."""
    counts = np.array([np.bincount(column, minlength=PIECES) for column in pieces.T]) + beforehand
    return counts / counts.sum(1, keepdims=True)
