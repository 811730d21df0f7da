"""What a description or a relation means in a scene of the demo data; whatever is too close to call means nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from itertools import combinations
from math import hypot
from typing import NamedTuple

from tools.demo.scenes import ATTRIBUTES, Thing

MARGIN = 14.0  # pixels: people would not agree about smaller differences
NEAR, NOT_NEAR = 80.0, 105.0  # pixels between centres


class Description(NamedTuple):
    """Some attributes of a thing; None leaves one open."""

    size: str | None = None
    material: str | None = None
    color: str | None = None
    shape: str | None = None

    @property
    def said(self) -> tuple[str, ...]:
        """Names of the attributes it states."""
        return tuple(name for name, value in self._asdict().items() if value is not None)

    def fits(self, thing: Thing) -> bool:
        """Whether the thing has all attributes stated."""
        return all(wanted in (None, has) for wanted, has in zip(self, thing.look, strict=True))


def describe(thing: Thing, names: Sequence[str]) -> Description:
    """The description that states these attributes of the thing."""
    return Description(**{name: getattr(thing, name) for name in names})


def fitting(things: Sequence[Thing], description: Description) -> list[int]:
    """Which things it describes."""
    return [i for i, thing in enumerate(things) if description.fits(thing)]


@cache
def _subsets(without: str | None, fewest: int) -> list[tuple[str, ...]]:
    names = [name for name in ATTRIBUTES if name != without]
    return [subset for size in range(fewest, len(names) + 1) for subset in combinations(names, size)]


def subsets(rng: random.Random, without: str | None = None, fewest: int = 1) -> list[tuple[str, ...]]:
    """All sets of attributes in random order, shorter ones rather first, as people speak."""
    return sorted(_subsets(without, fewest), key=lambda subset: len(subset) + 2.5 * rng.random())


def only(things: Sequence[Thing], target: int, rng: random.Random, without: str | None = None) -> Description | None:
    """A description of the target and of nothing else; None where the attributes allowed do not suffice.

    Args:
        things: the scene.
        target: the thing meant.
        rng: chooses among descriptions.
        without: an attribute not to be stated, because a question asks for it.
    """
    for names in subsets(rng, without):
        description = describe(things[target], names)
        if fitting(things, description) == [target]:
            return description
    return None


def distance(a: Thing, b: Thing) -> float:
    """Pixels between centres."""
    return hypot(a.cx - b.cx, a.cy - b.cy)


def _beyond(difference: float) -> bool | None:
    return None if abs(difference) < MARGIN else difference > 0


def _near(a: Thing, b: Thing) -> bool | None:
    gap = distance(a, b)
    return None if NEAR < gap < NOT_NEAR else gap <= NEAR


# Does a stand so with respect to b? None: too close to call.
RELATIONS: dict[str, Callable[[Thing, Thing], bool | None]] = {
    "left": lambda a, b: _beyond(b.cx - a.cx),
    "right": lambda a, b: _beyond(a.cx - b.cx),
    "behind": lambda a, b: _beyond(b.cy - a.cy),
    "front": lambda a, b: _beyond(a.cy - b.cy),
    "near": _near,
}
# Which of several things: the one with the smallest value, with respect to b where the superlative has one.
TO_ANOTHER: dict[str, Callable[[Thing, Thing], float]] = {
    "closest": distance,
    "farthest": lambda a, b: -distance(a, b),
}
DISTANCES = ("near", *TO_ANOTHER)
OF_ALL: dict[str, Callable[[Thing], float]] = {
    "leftmost": lambda a: a.cx,
    "rightmost": lambda a: -a.cx,
    "backmost": lambda a: a.cy,
    "frontmost": lambda a: -a.cy,
}


def meant(things: Sequence[Thing], description: Description, relation: str, anchor: int | None = None) -> int | None:
    """The one thing that fits the description and stands in the relation; None where none, several or unclear."""
    candidates = [i for i in fitting(things, description) if i != anchor]
    if relation in RELATIONS:
        stands = {i: RELATIONS[relation](things[i], things[anchor]) for i in candidates}
        chosen = [i for i, value in stands.items() if value]
        return chosen[0] if len(chosen) == 1 and None not in stands.values() else None
    if relation in OF_ALL:
        ranked = sorted((OF_ALL[relation](things[i]), i) for i in candidates)
    else:
        ranked = sorted((TO_ANOTHER[relation](things[i], things[anchor]), i) for i in candidates)
    clear = ranked and (len(ranked) == 1 or ranked[1][0] - ranked[0][0] >= MARGIN)
    return ranked[0][1] if clear else None
