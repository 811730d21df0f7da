"""What a search comes out with: the selector's pick, how good the supernet finds it, and why each block is as it is."""

from __future__ import annotations

import numpy as np

from genotypes.genotype import Genotype
from search.diagnosis import RANDOM, standing
from search.judge import Judge
from search.samplers import Uniform
from search.selectors import SELECTORS, Selector
from search.stage import SearchStage
from search.tuning import Tuner
from space.settings import Path

JUDGED_TOGETHER = 64  # samples of a part that selectors judge by


def selected(stage: SearchStage) -> Genotype:
    """The pick of a search that is over; its path stays chosen.

    Returns:
        Its genotype, with the supernet's numbers and the changes of the loss with another operation in a block.
    """
    supernet, judge = stage.supernet, judge_of(stage)
    path = selector(stage, judge, stage.settings.selector).pick()
    swaps = [{name: list(change) for name, change in block.items()} for block in judge.swaps(path)]
    numbers = _numbers(stage, judge, path)
    found, encoder = stage.genotype(), len(supernet.encoder)
    if stage.budget is not None:
        found = found.replace(provenance={**found.provenance, "budget": stage.budget.as_dict(path)})
    return found.replace(swaps={"encoder": swaps[:encoder], "decoder": swaps[encoder:]}, supernet=numbers)


def judge_of(stage: SearchStage) -> Judge:
    """What scores paths, on samples of the half that trained the architecture."""
    rng = stage.runtime.rng("judge")
    samples = rng.permutation(len(stage.arch_split))[: stage.settings.judged]
    parts = np.array_split(samples, max(2, len(samples) // JUDGED_TOGETHER))
    even = min(map(len, parts))  # where losses are sums, a larger part would count more
    split = stage.arch_split
    batches = [split.batch(split.draw(part[:even], rng)) for part in parts]
    return Judge(stage.supernet, batches, stage.supernet_loss, stage.runtime.seed)


def selector(stage: SearchStage, judge: Judge, name: str) -> Selector:
    """The selector of that name, over a search that is trained."""
    tuner = Tuner(stage.supernet, stage.split, stage.losses, stage.settings, stage.runtime, stage.count)
    return SELECTORS[name](stage.supernet, judge, stage.runtime.generator("selector"), tuner, stage.budget)


def _numbers(stage: SearchStage, judge: Judge, path: Path) -> dict[str, float]:
    """What the supernet makes of the pick, beside the most probable path and paths by chance; the pick stays chosen."""
    blocks, generator = stage.supernet.blocks, stage.runtime.generator("random paths")
    argmax = tuple(int(block.alpha.argmax()) for block in blocks)
    others = [Uniform().draw(blocks, generator)[0] for _ in range(RANDOM)]
    if stage.budget is not None:
        others = [stage.budget.mend(path, generator) for path in others]
    pick, best, *even = judge.losses([path, argmax, *others]).mean(1).tolist()
    stage.supernet.choose(path)
    return {
        **standing(pick, best, even),
        **{f"val/{name}": float(value) for name, value in stage.validated().items()},
        "val_images": len(np.unique(stage.val.image_ids)),
        "val_samples": len(stage.val),
    }
