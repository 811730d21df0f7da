"""Fields of users' JSON entries: ids as programs really write them, and errors that never fill a page."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.errors import UserError
from readers.entries import field, first_few, optional_text, whole_text


@pytest.mark.parametrize(
    ("given", "meant"), [(7, 7), (7.0, 7), ("7", 7), ("7.0", 7), (" -7 ", -7), (-3, -3), (2**63 - 1, 2**63 - 1), (0, 0)]
)
def test_whole_numbers_as_programs_write_them(given: Any, meant: int) -> None:
    value = field("file, entry 0", {"id": given}, "id", int)
    assert value == meant and type(value) is int


@pytest.mark.parametrize(
    "given", [True, 7.5, float("nan"), float("inf"), "7.5", "", "x", 2**63, 1e300, "9" * 5000, [7], None, {"a": 7}]
)
def test_what_is_no_id_is_told_in_one_short_line(given: Any) -> None:
    with pytest.raises(UserError, match="^file, entry 0: 'id' is missing or not a whole number") as caught:
        field("file, entry 0", {"id": given}, "id", int)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize(("kind", "given"), [(str, 5), (list, "ab"), (str, None)])
def test_other_kinds_are_taken_as_they_are(kind: type, given: Any) -> None:
    assert field("", {"a": kind()}, "a", kind) == kind()
    with pytest.raises(UserError, match="entry 3: 'a' is missing or not a "):
        field("entry 3", {"a": given}, "a", kind)


def test_the_first_few() -> None:
    assert first_few([1, 2]) == "1, 2" and first_few(range(9)) == "0, 1, 2, 3, 4, ..."


@pytest.mark.parametrize("text", ["", "dog", "größe", "\U0001f600", json.loads('"\\ud83d\\ude00"')])
def test_whole_texts_stay(text: str) -> None:
    assert whole_text("file, entry 0", text) == text == text.encode().decode()


@pytest.mark.parametrize("half", ["\ud83d", "\ude00", "\ude00\ud83d"])
def test_half_a_character_is_named(half: str) -> None:
    said = "^file, entry 0 holds half a character in 'so"
    with pytest.raises(UserError, match=said) as caught:
        field("file, entry 0", {"text": f"so {half}" + "x" * 500}, "text", str)
    assert len(str(caught.value)) < 200 and str(caught.value).encode()
    with pytest.raises(UserError, match=said):
        optional_text("file, entry 0", {"text": f"so {half}"}, "text")


def test_only_what_is_optional_may_be_missing() -> None:
    assert [optional_text("", entry, "text") for entry in ({}, {"text": None}, {"text": "a"})] == ["", "", "a"]
    with pytest.raises(UserError, match="entry 3: 'text' is missing or not a text"):
        optional_text("entry 3", {"text": 5}, "text")
