"""What an operation may look at besides its own input."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Context(NamedTuple):
    """The surroundings of a block whose input is x (B,N,H).

    Text states and box relations are kept once per text and once per image; an operation projects them first
    and expands them to samples afterwards (``rows`` in space/inputs.py), so that shared ones cost once.
    """

    pad: Tensor  # (B,N) bool, True = padding of x
    text: Tensor | None = None  # (Q,T,H) encoder output; None in the encoder
    text_pad: Tensor | None = None  # (Q,T) bool
    text_index: Tensor | None = None  # (B,) row of ``text`` for every sample; None = row b
    relation: Tensor | None = None  # (I,R,R,64) relation features; None unless a block reads boxes
    image_index: Tensor | None = None  # (B,) row of ``relation`` for every sample; None = row b
