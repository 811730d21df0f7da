"""What people would say about a demo scene: five captions, and expressions that mean one thing in it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from tools.demo.queries import (
    DISTANCES,
    OF_ALL,
    RELATIONS,
    TO_ANOTHER,
    Description,
    describe,
    fitting,
    meant,
    only,
    subsets,
)
from tools.demo.scenes import ATTRIBUTES, Scene, Thing
from tools.demo.words import NUMBERS, PHRASES, a, noun, sentence

CAPTIONS = 5
_FOCUSED = 3  # captions of a twin that tell it from the other
_AT = {
    "leftmost": "on the far left",
    "rightmost": "on the far right",
    "backmost": "at the very back",
    "frontmost": "at the very front",
}
_EDGES = {
    "leftmost": ("left {}", "leftmost {}", "{} on left", "{} on the far left"),
    "rightmost": ("right {}", "rightmost {}", "{} on right", "{} on the far right"),
    "backmost": ("top {}", "back {}", "topmost {}", "{} at the back"),
    "frontmost": ("bottom {}", "front {}", "bottommost {}", "{} in front"),
}
_STANDS = ("is", "stands", "lies", "sits")
_LONG = (
    "the {} that is {} the {}",
    "the {} which stands {} the {}",
    "a {} sitting {} the {}",
    "a {} on the floor {} the {}",
    "the {} that you can see {} the {}",
)


def captions(scene: Scene, seed: int) -> list[str]:
    """Five captions of a scene; those of a twin mostly speak of what tells it from the other."""
    rng = random.Random(f"{seed}/captions/{scene.image_id}")
    found: list[str] = []
    while len(found) < CAPTIONS:
        focus = scene.focus if len(found) < _FOCUSED else ()
        if focus and scene.change == "place":
            caption = _relation(scene.things, rng, *rng.sample(focus, 2), exact=True)
        else:
            write = rng.choices((_relation, _list, _edge, _count), (5, 3, 2, 0 if focus else 2))[0]
            first, second = rng.sample(range(len(scene.things)), 2)
            if focus:
                first, second = focus[0], rng.choice([i for i in range(len(scene.things)) if i not in focus])
            caption = write(scene.things, rng, first, second, must=scene.change if focus else None)
        if caption and caption not in found:
            found.append(caption)
    rng.shuffle(found)
    return found


def _casual(thing: Thing, rng: random.Random, must: str | None) -> Description:
    """Some attributes of a thing, nearly always its color and shape."""
    odds = {"size": 0.5, "material": 0.35, "color": 0.9, "shape": 0.95}
    names = [name for name in ATTRIBUTES if name == must or rng.random() < odds[name]]
    return describe(thing, names or ["color"])


def _relation(
    things: Sequence[Thing], rng: random.Random, i: int, j: int, must: str | None = None, exact: bool = False
) -> str | None:
    names = [name for name in RELATIONS if RELATIONS[name](things[i], things[j]) and not (exact and name == "near")]
    if not names:
        return None
    if exact:
        first, second = only(things, i, rng), only(things, j, rng)
    else:
        first, second = _casual(things[i], rng, must), _casual(things[j], rng, None)
    start, end = a(noun(first, rng)), a(noun(second, rng))
    return sentence(f"{start} {rng.choice(_STANDS)} {rng.choice(PHRASES[rng.choice(names)])} {end}")


def _list(things: Sequence[Thing], rng: random.Random, i: int, j: int, must: str | None) -> str:
    third = rng.choice([k for k in range(len(things)) if k not in (i, j)])
    named = [(i, must), (j, None), (third, None)][: rng.randint(2, 3)]
    rng.shuffle(named)
    *most, last = [a(noun(_casual(things[k], rng, wanted), rng)) for k, wanted in named]
    listed = f"{', '.join(most)} and {last}"
    frames = ("{}", "there is {}", "the picture shows {}", "{} on the floor", "one can see {}", "a room with {}")
    return sentence(rng.choice(frames).format(listed))


def _edge(things: Sequence[Thing], rng: random.Random, i: int, j: int, must: str | None) -> str | None:
    names = [name for name in OF_ALL if meant(things, Description(), name) == i]
    if not names:
        return None
    start, other = a(noun(_casual(things[i], rng, must), rng)), a(noun(_casual(things[j], rng, None), rng))
    return sentence(f"{start} {_AT[rng.choice(names)]}{rng.choice((', and', ' and', ' with'))} {other}")


def _count(things: Sequence[Thing], rng: random.Random, i: int, j: int, must: str | None) -> str | None:
    name = rng.choice(list(ATTRIBUTES))
    group = describe(things[i], [name])
    count = len(fitting(things, group))
    if group.fits(things[j]) or count < 2:
        return None
    some, other = noun(group, rng, plural=True), a(noun(_casual(things[j], rng, None), rng))
    number, total = NUMBERS[count], NUMBERS[len(things)]
    frames = (
        f"{number} {some} and {other}",
        f"{number} {some} together with {other}",
        f"{total} things, of which {number} are {some}, and one is {other}",
        f"there are {number} {some} around {other}",
    )
    return sentence(rng.choice(frames))


def _by_look(things: Sequence[Thing], target: int, rng: random.Random) -> str | None:
    """The look alone, no word about places, as RefCOCO+ asks."""
    description = only(things, target, rng)
    frames = ("{}", "{}", "the {}", "the {}", "the only {}", "{} please", "that {}")
    return description and rng.choice(frames).format(noun(description, rng))


def _by_edge(things: Sequence[Thing], target: int, rng: random.Random) -> str | None:
    """The outermost of all things like it."""
    for names in subsets(rng, fewest=0):
        description = describe(things[target], names)
        for edge in rng.sample(list(OF_ALL), len(OF_ALL)):
            if meant(things, description, edge) == target:
                return rng.choice(_EDGES[edge]).format(noun(description, rng))
    return None


def _by_relation(
    things: Sequence[Thing],
    target: int,
    rng: random.Random,
    frames: Sequence[str],
    fewest: int,
    relations: Sequence[str] = (*RELATIONS, *TO_ANOTHER),
) -> str | None:
    """By where it stands with respect to another thing, at least so many attributes stated."""
    anchor = rng.choice([i for i in range(len(things)) if i != target])
    other = only(things, anchor, rng)
    for names in subsets(rng, fewest=fewest):
        description = describe(things[target], names)
        for relation in rng.sample(relations, len(relations)):
            if other and meant(things, description, relation, anchor) == target:
                words = noun(description, rng), rng.choice(PHRASES[relation]), noun(other, rng)
                return rng.choice(frames).format(*words)
    return None


def _short(things: Sequence[Thing], target: int, rng: random.Random) -> str | None:
    if rng.random() < 0.8:
        relations = DISTANCES if rng.random() < 0.8 else (*RELATIONS, *TO_ANOTHER)
        return _by_relation(things, target, rng, ("{} {} {}",), 0, relations)
    return rng.choice((_by_edge, _by_look))(things, target, rng)


def _long(things: Sequence[Thing], target: int, rng: random.Random) -> str | None:
    if rng.random() < 0.85:
        return _by_relation(things, target, rng, _LONG, 2)
    frame = rng.choice(("the {} among all the things on the floor", "there is one {}", "a {} standing somewhere"))
    return frame.format(noun(describe(things[target], tuple(ATTRIBUTES)), rng))


STYLES: dict[str, Callable[[Sequence[Thing], int, random.Random], str | None]] = {
    "refcoco": _short,
    "refcoco+": _by_look,
    "refcocog": _long,
}


def expressions(scene: Scene, style: str, target: int, seed: int) -> list[str]:
    """One to three different expressions, each of which means the target and nothing else in the scene.

    Args:
        scene: the scene.
        style: refcoco (short, places allowed), refcoco+ (looks only) or refcocog (long).
        target: which thing.
        seed: of the demo data.
    """
    rng = random.Random(f"{seed}/{style}/{scene.image_id}/{target}")
    wanted, found = rng.randint(1, 3), {}
    while len(found) < wanted:
        # Not every thing is an outermost one or stands clear of another, but each has a look of its own.
        written = [STYLES[style](scene.things, target, rng), _by_look(scene.things, target, rng)]
        found[next(text for text in written if text)] = None
        wanted -= len(found) < wanted and rng.random() < 0.3
    return list(found)
