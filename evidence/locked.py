"""What a folder of evidence was begun with: one recipe for all of its cells, and the sizes that a budget left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from common.errors import UserError
from common.files import read_json, write_json
from evidence.cells import Folder
from evidence.plan import Sizes


@dataclass(frozen=True)
class Locked:
    """The contents of plan.json.

    Args:
        seed: the first of all seeds.
        recipe: by dotted key.
        asked: the sizes, budget and jobs that were asked for.
        sizes: what they came to; None while that is not known.
    """

    seed: int
    recipe: dict[str, Any]
    asked: dict[str, Any]
    sizes: dict[str, int] | None

    def save(self, folder: Folder) -> None:
        """Write it, whole or not at all."""
        write_json(folder.plan, asdict(self))

    def kept_sizes(self, folder: Folder) -> Sizes | None:
        """The sizes this folder came to when the same was asked before, however long cells take by now.

        Raises:
            UserError: it was begun with another recipe; the first key that differs is named.
        """
        if not folder.plan.exists():
            return None
        then = read_json(folder.plan, "a plan of this program")
        if not isinstance(then, dict) or set(then) != set(asdict(self)):
            raise UserError(f"{folder.plan} is not a plan of this program; choose another VERSION")
        now = json.loads(json.dumps(asdict(self)))
        before, wanted = ({"seed": one["seed"], **one["recipe"]} for one in (then, now))
        if new := next((key for key in wanted if key not in before), None):
            raise UserError(
                f"the evidence {folder.version!r} was begun by an earlier state of this program, which had no {new}; "
                "go on with that one or choose another VERSION"
            )
        if key := first_difference(before, wanted):
            raise UserError(
                f"the evidence {folder.version!r} was begun with {key}={before.get(key)}, not {wanted.get(key)}; "
                "all of it is under one recipe, so say the same again or choose another VERSION"
            )
        return Sizes(**then["sizes"]) if then["asked"] == now["asked"] and then["sizes"] else None


def first_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first key by which two recipes differ, or None; values as they are in JSON."""
    return next((key for key in {**now, **before} if now.get(key) != before.get(key)), None)
