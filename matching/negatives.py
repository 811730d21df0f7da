"""Negatives of image-text matching: drawn at random, or mined with the current model (design after VSE++ and MMnas).

Everything is drawn within the captions of one split, so the two parts of a search's training data never see
each other's images.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from common.errors import UserError

Scorer = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
GROUP = 128  # images mined together; their captions and regions are encoded once


class Negatives:
    """Draws a negative caption and a negative image for a positive pair.

    Args:
        image_of: (C,) the image of every caption of the split, any ids.

    Raises:
        UserError: they are all of one image.
    """

    def __init__(self, image_of: np.ndarray) -> None:
        self.images, self.row_of = np.unique(image_of, return_inverse=True)
        if len(self.images) < 2:
            raise UserError("a split of one image has no negatives; take at least two images (data, or val_images)")
        self.captions_of = np.argsort(self.row_of, kind="stable")
        self.count_of = np.bincount(self.row_of)
        self.start_of = np.cumsum(self.count_of) - self.count_of
        self.hard_captions: np.ndarray | None = None  # (images,kept) caption numbers
        self.hard_images: np.ndarray | None = None  # (captions,kept) image rows

    def draw(self, captions: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """For each caption's pair, a caption of another image and an image (row) that is not its own.

        Without mined ones they come from the batch itself, where every caption and every image is then a negative as
        often as a positive: what it looks like alone cancels out of the gradient, and half as many are encoded.
        """
        own = self.row_of[captions]
        if self.hard_captions is None or self.hard_images is None:
            most = np.bincount(np.unique(own, return_inverse=True)[1]).max()
            if 2 * most > len(own):
                return self._caption_of(self._other(own, rng), rng), self._other(own, rng)
            # Captions of one image stand side by side, so that a shift by ``most`` leads past them.
            order = np.lexsort((rng.random(len(own)), rng.permutation(len(self.images))[own]))
            shifts = rng.integers(most, len(own) - most, endpoint=True, size=2)
            texts, images = (np.roll(order, shift)[np.argsort(order)] for shift in shifts)
            return captions[texts], own[images]
        pick = rng.integers(self.hard_captions.shape[1], size=(2, len(captions)))
        return self.hard_captions[own, pick[0]], self.hard_images[captions, pick[1]]

    def _other(self, own: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        shifted = rng.integers(len(self.images) - 1, size=len(own))
        return shifted + (shifted >= own)

    def _caption_of(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return self.captions_of[self.start_of[rows] + rng.integers(self.count_of[rows])]

    def mine(self, score: Scorer, pool: int, kept: int, rng: np.random.Generator, progress: Callable = iter) -> None:
        """Keep for every image and every caption the ``kept`` best-scored of ``pool`` random negatives.

        The images are shuffled into groups and the pools drawn within a group: every negative is as likely as
        before, and a group's texts and images are encoded once however often they are drawn.

        Args:
            score: (captions, image rows, (P,2) positions in the two) -> (P,) scores.
            pool: negatives scored per image and per caption; less where a group has not as many.
            kept: negatives kept of them.
            rng: draws groups and pools.
            progress: wraps the list of groups.
        """
        hard_captions = np.empty((len(self.images), kept), np.int64)
        hard_images = np.empty((len(self.row_of), kept), np.int64)
        groups = np.array_split(rng.permutation(len(self.images)), max(1, len(self.images) // max(GROUP, pool + 1)))
        for group in progress(groups):
            captions = np.flatnonzero(np.isin(self.row_of, group))
            position = np.argsort(group)[np.searchsorted(np.sort(group), self.row_of[captions])]
            other = position[None] != np.arange(len(group))[:, None]  # (images,captions)
            for_image = _draw(other, pool, rng)  # (images,pool) positions among captions
            for_caption = _draw(other.T, pool, rng)  # (captions,pool) positions in group
            pairs = np.concatenate((_pairs(for_image)[:, ::-1], _pairs(for_caption)))
            scores = score(captions, group, pairs)
            at_image, at_caption = np.split(scores, [for_image.size])
            hard_captions[group] = captions[_best(for_image, at_image, kept)]
            hard_images[captions] = group[_best(for_caption, at_caption, kept)]
        self.hard_captions, self.hard_images = hard_captions, hard_images


def _draw(allowed: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """(N,size) random distinct columns allowed in each row; fewer where a row allows fewer."""
    size = min(size, int(allowed.sum(1).min()))
    keys = np.where(allowed, rng.random(allowed.shape), 2.0)
    return np.argpartition(keys, size - 1, axis=1)[:, :size]


def _pairs(drawn: np.ndarray) -> np.ndarray:
    """(N*size,2) of (row, drawn column)."""
    return np.stack((np.repeat(np.arange(len(drawn)), drawn.shape[1]), drawn.ravel()), axis=1)


def _best(drawn: np.ndarray, scores: np.ndarray, kept: int) -> np.ndarray:
    """(N,kept) the drawn columns with the highest scores, the last repeated where fewer were drawn."""
    order = np.argsort(-scores.reshape(drawn.shape), axis=1)[:, :kept]
    order = np.pad(order, ((0, 0), (0, kept - order.shape[1])), mode="edge")
    return np.take_along_axis(drawn, order, axis=1)
