"""Texts in users' files that can be written again: JSON lets half a character through, which no file can hold."""

from __future__ import annotations

import re
from typing import Any

from common.errors import UserError
from readers.entries import field, shortened

_HALF = re.compile("[\ud800-\udfff]")


def text_field(where: str, entry: Any, name: str) -> str:
    """The text of a field.

    Args:
        where: file and entry, for the error to name: "train.json, entry 3".
        entry: what should be an object with that field.
        name: the field.

    Raises:
        UserError: it is missing, is no text or holds half a character.
    """
    return whole_text(where, field(where, entry, name, str))


def optional_text(where: str, entry: dict[str, Any], name: str) -> str:
    """The text of a field as ``text_field`` gives it; "" where the field is missing or null."""
    return "" if entry.get(name) is None else text_field(where, entry, name)


def whole_text(where: str, text: str) -> str:
    r"""The text itself, in which every character is whole.

    A program that cuts a text in the middle of an emoji leaves half of its surrogate pair, written ``"\ud83d"``. It
    would pass through a whole training and stop the writing of its results.

    Raises:
        UserError: it holds half a character.
    """
    if not text.isascii() and _HALF.search(text):
        raise UserError(f"{where} holds half a character in {shortened(text)}; write it whole, or leave it out")
    return text
