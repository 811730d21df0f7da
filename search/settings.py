"""The search section of the configuration."""

from __future__ import annotations

from dataclasses import dataclass, field

from jsonargparse.typing import OpenUnitInterval

from common.errors import UserError, check_known
from common.numbers import above_zero, from_zero, whole
from engine.optim import EpochNumber, Epochs, Rate, Steps, Training
from search.estimators import ESTIMATORS
from search.samplers import SAMPLERS
from search.selectors import SELECTORS
from space.settings import Width

Every, Judged, Weight, Amount = whole(1, 1_000_000), whole(2, 1_000_000), from_zero(1e9), above_zero(1e18)


@dataclass
class BudgetSettings:
    """What the backbone of the found architecture may cost, at the sizes of the search; one of these at most.

    Args:
        parameters: so many weights.
        flops: so many FLOPs for one image and one text.
        latency: so many milliseconds a sample, by what `make profile` measured.
    """

    parameters: Amount | None = None
    flops: Amount | None = None
    latency: Amount | None = None

    def given(self) -> dict[str, float]:
        """Those that are set, by name."""
        return {kind: most for kind, most in vars(self).items() if most is not None}


@dataclass(kw_only=True)
class SearchSettings(Training):
    """How the search runs, besides how weights are trained.

    The values here are the published ones.

    Args:
        width: H, width of the supernet.
        estimator: how an architecture step estimates alpha's gradient: full (all candidates run for their binary gates)
            or two (two sampled ones), darts (their mixture), gdas (straight-through Gumbel softmax), reinforce (score
            function with a baseline), or none (alpha stays, for controls).
        beta_decay: weight of a loss on alpha, the sum over blocks of logsumexp(alpha) (arXiv 2203.01665), beside the
            task's loss, which most tasks sum over a batch.
        budget: what the architecture may cost; all selectors but argmax keep to it.
        cost_weight: how hard alpha is drawn to the budget: the task's loss counts so many percent higher for every
            percent that the expected cost lies above it (arXiv 1807.11626, 1812.00332).
        sampler: which paths train the weights: alpha (by probability), uniform, or fair (every candidate of every
            block once a step, as many times the work as there are candidates; on a CPU copies of the process share it).
        selector: what is picked at the end: argmax (the most probable operations), exact (the architecture with the
            lowest loss of all, in spaces of 10,000 at most), evolution (for larger spaces) or halving (trains the eight
            best decoders of either from the supernet's weights for as long as it takes to tell them apart).
        judged: so many of the samples that train the architecture tell selectors architectures apart, and say what
            the loss would change by with another operation in a block.
        blend_steps: so many first weight steps run all candidates of every block averaged instead of one sampled path;
            for short searches, in which sampled paths would not leave the starting loss (docs/lab-notes.md).
        alpha_start: first epoch (0-based) with architecture steps; before it, weights warm up.
        alpha_every: weight steps between two architecture steps.
        alpha_lr: learning rate of Adam (betas 0, 0.999) on the architecture parameters.
        weight_share: share of the training images for weights; the others are for the architecture.
        patience: stop when the most probable genotype has stayed the same for so many epochs with architecture
            steps; null never stops early.
        start: reference of a genotype whose operations start with a lead; null starts uniform.
    """

    width: Width = 256
    epochs: Epochs = 100
    estimator: str = "full"
    beta_decay: Weight = 0.0
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    cost_weight: Weight = 1.0
    sampler: str = "alpha"
    selector: str = "argmax"
    judged: Judged = 256
    blend_steps: Steps = 0
    alpha_start: EpochNumber = 20
    alpha_every: Every = 5
    alpha_lr: Rate = 0.1
    weight_share: OpenUnitInterval = 0.8
    patience: Epochs | None = None
    start: str | None = None

    @property
    def moves_alpha(self) -> bool:
        """Whether there are architecture steps; a control's estimator draws nothing."""
        return ESTIMATORS[self.estimator].draws > 0

    def validate(self) -> None:
        """Refuse values with which nothing can be searched.

        Raises:
            UserError: a name is unknown, no epoch is left for the architecture, there are several budgets, or alpha is
                to stay and yet to decay or to keep a budget.
        """
        for key, known in (("estimator", ESTIMATORS), ("sampler", SAMPLERS), ("selector", SELECTORS)):
            check_known(f"search.{key}", getattr(self, key), known, "the search")
        if not self.moves_alpha and self.beta_decay:
            raise UserError(
                f"search.estimator={self.estimator} leaves alpha where it is, so search.beta_decay={self.beta_decay} "
                "would do nothing; leave it out or choose another estimator"
            )
        given = self.budget.given()
        if len(given) > 1:
            raise UserError(f"search.budget has {' and '.join(given)}, but a search keeps to one; leave the others out")
        if given and not self.moves_alpha and self.selector == "argmax":
            raise UserError(
                f"search.estimator={self.estimator} leaves alpha where it is and search.selector=argmax asks nothing "
                f"else, so search.budget.{next(iter(given))} would do nothing; choose search.selector=exact"
            )
        if self.moves_alpha and self.alpha_start >= self.epochs:
            raise UserError(
                f"search.alpha_start={self.alpha_start} leaves no epoch of {self.epochs} for the architecture; "
                "lower it or raise search.epochs"
            )

    def arch_steps(self, steps: int) -> int:
        """How many architecture steps the search takes.

        Args:
            steps: weight steps of an epoch.

        Raises:
            UserError: none fits into the epochs, so that the architecture would stay where it begins.
        """
        if not self.moves_alpha:
            return 0
        # Weight steps are counted from the run's first, and every so many of them an architecture step follows.
        before, all_steps = self.alpha_start * steps, self.epochs * steps
        count = all_steps // self.alpha_every - before // self.alpha_every
        if not count:
            raise UserError(
                f"no architecture step fits into this search: from epoch search.alpha_start={self.alpha_start} to "
                f"search.epochs={self.epochs} weights take {all_steps - before} steps ({steps} an epoch), and one "
                f"follows every search.alpha_every={self.alpha_every}; lower search.alpha_every, search.alpha_start or "
                "search.batch_size, or raise search.epochs"
            )
        return count
