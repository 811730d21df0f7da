"""A region guessed by words alone: right where the words tell a place or a size, at chance where they do not"""

from __future__ import annotations

import numpy as np
import pytest

from outcome.places import Places, shape

LEFT, LARGE, RED, BLUE, NEVER = range(5)
REGIONS, HW = 8, np.array([100.0, 200.0])


def images(rng: np.random.Generator, count: int) -> list[np.ndarray]:
    """Regions of images, in pixels: of all places, sizes and forms."""
    corner = rng.uniform(0, 0.7, (count, REGIONS, 2)) * HW[::-1]
    return [*np.concatenate((corner, corner + rng.uniform(5, 60, (count, REGIONS, 2))), 2)]


def called(word: int, regions: np.ndarray, rng: np.random.Generator) -> int:
    """Which region somebody means by that word; a colour may be anywhere."""
    if word == LEFT:
        return int(regions[:, 0].argmin())
    return int((regions[:, 2:] - regions[:, :2]).prod(1).argmax()) if word == LARGE else int(rng.integers(REGIONS))


@pytest.fixture(scope="module")
def places() -> Places:
    rng = np.random.default_rng(0)
    known, words = images(rng, 600), rng.integers(4, size=600)
    meant = [regions[called(word, regions, rng)] for regions, word in zip(known, words, strict=True)]
    texts = [[word] for word in words.tolist()]
    return Places(texts, shape(np.array(meant), HW), shape(np.concatenate(known), HW), 5)


def share(places: Places, word: int) -> float:
    rng = np.random.default_rng(1)
    return float(np.mean([places.guess([word], shape(r, HW)) == called(word, r, rng) for r in images(rng, 400)]))


def test_words_that_tell_are_obeyed_and_others_are_at_chance(places: Places) -> None:
    assert share(places, LEFT) > 0.6 and share(places, LARGE) > 0.6
    for word in (RED, BLUE):
        assert share(places, word) == pytest.approx(1 / REGIONS, abs=0.06)


def test_words_add_up_and_one_that_training_never_said_adds_nothing(places: Places) -> None:
    for regions in images(np.random.default_rng(2), 50):
        some = shape(regions, HW)
        assert places.guess([LEFT, NEVER, LEFT], some) == places.guess([LEFT], some)
    corners = np.array([[0, 40, 5, 45], [0, 20, 70, 90], [110, 20, 190, 90], [150, 40, 155, 45]], float)
    assert places.guess([LEFT, LARGE], shape(corners, HW)) == 1


def test_shapes_are_shares_of_the_image_whatever_its_size() -> None:
    boxes = np.array([[10, 20, 29, 29], [50, 0, 50, 0]], float)
    np.testing.assert_allclose(shape(2 * boxes + [0, 0, 1, 1], 2 * HW)[:, 2:], shape(boxes, HW)[:, 2:])
    centre, area, form = np.split(shape(boxes, HW)[0], [2, 3])
    np.testing.assert_allclose(centre, [19.5 / 200, 24.5 / 100])
    assert area[0] == pytest.approx(np.log(20 / 200 * 10 / 100)) and form[0] == pytest.approx(np.log(0.1 / 0.1))
