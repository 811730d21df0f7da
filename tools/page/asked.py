"""What the page asks, as it comes: a line of JSON, and behind it the bytes of the pictures; every slip has its sentence

{"texts": ["a dog runs"], "pictures": [{"name": "a.jpg", "bytes": 48211}, {"name": "b.png", "bytes": 9034}]}
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from common.errors import UserError, brief, cut
from pictures.reading import Upload

MOST_BYTES = 40_000_000  # of a request, pictures and all
MOST_LINE = 100_000  # bytes of the JSON
MOST_PICTURES, MOST_TEXTS = 20, 50
NAMELESS = "the picture"


class Asked(NamedTuple):
    """Pictures and texts, every one of which meets every other."""

    pictures: list[Upload]
    texts: list[str]


def read_asked(content: bytes) -> Asked:
    """Take a request apart.

    Raises:
        UserError: it is none, or asks for nothing or for too much.
    """
    end = content.find(b"\n", 0, MOST_LINE)
    if end < 0:
        raise UserError(f"the request does not begin with a line of JSON of at most {MOST_LINE:,} bytes")
    try:
        told = json.loads(content[:end])
    except (ValueError, RecursionError) as error:
        raise UserError("the first line of the request is no JSON") from error
    texts, pictures = (_list(told, key, most) for key, most in (("texts", MOST_TEXTS), ("pictures", MOST_PICTURES)))
    uploads, start = [], end + 1
    for one in pictures:
        name, size = _picture(one)
        uploads.append(Upload(name, content[start : start + size]))
        start += size
    if start != len(content):
        raise UserError(f"the request has {len(content):,} bytes, of which its pictures would end at {start:,}")
    return Asked(uploads, [_text(text) for text in texts])


def _list(told: Any, key: str, most: int) -> list[Any]:
    found = told.get(key) if isinstance(told, dict) else None
    if not isinstance(found, list):
        raise UserError(f'the request has no list "{key}"')
    if not 1 <= len(found) <= most:
        raise UserError(f"the request has {len(found)} {key}; it takes 1 to {most}")
    return found


def _picture(told: Any) -> tuple[str, int]:
    name, size = (told.get("name"), told.get("bytes")) if isinstance(told, dict) else (None, None)
    if not isinstance(name, str) or type(size) is not int or not 0 < size <= MOST_BYTES:
        raise UserError(f"{brief(told)} is no picture of the request; it has a name, and bytes above 0")
    return cut(name) or NAMELESS, size


def _text(text: Any) -> str:
    if not isinstance(text, str) or not text.strip():
        raise UserError("a text is empty; write one")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"the text {brief(text)} holds half a character") from error
    return text.strip()
