"""Box arithmetic: the extension equals NumPy, both equal the definition, and offsets go there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from readers import boxes

KERNELS = ["overlaps", "encode", "decode"]


def random_boxes(n: int, seed: int) -> np.ndarray:
    """Boxes of an image of 100 x 80, some of a single pixel."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 60, (n, 2))
    return np.concatenate((corner, corner + rng.integers(0, 20, (n, 2))), axis=1).astype(np.float64)


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 2**32 - 1))
def test_overlaps_equal_counted_pixels(n: int, k: int, seed: int) -> None:
    one, other = random_boxes(n, seed), random_boxes(k, seed + 1)
    expected = np.zeros((n, k))
    for i, a in enumerate(one.astype(int)):
        for j, b in enumerate(other.astype(int)):
            pixels = [{(x, y) for x in range(x1, x2 + 1) for y in range(y1, y2 + 1)} for x1, y1, x2, y2 in (a, b)]
            expected[i, j] = len(pixels[0] & pixels[1]) / len(pixels[0] | pixels[1])
    np.testing.assert_allclose(boxes.overlaps(one, other), expected)


@pytest.mark.skipif(boxes._boxes is None, reason="the extension is not built")
@settings(derandomize=True, deadline=None)
@given(st.integers(0, 9), st.integers(0, 2**32 - 1))
def test_the_extension_equals_numpy(n: int, seed: int) -> None:
    one, other = random_boxes(n, seed), random_boxes(n, seed + 1)
    offsets = np.random.default_rng(seed).normal(0, 0.5, (n, 4))
    hw = np.tile([80.0, 100.0], (n, 1))
    for name, arguments in zip(KERNELS, [(one, other), (one, other), (one, offsets, hw)], strict=True):
        ours = getattr(boxes._boxes, name)(*arguments)
        np.testing.assert_allclose(ours, getattr(boxes, f"{name}_numpy")(*arguments), rtol=1e-12, atol=1e-12)


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_offsets_go_there_and_back(n: int, seed: int) -> None:
    one, other = random_boxes(n, seed), random_boxes(n, seed + 1)
    back = boxes.decode(one, boxes.encode(one, other), np.tile([80.0, 100.0], (n, 1)))
    np.testing.assert_allclose(back, other, atol=1e-9)


def test_decoded_boxes_stay_in_their_image() -> None:
    far = boxes.decode(np.array([[10, 10, 20, 20.0]]), np.array([[9, -9, 2, 2.0]]), np.array([[80, 100.0]]))
    assert (far >= 0).all() and (far[0, [0, 2]] <= 99).all() and (far[0, [1, 3]] <= 79).all()
