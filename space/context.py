"""What an operation may look at besides its own input."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from space.relations import Relations
from space.text_groups import TextGroup


class Context(NamedTuple):
    """The surroundings of a block whose input is x (B,N,H).

    Text states and box relations are kept once per text and once per image, so that an operation can work on shared
    ones once and expand what it made of them to samples afterwards (``rows`` in space/inputs.py), or go through the
    samples run by run and expand nothing.
    """

    pad: Tensor  # (B,N) bool, True = padding of x
    text: Tensor | None = None  # (Q,T,H) encoder output; None in the encoder
    text_pad: Tensor | None = None  # (Q,T) bool
    text_index: Tensor | None = None  # (B,) row of ``text`` for every sample; None = row b
    text_groups: list[TextGroup] | None = None  # the same as text_index, as groups of samples; None on a GPU
    relations: Relations | None = None  # between the regions of I images; None unless a block reads boxes
    image_index: Tensor | None = None  # (B,) row of ``relations`` for every sample; None = row b
