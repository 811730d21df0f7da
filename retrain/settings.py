"""The retrain section of the configuration."""

from __future__ import annotations

from dataclasses import dataclass

from jsonargparse.typing import PositiveInt

from engine.optim import Training


@dataclass(kw_only=True)
class RetrainSettings(Training):
    """How a fixed network is trained, besides how weights are trained in general.

    Args:
        width: H, width of the network.
    """

    width: PositiveInt = 512
