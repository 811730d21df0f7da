"""What an operation may look at besides its own input."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from space.graphs import readable
from space.inputs import rows
from space.padding import Padding
from space.relations import Relations
from space.text_groups import TextGroup


@dataclass(frozen=True)
class Context:
    """The surroundings of a block whose input is x: (B,N,H), or (R,H) where no padding is kept but some zeros.

    Text states and box relations are kept once per text and once per image, so that an operation can work on shared
    ones once and expand what it made of them to samples afterwards (``rows`` in space/inputs.py), or go through the
    samples run by run and expand nothing.
    """

    pad: Tensor  # (B,N) bool, True = padding of x
    text: Tensor | None = None  # (Q,T,H) encoder output; None in the encoder
    text_pad: Tensor | None = None  # (Q,T) bool
    text_index: Tensor | None = None  # (B,) row of ``text`` for every sample; None = row b
    text_groups: list[TextGroup] | None = None  # the same as text_index, as groups of samples; None where none share
    relations: Relations | None = None  # between the regions of I images; None unless a block reads boxes
    image_index: Tensor | None = None  # (B,) row of ``relations`` for every sample; None = row b
    packed: bool = False  # whether x has only the real positions, row after row, and zeros behind

    @cached_property
    def padding(self) -> Padding:
        """Of x."""
        return Padding(self.pad)

    @cached_property
    def text_padding(self) -> Padding:
        """Of the texts."""
        return Padding(self.text_pad)

    @cached_property
    def words(self) -> Tensor:
        """(R,H) states of the real words of all texts and zeros behind; where none can be told, of all."""
        # A candidate that runs without a graph may be the first to ask, and others need one.
        with torch.set_grad_enabled(self.text.requires_grad):
            return self.text_padding.pack(self.text) if readable(self.text) else self.text.flatten(0, 1)

    def of_texts(self, x: Tensor) -> Tensor:
        """(R,H), as ``words`` -> (Q,T,H)."""
        return self.text_padding.spread(x) if readable(x) else x.view(*self.text_pad.shape, -1)

    @cached_property
    def text_bias(self) -> Tensor | None:
        """(B,1,1,T) to add to the logits of attention to each sample's text; None for nothing."""
        bias = self.text_padding.bias
        return None if bias is None else rows(bias, self.text_index)

    def whole(self, x: Tensor) -> Tensor:
        """x as (B,N,H), whatever at padding, whose gradients are not looked at."""
        return self.padding.spread(x) if self.packed else x

    def real(self, x: Tensor) -> Tensor:
        """(B,N,H) as x is kept."""
        return self.padding.pack(x) if self.packed else x
