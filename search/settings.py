"""The search section of the configuration."""

from __future__ import annotations

from dataclasses import dataclass

from jsonargparse.typing import NonNegativeInt, OpenUnitInterval, PositiveFloat, PositiveInt

from common.errors import UserError, did_you_mean
from engine.optim import Training
from search.estimators import ESTIMATORS


@dataclass(kw_only=True)
class SearchSettings(Training):
    """How the search runs, besides how weights are trained; the defaults are the published ones.

    Args:
        width: H, width of the supernet.
        estimator: full (all candidates run in an architecture step) or two (two sampled ones).
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

    width: PositiveInt = 256
    epochs: PositiveInt = 100
    estimator: str = "full"
    blend_steps: NonNegativeInt = 0
    alpha_start: NonNegativeInt = 20
    alpha_every: PositiveInt = 5
    alpha_lr: PositiveFloat = 0.1
    weight_share: OpenUnitInterval = 0.8
    patience: PositiveInt | None = None
    start: str | None = None

    def validate(self) -> None:
        """Refuse values with which nothing can be searched.

        Raises:
            UserError: the estimator is unknown, or no architecture step would come.
        """
        if self.estimator not in ESTIMATORS:
            raise UserError(
                f"search.estimator={self.estimator!r} is unknown; choose one of {', '.join(ESTIMATORS)}"
                + did_you_mean(self.estimator, ESTIMATORS)
            )
        if self.alpha_start >= self.epochs:
            raise UserError(
                f"search.alpha_start={self.alpha_start} leaves no epoch of {self.epochs} for the architecture; "
                "lower it or raise search.epochs"
            )
