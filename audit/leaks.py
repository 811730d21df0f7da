"""The leak audit before a run: what is trained on is not tested, by ids, texts and features. One line, or a refusal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from audit.copies import copies
from audit.digest import Digest
from common.errors import UserError
from readers.entries import first_few
from tasks.base import Split, Task

TRAIN, VAL = "train", "val"
IDS = ("images", "ref_ids")  # one that two splits share is a breach
# Of texts, boxes and features large sets hold a few twice by themselves: COCO has annotations and pictures that do.
BY_CHANCE = 0.001

Contents = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Args:
        checked: what was held against what, in a line.
        leaks: the breaches, a clause each.
        inherited: breaches that were allowed when the genotype or the network was made.
        notes: what is no breach but should be known.
        trained_on: the images that the run trains on; None where it trains nothing.
    """

    checked: str
    leaks: Sequence[str]
    inherited: Sequence[str] = ()
    notes: Sequence[str] = ()
    trained_on: Digest | None = None

    @property
    def all_leaks(self) -> list[str]:
        """Those of this run and those that it builds on."""
        return [*self.leaks, *self.inherited]

    @property
    def lines(self) -> list[str]:
        """For people: one line, and one for whatever else should be known."""
        found = f"LEAK ALLOWED (allow_leak=true): {'; '.join(self.leaks)}" if self.leaks else self.checked
        before = [f"warning: builds on a leak that was allowed: {leak}" for leak in self.inherited]
        return [f"leak audit: {found}", *before, *self.notes]

    def as_dict(self) -> dict[str, Any]:
        """For the files that hold numbers."""
        return {"line": self.lines[0], "leaks": self.all_leaks, "notes": [*self.notes]}

    def enforce(self, allowed: bool) -> Audit:
        """The audit itself, unless it found a breach that is not allowed.

        Raises:
            UserError: it did.
        """
        if self.leaks and not allowed:
            raise UserError(
                f"leak audit: {'; '.join(self.leaks)}; mend the files of the splits, or say allow_leak=true "
                '(ARGS="allow_leak=true"), which is recorded in every number written from then on'
            )
        return self


def audit_training(
    task: Task, halves: Sequence[Split] = (), opened: Sequence[str] = (), made: Mapping[str, Any] | None = None
) -> Audit:
    """Before a search or a training.

    Args:
        task: over its data; of the splits that are tested later those are checked whose files are there.
        halves: the parts of a search's training data for weights and architecture.
        opened: splits whose features are needed anyway; others are looked for among those of training.
        made: the provenance of the genotype that is trained.

    Raises:
        UserError: the training data are missing or broken.
    """
    parts, absent = {TRAIN: task.contents(TRAIN)}, []
    for name in dict.fromkeys((VAL, *task.test_splits)):
        if name not in task.trained_on:
            try:
                parts[name] = task.contents(name)
            except UserError as error:  # a search needs no test
                absent.append(f"{name} not looked at ({error})")
    held = [name for name in parts if name != TRAIN]
    stores = {name: task.features(name) if name in opened else task.store for name in parts}
    alike = copies({name: part["images"] for name, part in parts.items()}, stores)
    leaks = [*_against(task, parts, held, TRAIN, alike), *_sides(halves)]
    if VAL in held:
        leaks += _against(task, parts, [name for name in held if name != VAL], VAL, alike)
    notes, inherited = _of_genotype(made or {}, task, {name: parts[name]["images"] for name in held})
    checked = _checked(task, parts, halves, absent)
    return Audit(checked, leaks, inherited, notes, Digest.of(task, parts[TRAIN]["images"]))


def audit_scoring(
    task: Task,
    names: Sequence[str],
    trained_on: Digest | None,
    made: Mapping[str, Any],
    before: Sequence[str] = (),
) -> Audit:
    """Before a trained network is scored.

    Args:
        task: over the data it is scored on.
        names: the splits.
        trained_on: what it was trained on; None where its file does not say.
        made: the provenance of its genotype.
        before: breaches that were allowed when it was trained.

    Raises:
        UserError: the data are missing or broken.
    """
    stores = {name: task.features(name) for name in names}
    parts = {name: task.contents(name) for name in names}
    tested = {name: parts[name]["images"] for name in names}
    notes, inherited = _of_genotype(made, task, tested)
    inherited = [*(f"in the training of this network: {leak}" for leak in before), *inherited]
    store = stores[names[0]]
    if trained_on is not None and not trained_on.means_the_same(task, store):
        whose = trained_on.namespace or "another data root"
        checked = f"the network was trained on {len(trained_on.ids):,} images of {whose}, whose ids say nothing here"
        return Audit(checked, (), inherited, notes)
    parts[TRAIN], note = _trained(task, trained_on)
    alike = copies({name: part["images"] for name, part in parts.items()}, {**stores, TRAIN: store})
    leaks = [*_against(task, parts, names, TRAIN, alike)]
    checked = f"the network's {_checked(task, parts, (), ())}{note}"
    return Audit(checked, leaks, inherited, notes)


def _trained(task: Task, trained_on: Digest | None) -> tuple[Contents, str]:
    """What a network was trained on, and what there is to say of that."""
    if trained_on is None:
        told = "; the network does not say what it was trained on, train is what this data would train on"
        return task.contents(TRAIN), told
    here = task.contents(TRAIN)
    same = np.array_equal(np.unique(here["images"]), trained_on.ids)
    return here if same else {"images": trained_on.ids}, ""


def _against(
    task: Task, parts: Mapping[str, Contents], names: Sequence[str], other: str, alike: Mapping[int, int]
) -> Iterator[str]:
    """What splits have of another one; ``alike`` is what ``copies`` found of all."""
    for name in names:
        by_image = task.divided_by == "image" or {name, other} != {TRAIN, VAL}
        for what in parts[name].keys() & parts[other].keys():
            own = np.unique(parts[name][what])
            shared = np.intersect1d(own, parts[other][what])
            if (what != "images" or by_image) and len(shared) > (0 if what in IDS else BY_CHANCE * len(own)):
                which = f" ({first_few(shared)})" if what != "sets of captions" else ""
                yield f"{len(shared):,} of {name}'s {len(own):,} {what} are {other}'s{which}"
        if by_image:
            yield from _copied(name, parts[name]["images"], other, parts[other]["images"], alike)


def _copied(name: str, images: np.ndarray, other: str, others: np.ndarray, alike: Mapping[int, int]) -> Iterator[str]:
    known = {alike[image]: image for image in np.unique(others).tolist() if image in alike}
    own = np.setdiff1d(images, others)
    pairs = [f"{image} as {known[alike[image]]}" for image in own.tolist() if alike.get(image) in known]
    if len(pairs) > BY_CHANCE * len(np.unique(images)):
        yield f"{len(pairs):,} of {name}'s images have the very features of one of {other}'s ({first_few(pairs)})"


def _sides(halves: Sequence[Split]) -> Iterator[str]:
    """What the architecture's half of the training data has of the weights', by its samples or its negatives."""
    if halves:
        shared = np.intersect1d(*(half.seen_images for half in halves))
        if len(shared):
            yield f"{len(shared):,} images stand in the architecture's half and in the weights' ({first_few(shared)})"


def _of_genotype(made: Mapping[str, Any], task: Task, tested: Mapping[str, np.ndarray]) -> tuple[list[str], list[str]]:
    """What is to be said of the search that found a genotype: notes, and breaches that were allowed."""
    then = made.get("audit")
    leaks = then.get("leaks") if isinstance(then, dict) else None
    inherited = [f"in the search of the genotype: {leak}" for leak in leaks] if isinstance(leaks, list) else []
    if "trained_on" not in made:
        return [], inherited
    digest = Digest.from_dict(made["trained_on"], "the genotype's provenance")
    notes = []
    if digest.means_the_same(task, task.store):
        for name, images in tested.items():
            own = np.unique(images)
            seen = int(np.isin(own, digest.ids).sum())
            if seen:
                notes.append(
                    f"note: the genotype was searched on {seen:,} of the {len(own):,} images of {name} "
                    f"(by {digest.namespace or 'their'} ids)"
                )
    return notes, inherited


def _checked(task: Task, parts: Mapping[str, Contents], halves: Sequence[Split], absent: Sequence[str]) -> str:
    """What was checked, where all of it holds."""
    counts = ", ".join(f"{name} {len(np.unique(part['images'])):,}" for name, part in parts.items())
    shared = "train shares none with another" if VAL not in parts else "neither train nor val shares one with another"
    said = [f"{counts} images: {shared}, by id or by features"]
    if VAL in task.trained_on:
        said.append("val is trained on and no result")
    if task.divided_by != "image":
        both = len(np.intersect1d(parts[TRAIN]["images"], parts[VAL]["images"])) if VAL in parts else 0
        said = [
            f"{counts} images: divided by {task.divided_by}, so {both:,} of val's are train's; no object is in both"
        ]
    if halves:
        weights, architecture = (len(np.unique(half.image_ids)) for half in halves)
        said.append(f"weights {weights:,}, architecture {architecture:,}: none on both sides, negatives included")
    if absent:
        said += absent
    return "; ".join(said)
