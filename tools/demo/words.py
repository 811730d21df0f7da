"""How the demo data put a look, a place or a number into English: one meaning, several wordings."""

from __future__ import annotations

import random

from tools.demo.queries import Description

WORDS = {
    "sphere": ("sphere", "ball"),
    "cylinder": ("cylinder", "tube"),
    "ring": ("ring", "donut"),
    "cube": ("cube", "block", "box"),
    "cone": ("cone",),
    "pyramid": ("pyramid",),
    "small": ("small", "little", "tiny"),
    "large": ("large", "big"),
    "matte": ("matte", "dull"),
    "shiny": ("shiny", "glossy", "polished"),
    "gray": ("gray", "grey"),
}
ANYTHING = ("thing", "object")
PHRASES = {
    "left": ("left of", "to the left of", "on the left side of"),
    "right": ("right of", "to the right of", "on the right side of"),
    "behind": ("behind", "above"),
    "front": ("in front of", "below"),
    "near": ("next to", "near", "beside"),
    "closest": ("closest to", "nearest to"),
    "farthest": ("farthest from", "furthest from"),
}
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def noun(description: Description, rng: random.Random, plural: bool = False) -> str:
    """The description as a noun phrase without article, such as ``little red ball`` or ``shiny things``."""
    said = [rng.choice(WORDS.get(value, (value,))) for value in description[:3] if value is not None]
    head = rng.choice(WORDS[description.shape] if description.shape else ANYTHING)
    if plural:
        head += "es" if head.endswith("x") else "s"
    return " ".join((*said, head))


def a(phrase: str) -> str:
    """The phrase with its indefinite article."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def sentence(text: str) -> str:
    """The text as a sentence: first letter upper case, a full stop behind."""
    return f"{text[0].upper()}{text[1:]}."
