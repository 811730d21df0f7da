"""What an extractor is: pictures in, regions out. A class of your own is named by its dotted name, ``module:Class``"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL.Image import Image


class Regions(NamedTuple):
    """What an extractor finds in one picture: R regions of D numbers."""

    boxes: np.ndarray  # (R,4) xyxy in pixels of the picture as it was handed over
    features: np.ndarray  # (R,D) float16 or float32
    scores: np.ndarray | None = None  # (R,) higher is better; None where the order is already the best first


class Extractor(ABC):
    """Finds regions in pictures.

    Args:
        device: where it computes.
    """

    batch = 16  # pictures at once
    longest = 1024  # pixels; larger pictures are handed over smaller, since nobody should hold them whole
    called = ""  # the name that it was asked for by, as EXTRACTOR

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @abstractmethod
    def facts(self) -> dict[str, str]:
        """What features depend on: ``extractor`` (its name), ``weights`` (their hash), ``preprocessing``.

        It goes into every pack, and packs of different facts are refused in one run.
        """

    @abstractmethod
    def extract(self, pictures: Sequence[Image]) -> list[Regions]:
        """The regions of each picture, which are RGB and upright. A picture must not depend on those beside it."""
