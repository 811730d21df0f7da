"""Negatives are never positives, and mining keeps the hardest of what it drew."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from matching.negatives import Negatives


def oddly_numbered(images: int, rng: np.random.Generator) -> np.ndarray:
    """Image ids of five captions each, unsorted and with gaps."""
    return np.repeat(rng.permutation(10 * images)[:images], 5)


@given(st.integers(2, 40), st.integers(0, 2**32 - 1))
def test_random_negatives_are_never_positives(images: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image_of = oddly_numbered(images, rng)
    negatives = Negatives(image_of)
    captions = rng.integers(len(image_of), size=200)
    texts, others = negatives.draw(captions, rng)
    assert (image_of[texts] != image_of[captions]).all()
    assert (negatives.images[others] != image_of[captions]).all()


@given(st.integers(2, 40), st.integers(1, 64), st.integers(0, 2**32 - 1))
def test_random_negatives_balance_a_batch(images: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image_of = oddly_numbered(images, rng)
    negatives, captions = Negatives(image_of), rng.permutation(5 * images)[:size]
    texts, others = negatives.draw(captions, rng)
    own = negatives.row_of[captions]
    assert (negatives.row_of[texts] != own).all() and (others != own).all()
    if 2 * np.bincount(own).max() <= len(captions):
        assert sorted(texts.tolist()) == sorted(captions.tolist())
        assert sorted(others.tolist()) == sorted(own.tolist())


def test_random_negatives_come_from_everywhere() -> None:
    negatives = Negatives(np.repeat(np.arange(4), 5))

    def drawn(seed: int) -> zip:
        return zip(*negatives.draw(np.array([0, 5, 10, 15]), np.random.default_rng(seed)), strict=True)

    seen = {(a, b) for seed in range(200) for a, b in drawn(seed)}
    assert seen == {(text, image) for text in (0, 5, 10, 15) for image in range(4)}


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 300), st.integers(1, 40), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_mined_negatives_are_never_positives(images: int, pool: int, kept: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image_of = oddly_numbered(images, rng)
    negatives = Negatives(image_of)
    negatives.mine(lambda captions, rows, pairs: rng.random(len(pairs)), pool, kept, rng)
    own = np.searchsorted(negatives.images, image_of)
    assert (own[negatives.hard_captions] != np.arange(images)[:, None]).all()
    assert (negatives.hard_images != own[:, None]).all()


def test_mining_keeps_the_highest_scores() -> None:
    rng = np.random.default_rng(1)
    image_of = oddly_numbered(20, rng)
    negatives = Negatives(image_of)
    table = rng.random((100, 20))

    def score(captions: np.ndarray, rows: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        return table[captions[pairs[:, 0]], rows[pairs[:, 1]]]

    negatives.mine(score, pool=10_000, kept=3, rng=rng)
    for image in range(20):
        others = [c for c in range(100) if negatives.row_of[c] != image]
        best = sorted(others, key=lambda c: -table[c, image])[:3]
        drawn = len(others) >= 95 and negatives.hard_captions[image].tolist()
        assert drawn == best
    for caption in range(100):
        others = [i for i in range(20) if i != negatives.row_of[caption]]
        assert negatives.hard_images[caption].tolist() == sorted(others, key=lambda i: -table[caption, i])[:3]


def test_draws_depend_on_the_generator_alone() -> None:
    negatives = Negatives(oddly_numbered(9, np.random.default_rng(3)))
    first, again = (negatives.draw(np.arange(45), np.random.default_rng(7)) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
