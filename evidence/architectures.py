"""The networks that a searched one is held against: random ones of its space, and layouts made by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle, islice

import numpy as np

from common.errors import UserError
from genotypes.genotype import Genotype
from space.ops import OPS
from space.settings import SideSettings, SpaceSettings

POOL = 200  # drawn, of which the largest and the one of a wanted size are taken
GUIDED = 5  # random networks with a guided attention, at least
PATIENCE = 10_000  # draws without one that fits, after which there is none
MCAN = ("self attention", "guided attention", "feed forward")  # a layer of its decoder; its encoder's has no guided one


def draw(space: SpaceSettings, rng: np.random.Generator) -> Iterator[Genotype]:
    """Architectures of a space, uniformly, each once; those of a stream begin alike however many are taken.

    Ends where the space, as far as ``PATIENCE`` draws can tell, has no other.
    """
    seen: set[Genotype] = set()
    missed = 0
    while missed < PATIENCE:
        sides = [tuple(rng.choice(side.candidates, side.blocks).tolist()) for side in (space.encoder, space.decoder)]
        found = Genotype(None, *sides)
        missed = missed + 1 if found in seen else 0
        if not missed:
            seen.add(found)
            yield found


def random(space: SpaceSettings, count: int, seed: int) -> list[Genotype]:
    """So many distinct architectures, drawn by the seed; fewer of the same seed are the first of more.

    Raises:
        UserError: the space has not so many.
    """
    if space.architectures < count:
        raise UserError(
            f"the space has {space.architectures:,} architectures, too few for {count} different random ones; lower "
            'random (ARGS="random=...") or enlarge the space'
        )
    return [*islice(draw(space, np.random.default_rng([seed, 0])), count)]


def pool(space: SpaceSettings, seed: int) -> list[Genotype]:
    """``POOL`` architectures, or all of a smaller space."""
    return [*islice(draw(space, np.random.default_rng([seed, 1])), min(POOL, space.architectures))]


def controls(
    space: SpaceSettings,
    drawn: Sequence[Genotype],
    pooled: Sequence[Genotype],
    flops: Callable[[Genotype], int],
    seed: int,
) -> dict[str, list[Genotype]]:
    """The controls that are known before any search, by name; those the space cannot hold are left out.

    Args:
        space: what is searched.
        drawn: the random networks that are trained anyway.
        pooled: of ``pool``.
        flops: FLOPs of a network.
        seed: of whatever is drawn besides.
    """
    guided = _of_kind(space.decoder, "guided attention")
    made = {
        "with guided attention": _with_guided(space, drawn, seed) if guided else [],
        "all guided": [*_layout(space, ("guided attention", "feed forward"))] if guided else [],
        "MCAN": [*_layout(space, MCAN)] if guided else [],
        "largest": [max(pooled, key=flops)],
    }
    return {name: networks for name, networks in made.items() if networks}


def matched(pooled: Sequence[Genotype], searched: Sequence[Genotype], flops: Callable[[Genotype], int]) -> Genotype:
    """The one of the pool, not itself searched, whose FLOPs are closest to the mean of those searched."""
    wanted = float(np.mean([*map(flops, searched)]))
    others = [one for one in pooled if one not in searched] or pooled
    return min(others, key=lambda one: abs(flops(one) - wanted))


def guides(network: Genotype) -> bool:
    """Whether the text enters its decoder anywhere."""
    return any(OPS[name].reads_text for name in network.decoder)


def _with_guided(space: SpaceSettings, drawn: Sequence[Genotype], seed: int) -> list[Genotype]:
    """Those of the random networks, which cost nothing more, and others where these are fewer than ``GUIDED``."""
    found = [one for one in drawn if guides(one)]
    others = (one for one in draw(space, np.random.default_rng([seed, 2])) if guides(one) and one not in found)
    return found + [*islice(others, max(0, GUIDED - len(found)))]


def _layout(space: SpaceSettings, pattern: Iterable[str]) -> Iterator[Genotype]:
    """Decoder blocks of these kinds in turns, as many as fit, and MCAN's encoder; nothing where a side stays empty."""
    encoder = _repeated(space.encoder, [kind for kind in MCAN if kind != "guided attention"])
    decoder = _repeated(space.decoder, pattern)
    if encoder and decoder:
        yield Genotype(None, encoder, decoder)


def _repeated(side: SideSettings, pattern: Iterable[str]) -> tuple[str, ...]:
    names = [found[0] for kind in pattern if (found := _of_kind(side, kind))]
    return tuple(islice(cycle(names), side.blocks))


def _of_kind(side: SideSettings, kind: str) -> list[str]:
    return [name for name in side.candidates if OPS[name].kind == kind]
