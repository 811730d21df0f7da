"""Which networks are trained in which group, and the cells that this takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from evidence import architectures
from evidence.cells import Cell, Done, Folder, key
from evidence.plan import Sizes
from evidence.recipe import Recipe, sizes
from evidence.verdict import MATCHED
from genotypes.genotype import Genotype
from space.cost import genotype_cost

SEARCHED, RANDOM = "searched", "random"


class Study:
    """All networks of a plan. Every network is trained with the same seeds.

    Args:
        recipe: under which.
        folder: where cells are kept.
        plan: how many.
        seed: the first search seed, the first training seed, and that of what is drawn.
    """

    def __init__(self, recipe: Recipe, folder: Folder, plan: Sizes, seed: int) -> None:
        self.recipe, self.folder = recipe, folder
        self.search_seeds = range(seed, seed + plan.search_seeds)
        self.training_seeds = range(seed, seed + plan.training_seeds)
        self.sizes = sizes(recipe)
        self.cost = cache(self._cost)
        space = recipe.search.space
        self.pool = architectures.pool(space, seed)
        drawn = architectures.random(space, plan.random, seed)
        self.drawn = {RANDOM: drawn, **architectures.controls(space, drawn, self.pool, self.flops, seed)}

    def _cost(self, network: Genotype) -> dict[str, int]:
        return genotype_cost(network.encoder, network.decoder, **self.sizes)

    def flops(self, network: Genotype) -> int:
        """FLOPs of a network under the recipe."""
        return self.cost(network)["flops"]

    def searched(self) -> dict[int, Genotype]:
        """What the searches that are done found, by seed."""
        found = {seed: self.folder.found(seed) for seed in self.search_seeds}
        return {seed: network for seed, network in found.items() if network is not None}

    def groups(self) -> Mapping[str, Mapping[str, Genotype]]:
        """Every group's networks by a name for people, as far as searches have found them."""
        searched = self.searched()
        groups = {SEARCHED: {f"searched, search seed {seed}": network for seed, network in searched.items()}}
        if searched:
            matched = architectures.matched(self.pool, [*searched.values()], self.flops)
            groups[MATCHED] = {MATCHED: matched}
        for name, networks in self.drawn.items():
            several = len(networks) > 1
            groups[name] = {f"{name} {i}" if several else name: one for i, one in enumerate(networks, 1)}
        return groups

    def searches(self) -> list[Cell]:
        """The cells of the searches."""
        flags, task = self.recipe.search_flags, self.recipe.task.name
        return [self.folder.search(seed, flags, task) for seed in self.search_seeds]

    def trainings(self, groups: Iterable[str]) -> list[Cell]:
        """The cells of these groups' networks with every seed; a network that several hold is trained once.

        The genotypes' files are written, for the cells to read.
        """
        cells, task, known = {}, self.recipe.task.name, self.groups()
        for name, network in (named for group in groups for named in known[group].items()):
            self.folder.write_genotype(network.replace(task=task, provenance={"source": f"evidence: {name}"}))
            for seed in self.training_seeds:
                cell = self.folder.training(network, seed, self.recipe.retrain_flags, name)
                cells.setdefault(cell.name, cell)
        return [*cells.values()]

    def done_searches(self) -> list[Done]:
        """The searches that are done."""
        return [done for seed in self.search_seeds if (done := self.folder.done(f"search-{seed}"))]

    def done_trainings(self, network: Genotype) -> list[Done | None]:
        """The trainings of a network by seed, None where one is not done."""
        return [self.folder.done(f"train-{key(network)}-{seed}") for seed in self.training_seeds]
