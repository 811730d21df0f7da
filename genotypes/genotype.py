"""A genotype: the operation in each block of encoder and decoder, and what is known about where it came from."""

from __future__ import annotations

import dataclasses
import glob
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import UserError, brief, did_you_mean
from common.files import read_json, write_json
from genotypes import forms

PUBLISHED = Path(__file__).parent / "published"
SEARCHED = Path("genotypes/searched")  # where searches leave theirs unless told otherwise
SCHEMA = 1
LARGEST = 1e300  # no number of a genotype is
SIDES = ("encoder", "decoder")

Probabilities = Mapping[str, Sequence[Mapping[str, float]]]
Swaps = Mapping[str, Sequence[Mapping[str, Sequence[float]]]]


class Swap(NamedTuple):
    """Another operation for a block, and what the loss would change by as a share of it: the mean and its interval."""

    operation: str
    mean: float
    low: float
    high: float

    @property
    def undecided(self) -> bool:
        """Whether the other operation could as well stand there: the interval includes zero."""
        return self.low <= 0 <= self.high

    @property
    def percent(self) -> str:
        """The change in words, such as ``"+3.1 ± 1.9 %"``."""
        digits = 0 if abs(self.mean) > 0.1 else 1
        return f"{100 * self.mean:+.{digits}f} ± {50 * (self.high - self.low):.{digits}f} %"


@dataclass(frozen=True)
class Genotype:
    """An architecture. Two genotypes are equal where encoder and decoder are, whatever else is known about them.

    Args:
        task: stem of the task it was searched for, or None where that is unknown.
        encoder: names of the encoder's operations, first block first.
        decoder: names of the decoder's operations, first block first.
        space: the search space it was chosen from, as the configuration had it.
        provenance: where it came from: configuration, seed, commit, data, date, or a paper.
        probabilities: per side a ``{operation: probability}`` for each block.
        cost: what the network costs, such as ``{"parameters": int, "flops": int}``.
        swaps: per side a ``{operation: [mean, low, high]}`` for each block: what the search's loss would change by, as
            a share of it, with that operation in the block instead, and the interval of 95 % confidence.
        supernet: how good the search's supernet found it, as numbers by name; docs/metrics.md has them as ``picked/``.

    Raises:
        UserError: a field is not of this shape.
    """

    task: str | None = field(compare=False)
    encoder: tuple[str, ...]
    decoder: tuple[str, ...]
    space: Mapping[str, Any] | None = field(default=None, compare=False)
    provenance: Mapping[str, Any] = field(default_factory=dict, compare=False)
    probabilities: Probabilities | None = field(default=None, compare=False)
    cost: Mapping[str, Any] | None = field(default=None, compare=False)
    swaps: Swaps | None = field(default=None, compare=False)
    supernet: Mapping[str, float] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.task is not None and not isinstance(self.task, str):
            raise UserError(f"a genotype's 'task' must be a name or null, not {brief(self.task)}")
        for side in SIDES:
            # The frozen class still owes its callers tuples, whatever sequence JSON or a tensor library gave them.
            object.__setattr__(self, side, _operations(side, getattr(self, side)))
        if self.space is not None:
            _mapping("space", self.space)
        _mapping("provenance", self.provenance)
        for key in ("cost", "supernet"):
            given = getattr(self, key)
            if given is not None and not all(map(_is_number, _mapping(key, given).values())):
                raise UserError(f"a genotype's {key!r} must hold numbers by name, not {brief(given)}")
        self._check_blocks("probabilities", _are_probabilities, "{operation: number from 0 to 1}")
        self._check_blocks("swaps", _are_changes, "{operation: [change, low, high]}")

    def _check_blocks(self, key: str, fits: Callable[[Sequence[Any]], bool], form: str) -> None:
        """Make sure that a field, if known, says something of every block."""
        if getattr(self, key) is None:
            return
        given = _mapping(key, getattr(self, key))
        if set(given) != set(SIDES):
            raise UserError(f"a genotype's {key!r} must have the keys encoder and decoder, not {brief([*given])}")
        for side in SIDES:
            blocks, wanted = given[side], len(getattr(self, side))
            if not isinstance(blocks, Sequence) or isinstance(blocks, str) or len(blocks) != wanted:
                raise UserError(f"a genotype's {key} of the {side} must be a list of {wanted}, one per block")
            for number, block in enumerate(blocks, 1):
                if not isinstance(block, Mapping) or not fits([*block.values()]):
                    raise UserError(f"a genotype's {key} of {side} block {number} must be {form}, not {brief(block)}")

    @property
    def origin(self) -> str | None:
        """Where it came from, in words; None where nothing is known."""
        source, date = (self.provenance.get(key) for key in ("source", "date"))
        if source is not None or "config" not in self.provenance:
            return None if source is None else str(source)
        return f"a search with seed {self.provenance.get('seed')}, {str(date)[:10]}"

    def probability(self, side: str, number: int) -> float | None:
        """Probability of the operation that stands in block ``number`` (from 0) of a side, or None if unknown."""
        if self.probabilities is None:
            return None
        return self.probabilities[side][number].get(getattr(self, side)[number])

    def others(self, side: str, number: int) -> tuple[Swap, ...]:
        """The other operations for block ``number`` (from 0) of a side, best first; none where they are unknown."""
        swaps = self.swaps[side][number] if self.swaps else {}
        return tuple(sorted((Swap(name, *change) for name, change in swaps.items()), key=lambda swap: swap.mean))

    def replace(self, **changes: Any) -> Genotype:
        """The same genotype with some fields changed."""
        return dataclasses.replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values; ``from_dict`` reads it."""
        return {
            "schema": SCHEMA,
            "task": self.task,
            "encoder": list(self.encoder),
            "decoder": list(self.decoder),
            "space": self.space,
            "provenance": self.provenance,
            "probabilities": self.probabilities and {s: [dict(b) for b in self.probabilities[s]] for s in SIDES},
            "cost": self.cost,
            "swaps": self.swaps and {s: [dict(b) for b in self.swaps[s]] for s in SIDES},
            "supernet": self.supernet,
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Genotype:
        """Read what ``as_dict`` gave.

        Raises:
            UserError: a key is missing, unknown, or holds something else than it should.
        """
        if not isinstance(d, Mapping):
            raise UserError(f"a genotype must be a JSON object with the keys encoder and decoder, not {_kind(d)}")
        known = {name.name for name in dataclasses.fields(cls)} | {"schema"}
        for key in SIDES:
            if key not in d:
                raise UserError(f"a genotype needs the key {key!r}: a list of operations")
        for key in d:
            if key not in known:
                raise UserError(f"a genotype has no key {brief(key)}{did_you_mean(str(key), known)}")
        if d.get("schema", SCHEMA) != SCHEMA:
            raise UserError(
                f"a genotype's 'schema' is {brief(d['schema'])}, but this program reads {SCHEMA}; update it"
            )
        fields = {key: value for key, value in d.items() if key != "schema"}
        return cls(**{"task": None, **fields})

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write our JSON form, whole or not at all, and give back where it is."""
        write_json(path, self.as_dict())
        return Path(path)


def _operations(side: str, given: Any) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise UserError(f"a genotype's {side!r} must be a list of operations, not {_kind(given)}")
    if not given:
        raise UserError(f"a genotype's {side!r} is empty; it must name at least one operation")
    for number, name in enumerate(given, 1):
        if not isinstance(name, str) or not name:
            raise UserError(f"a genotype's {side!r} must hold names of operations, block {number} is {brief(name)}")
    return tuple(given)


def _mapping(key: str, given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise UserError(f"a genotype's {key!r} must be a JSON object, not {_kind(given)}")
    return given


def _are_probabilities(values: Sequence[Any]) -> bool:
    # Rounding in single precision may carry a softmax a hair above one.
    return bool(values) and all(_is_number(value) and 0 <= value <= 1 + 1e-5 for value in values)


def _are_changes(values: Sequence[Any]) -> bool:
    return all(isinstance(value, list | tuple) and len(value) == 3 and all(map(_is_number, value)) for value in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST < value < LARGEST


def _kind(value: Any) -> str:
    return {str: "a text", list: "a list", dict: "an object", type(None): "nothing"}.get(type(value), brief(value))


def load(reference: str) -> Genotype:
    """Read a genotype from anywhere.

    Args:
        reference: the path of a file in any form that ``forms`` knows, ``path@epoch`` for one of several epochs
            (without it the last one is taken), or the name of a published genotype.

    Raises:
        UserError: there is no such file, name or epoch, or the file is not a genotype.
    """
    path, epoch = forms.split(os.fspath(reference))
    names = published()
    if path in names and not os.path.exists(path):
        path = str(names[path])
    elif not os.path.exists(path) and os.sep not in path and not Path(path).suffix:
        searched = sorted(SEARCHED.glob(f"*/{glob.escape(path)}.json"))
        close = f"; did you mean {searched[0]}?" if searched else did_you_mean(path, names)
        raise UserError(f"there is no genotype {path!r}; give a path or one of {', '.join(names)}{close}")
    found = forms.read(path, epoch)
    try:
        return Genotype.from_dict(found)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def published() -> dict[str, Path]:
    """Names and files of the published genotypes that come with the program."""
    return {path.stem: path for path in sorted(PUBLISHED.glob("*.json"))}


def save_epochs(history: Sequence[Genotype], path: str | os.PathLike[str]) -> None:
    """Write a genotype per epoch: the older form at ``path``, ours with probabilities beside it.

    Args:
        history: the genotypes, epoch 0 first.
        path: the file for older tools; ours has the suffix ``.alphas.json`` instead of ``.json``.

    Raises:
        UserError: the folder cannot be written.
    """
    path = Path(path)
    write_json(path.with_suffix(".alphas.json"), forms.ours([genotype.as_dict() for genotype in history]), indent=None)
    write_json(path, forms.older([(genotype.encoder, genotype.decoder) for genotype in history]))


def load_epochs(path: str | os.PathLike[str]) -> list[Genotype]:
    """The genotypes that ``save_epochs`` wrote, epoch 0 first.

    Raises:
        UserError: there are none, or they are damaged.
    """
    path = Path(path).with_suffix(".alphas.json")
    found = read_json(path, "the genotypes of a search by epoch")
    epochs = found.get("epochs") if isinstance(found, Mapping) else None
    if not isinstance(epochs, Mapping):
        raise UserError(f"{path} has no epochs; it should be the genotypes of a search by epoch")
    return [Genotype.from_dict(epoch) for epoch in epochs.values()]
