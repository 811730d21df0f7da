"""Splits in detail as a training wrote them; whatever became of the file since, what is read can be drawn"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from common.errors import UserError
from outcome.details import Details

STRICT = ConfigDict(strict=True, allow_inf_nan=False)
NEAREST = 1e-9  # places of a bar that are drawn apart


def read_splits(path: Path) -> dict[str, Details]:
    """Splits by name, of a file that ``Details.as_dict`` gave.

    Raises:
        UserError: it cannot be read, or holds something else, with where that stands.
    """
    try:
        found = _reader().validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{path} holds no splits in detail ({where}{': ' if where else ''}{first['msg']})") from error
    for split, one in found.items():
        if wrong := next(_wrong(one), None):
            raise UserError(f"{path} holds no splits in detail ({split}: {wrong})")
    return found


@cache
def _reader() -> TypeAdapter[dict[str, Details]]:
    return TypeAdapter(dict[str, Details], config=STRICT)


def _wrong(found: Details) -> Iterator[str]:
    """What no split has."""
    rows = [row for rows in found.groups.values() for row in rows]
    if not all(found.groups.values()) or any(one.count < 1 for one in (*rows, *found.calibration)):
        yield "a group of nothing"
    if (curve := found.curve) is not None:
        if len(curve.at) < 2 or any(high - low < NEAREST for low, high in pairwise(curve.at)):
            yield "a curve over no range"
        if any(len(values) != len(curve.at) for values in curve.lines.values()):
            yield "a curve with points that stand nowhere"
