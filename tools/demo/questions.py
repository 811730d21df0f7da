"""Questions about the demo scenes, drawn so that answers are spread evenly, and ten annotators who sometimes err."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tools.demo.queries import RELATIONS, Description, describe, fitting, meant, only, subsets
from tools.demo.scenes import ATTRIBUTES, Scene, Thing
from tools.demo.words import PHRASES, WORDS, noun

FEWEST, MOST = 12, 20  # questions an image
ANNOTATORS = 10
_EITHER = ("yes", "no", "left", "right", "small", "large", "matte", "shiny")  # answers with one opposite each
_TRIES = 12  # candidates a question is chosen from
_ERRING = ((0, 1, 2, 3), (60, 25, 10, 5))  # how many annotators stray, and how often


class Question(NamedTuple):
    """A question and its true answer.

    Args:
        text: the question.
        answer: the true answer, in the wording most annotators use.
        template: the first words, which are VQA's question type.
        stated: what its descriptions state; answers are balanced within template and stated.
    """

    text: str
    answer: str
    template: str
    stated: tuple[str, ...] = ()


def _altered(description: Description, rng: random.Random) -> Description:
    name = rng.choice(description.said)
    return description._replace(**{name: rng.choice(ATTRIBUTES[name])})


def _some(things: Sequence[Thing], rng: random.Random) -> Description:
    return _altered(describe(rng.choice(things), rng.choice(subsets(rng)[:8])), rng)


def _yes(truth: bool) -> str:
    return "yes" if truth else "no"


def _existence(things: Sequence[Thing], rng: random.Random) -> Question | None:
    wanted = _some(things, rng)
    if wanted.color is None and wanted.shape is None:
        return None  # nearly every scene has something large, and the answer could be guessed
    start, plural = rng.choice((("is there a", False), ("are there any", True), ("can you see a", False)))
    words = noun(wanted, rng, plural)
    article = "n" if start.endswith(" a") and words[0] in "aeiou" else ""
    end = rng.choice(("", " in the picture", " here"))
    return Question(f"{start}{article} {words}{end}?", _yes(bool(fitting(things, wanted))), start, wanted.said)


def _count(things: Sequence[Thing], rng: random.Random) -> Question:
    wanted = _some(things, rng) if rng.random() < 0.8 else Description()
    start, end = rng.choice((("how many", "are there"), ("what number of", "can be seen"), ("how many", "do you see")))
    text = f"{start} {noun(wanted, rng, plural=True)} {end}?"
    return Question(text, str(len(fitting(things, wanted))), start, wanted.said)


_ASKED = {
    "color": ("what color is the {}?", "what is the color of the {}?"),
    "shape": ("what shape is the {}?", "what is the shape of the {}?"),
    "size": ("what size is the {}?", "is the {} large or small?", "how big is the {}?"),
    "material": ("what is the finish of the {}?", "is the {} shiny or matte?"),
}


def _asked(name: str, words: str, rng: random.Random) -> tuple[str, str]:
    frame = rng.choice(_ASKED[name])
    start = frame.split(" {}")[0]
    return frame.format(words), start if start != "is the" else f"is the {frame.split('{} ')[1][:-1]}"


def _attribute(things: Sequence[Thing], rng: random.Random) -> Question | None:
    name, target = rng.choice((*ATTRIBUTES, "color", "shape", "color", "shape")), rng.randrange(len(things))
    description = only(things, target, rng, without=name)
    if description is None:
        return None
    text, start = _asked(name, noun(description, rng), rng)
    return Question(text, getattr(things[target], name), start, description.said)


def _attribute_of_related(things: Sequence[Thing], rng: random.Random) -> Question | None:
    name, anchor = rng.choice(("color", "shape", "color", "size")), rng.randrange(len(things))
    relation = rng.choice(("closest", "closest", "farthest", *RELATIONS))
    described = Description()
    if name != "shape" and rng.random() < 0.4:
        described = describe(rng.choice(things), ["shape"])
    target, other = meant(things, described, relation, anchor), only(things, anchor, rng)
    if target is None or other is None:
        return None
    words = f"{noun(described, rng)} {rng.choice(PHRASES[relation])} the {noun(other, rng)}"
    text, start = _asked(name, words, rng)
    return Question(text, getattr(things[target], name), start, (relation,))


def _more(things: Sequence[Thing], rng: random.Random) -> Question | None:
    name = rng.choice(list(ATTRIBUTES))
    pool = [*dict.fromkeys(getattr(thing, name) for thing in things)] if rng.random() < 0.7 else ATTRIBUTES[name]
    if len(pool) < 2:
        return None
    first, second = (Description(**{name: value}) for value in rng.sample(pool, 2))
    many, few = len(fitting(things, first)), len(fitting(things, second))
    ways = (("more", "than", many > few), ("fewer", "than", many < few), ("as many", "as", many == few))
    amount, link, truth = rng.choice(ways)
    start = f"are there {amount}"
    text = f"{start} {noun(first, rng, plural=True)} {link} {noun(second, rng, plural=True)}?"
    # Of two sizes the small one is often the more frequent, so those are balanced by which is named first.
    stated = (name,) if len(ATTRIBUTES[name]) > 2 else (getattr(first, name),)
    return Question(text, _yes(truth), start, stated)


def _two(things: Sequence[Thing], rng: random.Random, without: str | None = None) -> tuple[int, int, str, str] | None:
    i, j = rng.sample(range(len(things)), 2)
    first, second = only(things, i, rng, without), only(things, j, rng, without)
    return (i, j, noun(first, rng), noun(second, rng)) if first and second else None


def _same(things: Sequence[Thing], rng: random.Random) -> Question | None:
    name = rng.choice(list(ATTRIBUTES))
    two = _two(things, rng, without=name)
    if two is None:
        return None
    i, j, first, second = two
    asked = "finish" if name == "material" else name
    truth = getattr(things[i], name) == getattr(things[j], name)
    start, link = rng.choice((("does the", f"have the same {asked} as the"), ("is the", f"of the same {asked} as the")))
    return Question(f"{start} {first} {link} {second}?", _yes(truth), f"{start} same", (name,))


def _stands(things: Sequence[Thing], rng: random.Random) -> Question | None:
    two = _two(things, rng)
    relation = rng.choice(list(RELATIONS))
    truth = two and RELATIONS[relation](things[two[0]], things[two[1]])
    if two is None or truth is None:
        return None
    start = rng.choice(("is the", "does the"))
    link = ("" if start == "is the" else rng.choice(("stand ", "lie "))) + rng.choice(PHRASES[relation])
    return Question(f"{start} {two[2]} {link} the {two[3]}?", _yes(truth), start, (relation,))


def _side(things: Sequence[Thing], rng: random.Random) -> Question | None:
    two = _two(things, rng)
    truth = two and RELATIONS["left"](things[two[0]], things[two[1]])
    if two is None or truth is None:
        return None
    text = f"on which side of the {two[3]} is the {two[2]}, left or right?"
    return Question(text, "left" if truth else "right", "on which side")


Kind = Callable[[Sequence[Thing], random.Random], Question | None]
# As often as to come near VQA v2's shares of yes/no, number and other: 38, 12 and 50 %.
_KINDS: dict[Kind, int] = {
    _existence: 7,
    _count: 5,
    _attribute: 10,
    _attribute_of_related: 4,
    _more: 1,
    _same: 1,
    _stands: 3,
    _side: 1,
}


class Asker:
    """Asks about scene after scene of one split; answers that a wording has had more than others must wait."""

    def __init__(self) -> None:
        self._had: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)

    def ask(self, scene: Scene, count: int, rng: random.Random) -> list[Question]:
        """So many different questions about a scene."""
        asked: dict[str, Question] = {}
        while len(asked) < count:
            kind = rng.choices(list(_KINDS), list(_KINDS.values()))[0]
            question = self._choose(kind, scene.things, rng)
            if question and question.text not in asked:
                asked[question.text] = question
                for group in _groups(question):
                    self._had[group][question.answer] += 1
        return list(asked.values())

    def _choose(self, kind: Kind, things: Sequence[Thing], rng: random.Random) -> Question | None:
        """The first candidate whose answer is not ahead; else the one least ahead, where there are many answers."""
        drawn: list[tuple[float, Question]] = []
        for _ in range(_TRIES):
            question = kind(things, rng)
            if question is None:
                continue
            ahead = max(self._ahead(group, question.answer) for group in _groups(question))
            if ahead <= 0.5:
                return question
            if question.answer not in _EITHER:
                drawn.append((ahead, question))
        return min(drawn)[1] if drawn else None

    def _ahead(self, group: tuple[str, ...], answer: str) -> float:
        had = self._had[group]
        return had[answer] - had.total() / max(2, len(had))


def _groups(question: Question) -> list[tuple[str, ...]]:
    stated = (question.template, *question.stated)
    # Nine or ten of a kind are all things together: to ask for them as often as for two would ask little else.
    return [stated] if question.answer.isdecimal() else [(question.template,), stated]


def answer_type(question: Question) -> str:
    """yes/no, number or other, as VQA v2 sorts them."""
    if question.answer in ("yes", "no"):
        return "yes/no"
    return "number" if question.answer.isdecimal() else "other"


def annotate(question: Question, rng: random.Random) -> list[dict[str, Any]]:
    """Ten annotators' answers; at least seven give the true one."""
    stray = rng.choices(*_ERRING)[0]
    given = [question.answer] * (ANNOTATORS - stray) + [_mistaken(question.answer, rng) for _ in range(stray)]
    rng.shuffle(given)
    sure = ("yes", "yes", "yes", "maybe", "no")
    return [
        {"answer": answer, "answer_confidence": rng.choice(sure), "answer_id": number}
        for number, answer in enumerate(given, 1)
    ]


def _mistaken(answer: str, rng: random.Random) -> str:
    """Another word for it, or a mistake people make."""
    for one, other in (("yes", "no"), ("left", "right")):
        if answer in (one, other):
            return other if answer == one else one
    if answer.isdecimal():
        return str(max(0, int(answer) + rng.choice((-1, 1))))
    kind = next(values for values in ATTRIBUTES.values() if answer in values)
    return rng.choice([word for word in (*WORDS.get(answer, ()), *kind) if word != answer])
