"""Pictures into train, val and test: at random but by seed alone, and no picture apart from its copies."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from common.errors import UserError

SHARES = {"test": 0.1, "val": 0.1}  # the rest trains
FEWEST = 2  # pictures of a split: with one alone nothing can be told apart


def divide(groups: Sequence[Sequence[str]], keys: Mapping[str, str], seed: int) -> dict[str, str]:
    """The split of every picture.

    The order of the pictures plays no part, nor does what they are called: what they show and the seed decide.

    Args:
        groups: pictures that must stay together.
        keys: by picture a hash of what it shows.
        seed: another one divides in another way.

    Raises:
        UserError: there are fewer than three groups.
    """
    if len(groups) < 3:
        raise UserError(f"the table has {len(groups)} different pictures; train, val and test need one each at least")
    drawn = sorted(groups, key=lambda group: _draw(min(keys[name] for name in group), seed))
    room = {split: max(FEWEST, round(share * sum(map(len, groups)))) for split, share in SHARES.items()}
    parts: dict[str, list[Sequence[str]]] = {split: [] for split in (*SHARES, "train")}
    for group in drawn:
        split = next((name for name, left in room.items() if len(group) <= left), "train")
        parts[split].append(group)
        if split in room:
            room[split] -= len(group)
    for split in SHARES:
        if not parts[split]:  # all groups are larger than it should be
            _give(parts, split)
    if not parts["train"]:  # so few that the others took all
        _give(parts, "train")
    return {name: split for split, held in parts.items() for group in held for name in group}


def _give(parts: Mapping[str, list[Sequence[str]]], split: str) -> None:
    """Let a split have the smallest group of the one that has most groups."""
    most = max(parts.values(), key=len)
    smallest = min(most, key=len)
    most.remove(smallest)
    parts[split].append(smallest)


def _draw(key: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed} {key}".encode(), digest_size=8).digest()
