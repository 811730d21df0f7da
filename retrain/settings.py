"""The retrain section of the configuration."""

from __future__ import annotations

from dataclasses import dataclass

from engine.optim import Training
from space.settings import Width


@dataclass(kw_only=True)
class RetrainSettings(Training):
    """How a fixed network is trained, besides how weights are trained in general.

    Args:
        width: H, width of the network.
    """

    width: Width = 512
