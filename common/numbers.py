"""Numbers that somebody can mean: types with generous bounds, beyond which a value can only be a slip."""

from __future__ import annotations

from jsonargparse.typing import restricted_number_type


def whole(least: int, most: int) -> type[int]:
    """The type of whole numbers from ``least`` to ``most``, named so."""
    return restricted_number_type(f"a whole number from {least:,} to {most:,}", int, [(">=", least), ("<=", most)])


def above_zero(most: float) -> type[float]:
    """The type of numbers above 0 and up to ``most``, named so; neither infinity nor NaN is one."""
    return restricted_number_type(f"a number above 0, at most {most:,.9g}", float, [(">", 0.0), ("<=", most)])


def from_zero(most: float) -> type[float]:
    """The type of numbers from 0 up to ``most``, named so."""
    return restricted_number_type(f"a number from 0 to {most:,.9g}", float, [(">=", 0.0), ("<=", most)])


def share_below_one() -> type[float]:
    """The type of numbers from 0 up to 1 without 1 itself, named so."""
    return restricted_number_type("a number from 0 up to 1, without 1", float, [(">=", 0.0), ("<", 1.0)])
