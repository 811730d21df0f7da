"""What became of alpha in a search, and how good the supernet finds the pick: numbers, and warnings in words.

Blocks without a choice of several candidates count nowhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from math import log

import numpy as np
from scipy import stats

from engine.log import numbers
from genotypes.genotype import SIDES, Genotype, Probabilities
from search.settings import SearchSettings
from space.ops import OPS

RANDOM = 100  # paths, drawn evenly, among which the pick has its rank
SURE = 0.1  # of the largest entropy there can be: below it alpha has decided
EARLY = 0.5  # of the architecture steps
SEVERAL = 3  # blocks; fewer are of one kind by chance too often to mean anything

Blocks = Sequence[Mapping[str, float]]  # probabilities of the candidates of each


@dataclass(frozen=True)
class Diagnosis:
    """What a search leaves behind for a diagnosis.

    Args:
        history: the most probable genotype of every epoch, with all probabilities.
        start: the probabilities before the first step.
        unmoved: names of the blocks whose alpha is still exactly what it was then.
    """

    history: Sequence[Genotype]
    start: Probabilities
    unmoved: Sequence[str] = ()

    @property
    def moved(self) -> bool:
        """Whether the search has moved any alpha."""
        return self.history[-1].provenance.get("moved", True)


def entropy(blocks: Blocks) -> float:
    """Mean entropy of the blocks, in nats: from log(candidates), where all are alike, to 0, where alpha is sure."""
    return float(np.mean([stats.entropy(list(block.values())) for block in blocks]))


def total_variation(blocks: Blocks, start: Blocks) -> float:
    """Mean over the blocks of sum_i |p_i - q_i| / 2, from 0 (as at the start) to 1."""
    return float(np.mean([sum(abs(now[n] - was[n]) for n in now) / 2 for now, was in zip(blocks, start, strict=True)]))


def stable_epochs(history: Sequence[Genotype]) -> int:
    """How many epochs the most probable genotype has stayed the same, of those with architecture steps."""
    moving = _moving(history)
    same = takewhile(lambda genotype: genotype == moving[-1], reversed(moving))
    return max(0, len(list(same)) - 1)


def changed_blocks(history: Sequence[Genotype]) -> float | None:
    """Percent of the blocks that the last epoch with architecture steps changed; None before the second of them."""
    moving = _moving(history)
    if len(moving) < 2:
        return None
    before, after = ([*genotype.encoder, *genotype.decoder] for genotype in moving[-2:])
    blocks = [block for side in SIDES for block in moving[-1].probabilities[side]]
    changes = [one != other for one, other, block in zip(before, after, blocks, strict=True) if len(block) > 1]
    return 100 * float(np.mean(changes))


def _moving(history: Sequence[Genotype]) -> list[Genotype]:
    """The genotypes after each epoch with architecture steps, where such an epoch may have had others behind it."""
    by_steps = {genotype.provenance.get("architecture_steps", 0): genotype for genotype in history}
    return [genotype for steps, genotype in by_steps.items() if steps]


def kinds(genotype: Genotype, side: str) -> dict[str, float]:
    """Percent of a side's blocks whose operation is of each kind that candidates of the side have."""
    possible = dict.fromkeys(OPS[name].kind for block in genotype.probabilities[side] for name in block)
    counts = Counter(OPS[name].kind for name in getattr(genotype, side))
    return {kind: 100 * counts[kind] / len(getattr(genotype, side)) for kind in possible}


def alpha_numbers(found: Diagnosis) -> dict[str, dict[str, float]]:
    """What an epoch's log holds of alpha, by group (docs/metrics.md)."""
    now = found.history[-1]
    sides = [side for side in SIDES if _choices(now.probabilities, side)]
    blocks, start = (_choices(probabilities, *sides) for probabilities in (now.probabilities, found.start))
    changed = changed_blocks(found.history)
    values = {
        "alpha_entropy": entropy(blocks),
        **{f"alpha_entropy_{side}": entropy(_choices(now.probabilities, side)) for side in sides},
        "alpha_total_variation": total_variation(blocks, start),
        "argmax_stable_epochs": stable_epochs(found.history),
        **({} if changed is None else {"argmax_changed": changed}),
    }
    return {"search": values, **{f"search/{side}": kinds(now, side) for side in sides}}


def _choices(probabilities: Probabilities, *sides: str) -> list[Mapping[str, float]]:
    return [block for side in sides for block in probabilities[side] if len(block) > 1]


def standing(pick: float, argmax: float, random: Sequence[float]) -> dict[str, float]:
    """How good the pick and the most probable path are by the supernet's loss.

    Args:
        pick: its loss.
        argmax: the loss of the most probable path.
        random: losses of paths drawn evenly.

    Returns:
        The losses, that of random paths as their median, and the percentile ranks among them: percent of random paths
        with a lower loss, and half of those with the same.
    """
    ranks = [float(stats.percentileofscore(random, loss, kind="mean")) for loss in (pick, argmax)]
    losses = {"loss": float(pick), "argmax_loss": float(argmax), "random_loss": float(np.median(random))}
    return {**losses, "percentile": ranks[0], "argmax_percentile": ranks[1]}


def summary(found: Diagnosis, supernet: Mapping[str, float]) -> list[str]:
    """The diagnosis in lines for people.

    Args:
        found: the search's alpha.
        supernet: the pick's numbers, as its genotype holds them.
    """
    groups = alpha_numbers(found)
    alpha = groups.pop("search")
    entropies = {name.removeprefix("alpha_entropy_"): value for name, value in alpha.items() if "entropy_" in name}
    shares = [
        f"{group.removeprefix('search/')} " + ", ".join(f"{of:.0f} % {kind}" for kind, of in kinds.items() if of)
        for group, kinds in groups.items()
    ]
    new = f", {alpha['argmax_changed']:.0f} % of its blocks new in the last one" if "argmax_changed" in alpha else ""
    return [
        f"alpha: entropy {alpha['alpha_entropy']:.2f} nats ({numbers(entropies)}), total variation from the start "
        f"{alpha['alpha_total_variation']:.2f}",
        f"most probable path: {'; '.join(shares)}; the same for {alpha['argmax_stable_epochs']} "
        f"epoch{'' if alpha['argmax_stable_epochs'] == 1 else 's'}{new}",
        f"supernet's loss: pick {supernet['loss']:.4g}, most probable path {supernet['argmax_loss']:.4g}, median of "
        f"{RANDOM} random paths {supernet['random_loss']:.4g}; {supernet['percentile']:.0f} % of these are better than "
        f"the pick, {supernet['argmax_percentile']:.0f} % than the most probable path",
        f"supernet's validation of the pick: {numbers(validation(supernet))}",
    ]


def validation(supernet: Mapping[str, float]) -> dict[str, float]:
    """The task's metrics among the numbers of a genotype's ``supernet``."""
    return {name.removeprefix("val/"): value for name, value in supernet.items() if name.startswith("val/")}


def warnings(found: Diagnosis, supernet: Mapping[str, float], settings: SearchSettings) -> list[str]:
    """What has to be said of a search that collapsed, or never moved, or picked what chance would have bettered.

    Args:
        found: the search's alpha.
        supernet: the pick's numbers, as its genotype holds them.
        settings: the search section.
    """
    # Halving has trained its pick alone, and knows better than the weights that all share.
    chance = [] if settings.selector == "halving" else _worse_than_chance(supernet, settings.selector == "argmax")
    return [*_stillness(found, settings), *_collapses(found), *chance]


def _stillness(found: Diagnosis, settings: SearchSettings) -> list[str]:
    if found.moved:
        blocks = ", ".join(found.unmoved)
        return [f"note: alpha of {blocks} never moved; there stands what the search began with"] if blocks else []
    says = "and its file says so (provenance: moved is false)"
    if not settings.moves_alpha:
        return [
            f"note: search.estimator={settings.estimator} left alpha where the search began, so this genotype is "
            f"what it began with, {says}"
        ]
    steps = found.history[-1].provenance["architecture_steps"]
    return [
        f"warning: THIS GENOTYPE WAS NOT FOUND: {steps} architecture steps moved no alpha of any block, so it is what "
        f"the search began with, {says}; the loss does not depend on the blocks, as with features that are all alike "
        "or a rate that made the network useless"
    ]


def _collapses(found: Diagnosis) -> list[str]:
    """One line for each side that one kind fills, of several, and of which alpha was sure early."""
    said = []
    for side in SIDES:
        shares = kinds(found.history[-1], side)
        filling = [kind for kind, share in shares.items() if share == 100]
        sure = _sure(found.history, side)
        if len(shares) > 1 and filling and sure and len(_choices(found.start, side)) >= SEVERAL:
            share, left, most = sure
            said.append(
                f"warning: alpha of the {side} may have collapsed: after {100 * share:.0f} % of the architecture steps "
                f"its entropy was {left:.2f} of at most {most:.2f} nats, and {filling[0]} fills every block in the end "
                f"with a choice of {len(shares)} kinds; search.beta_decay, a lower search.alpha_lr or a later "
                "search.alpha_start keeps the choice open for longer"
            )
    return said


def _sure(history: Sequence[Genotype], side: str) -> tuple[float, float, float] | None:
    """The first epoch early in the search after which alpha has decided: share of the steps, entropy, the largest."""
    last = history[-1].provenance.get("architecture_steps", 0)
    for genotype in _moving(history):
        blocks = _choices(genotype.probabilities, side)
        share = genotype.provenance["architecture_steps"] / last
        if blocks and share <= EARLY:
            left, most = entropy(blocks), float(np.mean([log(len(block)) for block in blocks]))
            if left < SURE * most:
                return share, left, most
    return None


def _worse_than_chance(supernet: Mapping[str, float], blind: bool) -> list[str]:
    if supernet["percentile"] <= 50:
        return []
    return [
        "warning: by the supernet's own loss the pick is worse than the median random path: "
        f"{supernet['percentile']:.0f} % of {RANDOM} random paths have a lower loss than its {supernet['loss']:.4g} "
        f"(median {supernet['random_loss']:.4g})" + ("; search.selector=exact picks by this loss" if blind else "")
    ]
