"""Texts of users' files: half a character is refused before it can stop the writing of results."""

from __future__ import annotations

import json

import pytest

from common.errors import UserError
from readers.texts import optional_text, text_field, whole_text


@pytest.mark.parametrize("text", ["", "dog", "größe", "\U0001f600", json.loads('"\\ud83d\\ude00"')])
def test_whole_texts_stay(text: str) -> None:
    assert whole_text("file, entry 0", text) == text == text.encode().decode()


@pytest.mark.parametrize("half", ["\ud83d", "\ude00", "\ude00\ud83d"])
def test_half_a_character_is_named(half: str) -> None:
    said = "^file, entry 0 holds half a character in 'so"
    with pytest.raises(UserError, match=said) as caught:
        text_field("file, entry 0", {"text": f"so {half}" + "x" * 500}, "text")
    assert len(str(caught.value)) < 200 and str(caught.value).encode()
    with pytest.raises(UserError, match=said):
        optional_text("file, entry 0", {"text": f"so {half}"}, "text")


def test_only_what_is_optional_may_be_missing() -> None:
    assert [optional_text("", entry, "text") for entry in ({}, {"text": None}, {"text": "a"})] == ["", "", "a"]
    with pytest.raises(UserError, match="entry 3: 'text' is missing or not a text"):
        text_field("entry 3", {}, "text")
    with pytest.raises(UserError, match="entry 3: 'text' is missing or not a text"):
        optional_text("entry 3", {"text": 5}, "text")
