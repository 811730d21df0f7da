"""Types of numbers: what is one of them, and what their names say."""

from __future__ import annotations

import math

import pytest

from common.numbers import above_zero, from_zero, share_below_one, whole


def test_the_bounds_themselves_are_in() -> None:
    kind = whole(1, 1000)
    assert [kind(1), kind(1000)] == [1, 1000] and kind.__name__ == "a whole number from 1 to 1,000"
    assert above_zero(1e9)(1e9) == 1e9 and above_zero(1e9)(1e-300) > 0
    assert [from_zero(10)(0), from_zero(10)(10)] == [0, 10]
    assert share_below_one()(0) == 0 and share_below_one()(0.999) == 0.999
    assert whole(1, 1000) is kind


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *((whole(1, 1000), value) for value in (0, 1001, 1.5, True)),
        *((above_zero(10), value) for value in (0, -1, 10.1, math.inf, math.nan)),
        *((from_zero(10), value) for value in (-1e-9, 10.1, math.inf, math.nan)),
        *((share_below_one(), value) for value in (-0.1, 1, math.nan)),
    ],
)
def test_what_is_beyond_them_is_not(kind: type, value: float) -> None:
    with pytest.raises(ValueError):
        kind(value)
