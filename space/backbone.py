"""The encoder-decoder backbone: a list of blocks over the words, a list of blocks over the regions."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from space.context import Context
from space.ops import OPS, build


class Block(nn.Module):
    """One operation of a fixed network, known by its name."""

    def __init__(self, name: str, **sizes: float) -> None:
        super().__init__()
        self.name = name
        self.op = build(name, **sizes)

    @property
    def reads_text(self) -> bool:
        """Whether the block needs the text states."""
        return OPS[self.name].reads_text

    @property
    def reads_boxes(self) -> bool:
        """Whether the block needs the relations between boxes."""
        return OPS[self.name].reads_boxes

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(B,N,H) -> (B,N,H)."""
        return self.op(x, context)


class Backbone(nn.Module):
    """Encoder blocks over the words, then decoder blocks over the regions (Yu et al. 2020, section 3.1).

    A block is any module ``block(x, context)`` with the properties ``reads_text`` and ``reads_boxes``: a fixed
    operation here, a choice among several in the supernet. The encoder never sees the image, and the decoder's
    stem (its blocks before the first that reads the text) never sees the text, so each runs once per text and
    once per image however many pairs are made of them.
    """

    def __init__(self, encoder: Iterable[nn.Module], decoder: Iterable[nn.Module]) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(encoder)
        self.decoder = nn.ModuleList(decoder)

    @property
    def stem(self) -> int:
        """The number of decoder blocks before the first that reads the text."""
        return next((i for i, block in enumerate(self.decoder) if block.reads_text), len(self.decoder))

    @property
    def reads_boxes(self) -> bool:
        """Whether any decoder block needs the relations between boxes."""
        return any(block.reads_boxes for block in self.decoder)

    def encode(self, words: Tensor, context: Context) -> Tensor:
        """(Q,T,H) word states -> (Q,T,H) text states."""
        for block in self.encoder:
            words = block(words, context)
        return words

    def decode_stem(self, regions: Tensor, context: Context) -> Tensor:
        """(I,R,H) -> (I,R,H), the part of the decoder that needs no text."""
        for block in self.decoder[: self.stem]:
            regions = block(regions, context)
        return regions

    def decode(self, regions: Tensor, context: Context) -> Tensor:
        """(B,R,H) states after the stem -> (B,R,H) final region states."""
        for block in self.decoder[self.stem :]:
            regions = block(regions, context)
        return regions
