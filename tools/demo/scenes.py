"""Scenes of the demo data: things with a look and a place, and near-twins that differ in one attribute or place."""

from __future__ import annotations

import random
from typing import NamedTuple

ROUND, EDGED = ("sphere", "cylinder", "ring"), ("cube", "cone", "pyramid")
ATTRIBUTES = {
    "size": ("small", "large"),
    "material": ("matte", "shiny"),
    "color": ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "gray"),
    "shape": ROUND + EDGED,
}
WIDTH, HEIGHT = 320, 240  # pixels of every picture
_COUNTS = {3: 6, 4: 6, 5: 5, 6: 4, 7: 2, 8: 1, 9: 1, 10: 1}  # things in a scene, and how often so many
FEWEST_SCENES = 30
_SIDE = {"small": 32.0, "large": 58.0}  # pixels, in the middle of the floor
_ASPECT = {"sphere": 1.0, "cylinder": 0.8, "ring": 1.4, "cube": 1.05, "cone": 0.9, "pyramid": 1.1}  # width : height
# Centres are drawn from one rectangle for things of all looks: a look must say nothing about the place.
_LEFT, _RIGHT, _BACK, _FRONT = 40.0, 280.0, 66.0, 196.0
_CROWDED = 0.1  # of the smaller box
_TWIN_EVERY = 5


class Thing(NamedTuple):
    """One object: its look, and the centre of its box in pixels."""

    size: str
    material: str
    color: str
    shape: str
    cx: float
    cy: float
    stretch: float  # around 1: how much larger than others of its size

    @property
    def look(self) -> tuple[str, str, str, str]:
        """Size, material, color, shape."""
        return self[:4]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x1 y1 x2 y2, pixels; things at the back look smaller."""
        depth = 0.82 + 0.36 * (self.cy - _BACK) / (_FRONT - _BACK)
        side, wide = _SIDE[self.size] * self.stretch * depth, _ASPECT[self.shape] ** 0.5
        half_w, half_h = side * wide / 2, side / wide / 2
        return self.cx - half_w, self.cy - half_h, self.cx + half_w, self.cy + half_h


class Scene(NamedTuple):
    """One image.

    Args:
        image_id: unique over all splits.
        split: train, val or test.
        things: no two of them look the same.
        backdrop: number of the floor and wall it is painted on; twins share it.
        twin: image id of the scene that differs in one respect, or None.
        change: what differs from the twin: an attribute's name, or "place" where two things changed places.
        focus: the one or two things it differs in.
    """

    image_id: int
    split: str
    things: tuple[Thing, ...]
    backdrop: int
    twin: int | None = None
    change: str | None = None
    focus: tuple[int, ...] = ()


def split_sizes(scenes: int) -> dict[str, int]:
    """How many of the scenes go to train, val and test: a fifteenth each to the latter two, but 5 and 10 at least."""
    val, test = max(5, scenes // 15), max(10, scenes // 15)
    return {"train": scenes - val - test, "val": val, "test": test}


def make_scenes(scenes: int, seed: int) -> list[Scene]:
    """Draw all scenes; split after split, by image id within a split. Two of every five are each other's twins."""
    ids = random.Random(f"{seed}/ids").sample(range(1, 500_000), scenes)
    made: list[Scene] = []
    for split, count in split_sizes(scenes).items():
        part: list[Scene] = []
        for place in range(count):
            rng = random.Random(f"{seed}/scene/{split}/{place}")
            image_id = ids[len(made) + place]
            if place % _TWIN_EVERY == 1:
                part[-1:] = _pair(part[-1], image_id, rng)
            else:
                part.append(Scene(image_id, split, draw_things(rng), rng.randrange(10**6)))
        made += sorted(part)
    return made


def draw_things(rng: random.Random) -> tuple[Thing, ...]:
    """Some things of which both round and edged ones are there, none hides another, no two look the same."""
    count = rng.choices(list(_COUNTS), list(_COUNTS.values()))[0]
    # Few colours and shapes in a scene, so that single attributes rarely tell its things apart.
    shapes = rng.sample(ROUND, rng.randint(1, 3)), rng.sample(EDGED, rng.randint(1, 3))
    colors = rng.sample(ATTRIBUTES["color"], rng.randint(3, 5))
    while True:
        things: list[Thing] = []
        for _ in range(60 * count):
            family = shapes[len(things)] if len(things) < 2 else shapes[0] + shapes[1]
            look = (rng.choice(ATTRIBUTES["size"]), rng.choice(ATTRIBUTES["material"]), rng.choice(colors))
            place = (rng.uniform(_LEFT, _RIGHT), rng.uniform(_BACK, _FRONT), rng.uniform(0.93, 1.07))
            thing = Thing(*look, rng.choice(family), *place)
            if not any(thing.look == other.look or _crowded(thing, other) for other in things):
                things.append(thing)
            if len(things) == count:
                rng.shuffle(things)
                return tuple(things)


def _crowded(a: Thing, b: Thing) -> bool:
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a.box, b.box
    shared = max(0.0, min(ax2, bx2) - max(ax1, bx1)) * max(0.0, min(ay2, by2) - max(ay1, by1))
    return shared > _CROWDED * min((ax2 - ax1) * (ay2 - ay1), (bx2 - bx1) * (by2 - by1))


def _pair(scene: Scene, image_id: int, rng: random.Random) -> tuple[Scene, Scene]:
    """The scene, now with a twin, and the twin."""
    change = rng.choice(("place", "place", "place", *ATTRIBUTES))
    things, focus = _swap_places(scene.things, rng) if change == "place" else (None, ())
    while things is None:
        change = rng.choice([*ATTRIBUTES]) if change == "place" else change
        things, focus = _change_attribute(scene.things, change, rng)
        if things is None:
            change = "color"
    scene = scene._replace(twin=image_id, change=change, focus=focus)
    return scene, scene._replace(image_id=image_id, things=things, twin=scene.image_id)


def _swap_places(things: tuple[Thing, ...], rng: random.Random) -> tuple[tuple[Thing, ...] | None, tuple[int, ...]]:
    pairs = [(i, j) for j in range(len(things)) for i in range(j)]
    for i, j in rng.sample(pairs, len(pairs)):
        swapped = list(things)
        swapped[i], swapped[j] = Thing(*things[i].look, *things[j][4:]), Thing(*things[j].look, *things[i][4:])
        if _fits(swapped, (i, j)):
            return tuple(swapped), (i, j)
    return None, ()


def _change_attribute(
    things: tuple[Thing, ...], name: str, rng: random.Random
) -> tuple[tuple[Thing, ...] | None, tuple[int, ...]]:
    for i in rng.sample(range(len(things)), len(things)):
        others = [value for value in ATTRIBUTES[name] if value != getattr(things[i], name)]
        changed = [*things]
        changed[i] = things[i]._replace(**{name: rng.choice(others)})
        if _fits(changed, (i,)):
            return tuple(changed), (i,)
    return None, ()


def _fits(things: list[Thing], changed: tuple[int, ...]) -> bool:
    """Whether the changed things still look unlike all others and crowd none; both families must remain."""
    families = {thing.shape in ROUND for thing in things}
    return len(families) == 2 and not any(
        things[i].look == other.look or _crowded(things[i], other)
        for i in changed
        for j, other in enumerate(things)
        if i != j
    )
