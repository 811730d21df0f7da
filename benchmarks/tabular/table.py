"""The table: scores of every architecture, and what every search's supernet made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import read_json, write_json

SHIPPED = Path(__file__).parent / "grounding.json"


@dataclass(frozen=True)
class Search:
    """A supernet that was trained.

    Args:
        estimator: of alpha's gradient.
        sampler: of the paths that trained the weights.
        seed: of all that is random.
        losses: of every architecture with its weights, on each part of the samples that judge.
        probabilities: of every block's candidates, encoder first.
        picks: by selector, the number of an architecture.
        rounds: of halving, what each architecture that was still there lost.
        picking: seconds that each selector takes alone, judging included where it asks for it.
        selecting: seconds that all of them took together, judging once.
        seconds: of all of it, every selector included.
    """

    estimator: str
    sampler: str
    seed: int
    losses: Sequence[Sequence[float]]
    probabilities: Sequence[Sequence[float]]
    picks: Mapping[str, int]
    rounds: Sequence[Mapping[str, float]]
    picking: Mapping[str, float]
    selecting: float
    seconds: float


@dataclass(frozen=True)
class Table:
    """What there is to look up.

    Args:
        made_with: commit, date, processor and the recipe, by dotted key; under ``scores`` those of the scores, where
            these are of another table.
        encoder: candidates of every block.
        decoder: the same; architectures are numbered with the last block's candidates following each other.
        flops: of every architecture.
        scores: of every architecture, by training seed, in percent.
        training_seconds: the median, where the searches ran.
        searches: all that are done.
        again: number, training seed and score of architectures trained again where the searches ran, if the scores are
            of another table.
    """

    made_with: Mapping[str, Any]
    encoder: Sequence[Sequence[str]]
    decoder: Sequence[Sequence[str]]
    flops: Sequence[int]
    scores: Sequence[Sequence[float]]
    training_seconds: float
    searches: Sequence[Search]
    again: Sequence[tuple[int, int, float]] = ()

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        write_json(path, asdict(self), indent=None)


def load(path: Path = SHIPPED) -> Table:
    """Read a table.

    Raises:
        UserError: there is none, or it is none of this program.
    """
    if not path.exists():
        raise UserError(f"{path} is missing; python -m benchmarks.tabular.fill makes it, in a night or two")
    raw = read_json(path, "a table of trained architectures")
    try:
        return Table(**{**raw, "searches": [Search(**one) for one in raw["searches"]]})
    except (TypeError, KeyError) as error:
        raise UserError(f"{path} is no table of python -m benchmarks.tabular.fill: {error}") from None
