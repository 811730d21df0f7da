"""Hostile input: real small files spoilt the way files are spoilt, and what a reader may answer to them.

Every spoiling is a pure function of a number, so that a failing test names all it takes to see it again.
"""

from __future__ import annotations

import json
import random
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from common.errors import UserError

LONGEST, SECONDS = 600, 10  # of a sentence in characters, of an answer
QUICK, MANY = 20, 1000  # inputs of a kind in the usual tests and in the slow ones
TALLY: Counter[str] = Counter()  # inputs by kind and answer, which slow tests show

NUMBERS = (
    *("0", "-1", "1e400", "-1e400", "NaN", "-Infinity", "1e-320", "0.5", "7.0", "true", "null"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775809", "18446744073709551616"),
    "9" * 400,
    "9" * 5000,
)
DEEP = 100_000
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**31, 2**63 - 1, 2**63, -(2**70), 10**400, 0.5, 7.0, float("nan"), float("inf")),
    *("", " ", "7", "7.0", "\ud83d", "a\0b", "\ufeff", "x" * 100_000, "../../../etc/passwd", "/etc/passwd", "9" * 5000),
    *([], {}, [[]], [None], {"": None}, [{}] * 3, {"a": {"b": {"c": []}}}, ["a"] * 1000),
)


class Hang(BaseException):
    """No answer in time. No ``Exception``, so that no reader takes it for a fault of its file."""


@contextmanager
def in_time() -> Iterator[None]:
    """Raise ``Hang`` after ``SECONDS`` of computing, so that other work on the machine is nobody's fault."""

    def ring(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def answered(kind: str, read: Callable[[], Any]) -> str | None:
    """Read hostile input: None if it was taken, else the one sentence; whatever else happens is passed on."""
    try:
        with in_time():
            read()
    except UserError as error:
        said = str(error)
        assert 10 < len(said) <= LONGEST and len(said.splitlines()) == 1, said[:2000]
        said.encode()  # half a character would break the terminal or the log
        TALLY[f"{kind}: refused"] += 1
        return said
    TALLY[f"{kind}: read"] += 1
    return None


def fuzzed(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test of ``(..., number, many)`` for some numbers, and, as a slow one, for many."""
    return pytest.mark.parametrize("many", [False, pytest.param(True, marks=pytest.mark.slow)])(test)


def for_numbers(many: bool, check: Callable[[random.Random], None], quick: int = QUICK) -> None:
    """Call ``check`` with generators of different seeds, the same at every call."""

    @settings(
        max_examples=MANY if many else quick,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(number=st.integers(0, 2**64 - 1))
    def every(number: int) -> None:
        check(random.Random(number))

    every()
    if many:
        print("", *(f"{answer} {count:,}" for answer, count in sorted(TALLY.items())), sep="\n")


def spoilt_bytes(content: bytes, rng: random.Random) -> bytes:
    """The bytes of any file, damaged as disks, networks and editors do it."""
    held, size = bytearray(content), len(content)
    start, end = sorted(rng.randrange(size + 1) for _ in range(2))
    match rng.randrange(8):
        case 0:
            for _ in range(rng.choice((1, 1, 2, 8))):
                held[rng.randrange(size)] ^= 1 << rng.randrange(8)
        case 1:
            del held[start:]
        case 2:
            del held[start:end]
        case 3:
            held[end:end] = held[start:end]
        case 4:
            middle = (start + end) // 2
            held[start:end] = held[middle:end] + held[start:middle]
        case 5:
            held[start:start] = rng.choice((b"\xff\xfe", b"\xc3", b"\0", b"\xed\xa0\x80", b"\r", b"\xef\xbb\xbf"))
        case 6:
            held[start : start + 8] = rng.randbytes(8)
        case _:
            held[start : start + 4] = rng.choice((b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f"))
    return bytes(held)


def spoilt_text(text: str, rng: random.Random) -> bytes:
    """A text file with one of its numbers or places replaced by something that breaks parsers."""
    match rng.randrange(4):
        case 0 | 1:
            found = list(re.finditer(r"-?\d+(\.\d+)?", text))
            span = rng.choice(found).span() if found else (0, 0)
            put = rng.choice(NUMBERS)
        case 2:
            span = 2 * (rng.randrange(len(text) + 1),)
            put = rng.choice(("[" * DEEP, '{"a":' * DEEP, "[" * DEEP + "]" * DEEP, "\\ud83d", '"', "\\", "x" * 10**6))
        case _:
            span = 2 * (rng.randrange(len(text) + 1),)
            put = rng.choice(("\u2028", "\x85", "\t", "\x1b[2J", "\0", "- ", ": ", "&a ", "*a ", "!!set ", "<<: ", "@"))
    return (text[: span[0]] + put + text[span[1] :]).encode("utf-8", "surrogatepass")


def spoilt_tree(tree: Any, rng: random.Random, values: tuple[Any, ...] = VALUES) -> Any:
    """Plain containers with one to three places in them changed: replaced, gone, doubled, renamed, swapped."""
    tree = _copied(tree)
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(tree))
        if not places:
            return _copied(rng.choice(values))
        holder, key = rng.choice(places)
        match rng.randrange(8):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.insert(key, holder[key])
            case 1 | 2 if isinstance(holder, dict):
                holder[rng.choice((f"{key}s", "x" * 1000, "\ud83d", ""))] = holder.pop(key)
            case 3:
                other, there = rng.choice(places)
                holder[key], other[there] = _copied(other[there]), _copied(holder[key])
            case _:
                holder[key] = _copied(rng.choice(values))
    return tree


def _copied(tree: Any) -> Any:
    """Containers anew, what is in them as it is: a tensor or an array is not worth a copy."""
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        yield tree, key
        yield from _places(tree[key])


def spoilt_json(tree: Any, rng: random.Random) -> bytes:
    """A JSON file, damaged as bytes, as a text or as a tree."""
    match rng.randrange(4):
        case 0:
            return spoilt_bytes(json.dumps(tree).encode(), rng)
        case 1:
            return spoilt_text(json.dumps(tree), rng)
        case _:
            return json.dumps(spoilt_tree(tree, rng)).encode()
