"""Entries of users' JSON files: a field that is of its kind, and the first few of many for an error to name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from common.errors import UserError, brief

KINDS = {int: "a whole number", str: "a text", list: "a list"}
LARGEST = 2**63 - 1  # an int64 holds every id
_WHOLE = re.compile(r"([-+]?[0-9]{1,19})(?:\.0*)?")  # and no longer: an int64 has so many digits
NAMED = 5
_HALF = re.compile("[\ud800-\udfff]")


def field(where: str, entry: Any, name: str, kind: type) -> Any:
    """The value of a field, which is of this kind.

    Whole numbers may come as 7, 7.0, "7" or "7.0": programs that keep tables write ids as floats or texts.
    Texts are whole ones, see ``whole_text``.

    Args:
        where: file and entry, for the error to name: "train.json, entry 3".
        entry: what should be an object with that field.
        name: the field.
        kind: one of ``KINDS``; true and false are no whole numbers.

    Raises:
        UserError: it is missing or of another kind, or holds half a character.
    """
    given = entry.get(name) if isinstance(entry, dict) else None
    value = whole_number(given) if kind is int else given
    if not isinstance(value, kind):
        held = "" if given is None else f" (it is {brief(given)})"
        raise UserError(f"{where}: {name!r} is missing or not {KINDS[kind]}{held}")
    return whole_text(where, value) if kind is str else value


def optional_text(where: str, entry: dict[str, Any], name: str) -> str:
    """The text of a field as ``field`` gives it; "" where the field is missing or null."""
    return "" if entry.get(name) is None else field(where, entry, name, str)


def whole_text(where: str, text: str) -> str:
    r"""The text itself, in which every character is whole.

    A program that cuts a text in the middle of an emoji leaves half of its surrogate pair, written ``"\ud83d"``, which
    JSON lets through. It would pass through a whole training and stop the writing of its results.

    Raises:
        UserError: it holds half a character.
    """
    if not text.isascii() and _HALF.search(text):
        raise UserError(f"{where} holds half a character in {brief(text)}; write it whole, or leave it out")
    return text


def whole_number(value: Any) -> int | None:
    """The whole number that a value means, None where it means none that an int64 holds."""
    if isinstance(value, str):
        written = _WHOLE.fullmatch(value.strip())
        value = int(written[1]) if written else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # NaN fails the comparison as well.
    return int(value) if abs(value) <= LARGEST and value == int(value) else None


def first_few(ids: Sequence[Any] | np.ndarray) -> str:
    """The first five of some ids or names: ``"1, 2, 3, 4, 5, ..."``."""
    return ", ".join(map(str, ids[:NAMED])) + (", ..." if len(ids) > NAMED else "")
