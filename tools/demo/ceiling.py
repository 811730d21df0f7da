"""What demo phrases can score, by linear probes and by oracles: ``python -m tools.demo.ceiling``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.arguments import Parser, home_path
from readers.box_readings import OVERLAP
from readers.boxes import overlaps
from readers.expressions import Expression, files_of, read_expressions
from readers.feature_store import FeatureStore
from readers.true_boxes import corners
from tools.demo.detector import MOST
from tools.demo.scenes import ATTRIBUTES
from tools.demo.words import PHRASES, WORDS

NOTHING = "nothing"  # what a region of the background shows
_VALUE_OF = {word: value for values in ATTRIBUTES.values() for value in values for word in WORDS.get(value, (value,))}
_RELATION = re.compile(f" (?:{'|'.join(said for wordings in PHRASES.values() for said in wordings)}) ")
_ROUNDS, _DECAY = 100, 1e-4  # of L-BFGS, and of the squared weights


class Regions(NamedTuple):
    """Regions of many images, and the thing each shows by the overlap with it."""

    features: Tensor  # (N,D)
    looks: list[tuple[str, ...]]  # size, material, color, shape; NOTHING for the background


class Ceiling(NamedTuple):
    """Shares of test regions and phrases that are right."""

    attributes: dict[str, float]  # of regions that show a thing
    by_look: float  # phrases of refcoco+, probes choosing the region
    oracle: float  # the same phrases where whatever region fits best is chosen
    placeless: dict[str, float]  # split -> phrases of refcoco for whoever knows every look and no place, on average


def measure(root: Path) -> Ceiling:
    """Train a probe per attribute on the training images' regions, and let the probes answer the test phrases.

    Probes are multinomial logistic regressions. A phrase's region is the one most probably of all values that it states
    and of some thing; what refcoco+ says is of looks alone. Who knows no place guesses evenly among the things that a
    phrase of refcoco may mean, and is wrong where no region overlaps the one meant by half.

    Args:
        root: a data root made by ``python -m tools.demo``.
    """
    things = {
        scene["image_id"]: scene for scene in json.loads((root / "scenes.json").read_text()) if scene["split"] != "val"
    }
    store = FeatureStore([root / "detfeat100_woref"])
    parts = {split: [i for i, scene in things.items() if scene["split"] == split] for split in ("train", "test")}
    train, test = (_regions(store, things, parts[split]) for split in ("train", "test"))
    probes = {name: _fit(train, place, name) for place, name in enumerate(ATTRIBUTES)}
    shown = [row for row, look in enumerate(test.looks) if NOTHING not in look]
    right = {
        name: float((probes[name](test.features).argmax(1) == _classes(test, place, name)).float()[shown].mean())
        for place, name in enumerate(ATTRIBUTES)
    }
    hits, reachable = zip(*(_answer(one, store, probes) for one in _test_phrases(root, "refcoco+")), strict=True)
    placeless = _guessing(_test_phrases(root, "refcoco"), things, store)
    return Ceiling(right, float(np.mean(hits)), float(np.mean(reachable)), placeless)


def _guessing(phrases: Iterable[Expression], scenes: dict[int, dict], store: FeatureStore) -> dict[str, float]:
    """Split -> share of its phrases that an even guess among what each may mean gets right, on average."""
    shares: dict[str, list[float]] = {}
    for one in phrases:
        looks = [tuple(thing[name] for name in ATTRIBUTES) for thing in scenes[one.image]["things"]]
        found = _shared_with_truth(one, store).max() >= OVERLAP
        shares.setdefault(one.split, []).append(1 / len(may_mean(one.tokens, looks)) if found else 0.0)
    return {split: float(np.mean(some)) for split, some in shares.items()}


def may_mean(tokens: Sequence[str], looks: Sequence[Sequence[str]]) -> list[int]:
    """Which things a phrase may mean for whoever knows their looks and nothing of their places.

    Args:
        tokens: its words.
        looks: size, material, color and shape of every thing.
    """
    meant, *anchor = _RELATION.split(" ".join(tokens), maxsplit=1)
    return [
        number
        for number, look in enumerate(looks)
        if _stated(meant) <= set(look) and not any(_stated(other) <= set(look) for other in anchor)
    ]


def _stated(text: str) -> set[str]:
    return {_VALUE_OF[word] for word in text.split() if word in _VALUE_OF}


def _test_phrases(root: Path, name: str) -> list[Expression]:
    return [one for one in read_expressions(files_of(root, name, "unc")) if one.split.startswith("test")]


def _shared_with_truth(phrase: Expression, store: FeatureStore) -> np.ndarray:
    """(R,) overlap of its image's regions with the true box."""
    _, boxes, _, _ = store.gather([phrase.image], MOST)
    return overlaps(boxes[0].double().numpy(), corners(np.array([phrase.bbox])))[:, 0]


def _regions(store: FeatureStore, scenes: dict[int, dict], images: Iterable[int]) -> Regions:
    features, looks = [], []
    for image in images:
        x, boxes, _, _ = store.gather([image], MOST)
        scene = scenes[image]["things"]
        shared = overlaps(boxes[0].double().numpy(), np.array([thing["box"] for thing in scene]))
        for best, share in zip(shared.argmax(1), shared.max(1), strict=True):
            look = tuple(scene[best][name] for name in ATTRIBUTES)
            looks.append(look if share >= OVERLAP else (NOTHING,) * len(look))
        features.append(x[0].float())
    return Regions(torch.cat(features), looks)


def _classes(regions: Regions, place: int, name: str) -> Tensor:
    values = [*ATTRIBUTES[name], NOTHING]
    return torch.tensor([values.index(look[place]) for look in regions.looks])


def _fit(regions: Regions, place: int, name: str) -> nn.Linear:
    classes = _classes(regions, place, name)
    probe = nn.Linear(regions.features.shape[1], len(ATTRIBUTES[name]) + 1)
    nn.init.zeros_(probe.weight)
    nn.init.zeros_(probe.bias)
    optimiser = torch.optim.LBFGS(probe.parameters(), max_iter=_ROUNDS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(probe(regions.features), classes) + _DECAY * probe.weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return probe.requires_grad_(False)


def _answer(phrase: Expression, store: FeatureStore, probes: dict[str, nn.Linear]) -> tuple[bool, bool]:
    """Whether the region that the probes choose overlaps the true box by half, and whether any does."""
    x = store.gather([phrase.image], MOST)[0]
    stated = _stated(" ".join(phrase.tokens))
    score = torch.zeros(x.shape[1])
    for name, values in ATTRIBUTES.items():
        logs = probes[name](x[0].float()).log_softmax(1)
        said = [place for place, value in enumerate(values) if value in stated]
        score += logs[:, said[0]] if said else logs[:, : len(values)].logsumexp(1)
    shared = _shared_with_truth(phrase, store)
    return shared[score.argmax()] >= OVERLAP, shared.max() >= OVERLAP


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and say it."""
    parser = Parser(prog="python -m tools.demo.ceiling", description=__doc__)
    parser.add_argument("--root", type=home_path, default=Path("data/demo"), help="a data root of the demo's")
    found = measure(parser.parse_args(arguments).root)
    attributes = ", ".join(f"{name} {100 * share:.1f}" for name, share in found.attributes.items())
    print(f"linear probes on test regions that show a thing, percent right: {attributes}")
    look, oracle = 100 * found.by_look, 100 * found.oracle
    print(f"phrases by looks alone (refcoco+), percent right: {look:.1f} by these probes, {oracle:.1f} by an oracle")
    guessed = ", ".join(f"{split} {100 * share:.1f}" for split, share in found.placeless.items())
    print(f"phrases of refcoco for whoever knows every look and no place, percent right on average: {guessed}")


if __name__ == "__main__":
    main()
