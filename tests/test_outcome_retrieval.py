"""Retrieval metrics against a slow oracle, ties included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from outcome.retrieval import Piece, chance, folds, highest, metrics, ranks


def naive_ranks(scores: np.ndarray, image_of: np.ndarray) -> tuple[list[int], list[int]]:
    """Count, candidate by candidate, who stands before or level with the right answer."""
    to_text = []
    for image, row in enumerate(scores):
        best = max(row[c] for c in range(len(row)) if image_of[c] == image)
        to_text.append(1 + sum(row[c] >= best for c in range(len(row)) if image_of[c] != image))
    to_image = []
    for caption, image in enumerate(image_of):
        column = scores[:, caption]
        to_image.append(1 + sum(column[i] >= column[image] for i in range(len(scores)) if i != image))
    return to_text, to_image


@given(st.lists(st.integers(1, 7), min_size=1, max_size=7), st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_ranks_equal_the_oracle_with_ties_and_differing_numbers(counts: list[int], seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    image_of = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    scores = rng.integers(levels, size=(len(counts), sum(counts))).astype(np.float32)
    to_text, to_image = ranks(scores, image_of)
    assert (to_text.tolist(), to_image.tolist()) == naive_ranks(scores, image_of)


def test_perfect_and_constant_scores() -> None:
    image_of = np.repeat(np.arange(20), 5)
    perfect = (image_of[None] == np.arange(20)[:, None]).astype(np.float32)
    assert metrics(*ranks(perfect, image_of))["rsum"] == 600
    constant = metrics(*ranks(np.zeros_like(perfect), image_of))
    assert constant["rsum"] == 0 and constant["t2i_median"] == 20


@pytest.mark.parametrize("counts", [[5] * 30, [1] * 40, [1, 6, 7, 2] * 8, [3, 1]])
def test_chance_equals_simulation(counts: list[int]) -> None:
    rng = np.random.default_rng(0)
    image_of = np.repeat(np.arange(len(counts)), counts)
    simulated = [metrics(*ranks(rng.random((len(counts), sum(counts))), image_of)) for _ in range(300)]
    found = chance(np.array(counts))
    assert found.keys() == simulated[0].keys()
    for name, value in found.items():
        # The median over few images scatters about that of all ranks there can be.
        mean = np.mean([one[name] for one in simulated])
        assert value == pytest.approx(mean, rel=0.25 if name.endswith("median") else 0.08, abs=1.0), name


def test_protocols_assert_their_sizes() -> None:
    assert [len(fold) for fold in folds("coco-1k", np.full(5000, 5))] == [1000] * 5
    with pytest.raises(UserError, match="1000 images with 5 captions"):
        folds("flickr-1k", np.full(200, 5))
    with pytest.raises(UserError, match="1000 images with 5 captions each, this split has 1000 with 4 to 6"):
        folds("flickr-1k", np.array([4, 6] * 500))
    with pytest.raises(UserError, match="unknown"):
        folds("flickr-2k", np.full(200, 5))


def test_scores_that_are_nan_rank_last() -> None:
    scores = np.eye(4) + np.linspace(0, 0.1, 16).reshape(4, 4)
    assert [rank.tolist() for rank in ranks(scores, np.arange(4))] == [[1] * 4, [1] * 4]
    to_text, to_image = ranks(np.full((4, 4), np.nan), np.arange(4))
    assert to_text.tolist() == to_image.tolist() == [4] * 4
    scores[2, 2] = np.nan
    assert [rank.tolist() for rank in ranks(scores, np.arange(4))] == [[1, 1, 4, 1], [1, 1, 4, 1]]


def test_the_highest_are_those_of_a_full_sort() -> None:
    scores = np.random.default_rng(0).random((6, 9))
    np.testing.assert_array_equal(highest(scores, 3), np.argsort(-scores, axis=1)[:, :3])
    assert highest(scores[:, :2], 3).shape == (6, 2)


def test_pools_are_one_in_the_order_of_the_split() -> None:
    rng = np.random.default_rng(0)
    image_of = np.array([0, 1, 2, 3, 0, 1, 2, 3, 3])
    pieces = []
    for pool in (np.array([1, 3]), np.array([0, 2])):
        captions = np.flatnonzero(np.isin(image_of, pool))
        pieces.append(Piece.of(rng.random((2, len(captions))), np.searchsorted(pool, image_of[captions]), captions))
    assert sum(len(piece.ranks[0]) for piece in pieces) == 4
    whole = Piece.of_all([piece._replace(best=piece.best[:, :2]) for piece in pieces])
    assert whole.captions.tolist() == list(range(9))
    for piece in pieces:
        np.testing.assert_array_equal(whole.to_image[piece.captions], piece.to_image)
        np.testing.assert_array_equal(whole.to_text[piece.captions], piece.to_text)
        assert np.isin(whole.best[piece.captions], piece.captions).all()


def test_an_image_stands_as_far_above_as_its_own_caption_does() -> None:
    scores = np.array([[3.0, 1.0, -2.0], [0.5, 0.0, 4.0]])  # captions 0 and 1 are of the first image
    piece = Piece.of(scores, np.array([0, 0, 1]), np.arange(3))
    np.testing.assert_array_equal(piece.margin, [5.0, np.nan, 3.5])
    np.testing.assert_array_equal(piece.to_text, [1, np.nan, 1])
    assert piece.certainty == pytest.approx(1 / (1 + np.exp([-3.0, -1.0, -4.0])))
