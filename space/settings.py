"""The sizes of a network and the extent of a search space, as typed sections of the configuration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod

from common.errors import UserError
from common.numbers import share_below_one, whole
from space.ops import check, check_width

Width, Blocks, Scale, Align = whole(1, 65_536), whole(1, 1000), whole(1, 64), whole(0, 65_536)
Dropout = share_below_one()
Path = tuple[int, ...]  # number of the candidate in every block of a space, encoder first


@dataclass
class ModelSettings:
    """Sizes that searched and retrained networks share.

    The values here are the published ones.

    Args:
        word_width: width of learned word vectors; given vectors bring their own.
        dropout: dropout after every operation, inside feed-forward layers and in pooling.
        embedding_dropout: dropout of the components of word vectors that the LSTM reads; 0 for none, as published.
        pool_hidden: hidden width of the attention pooling.
        relation_width: width of the features of a pair of boxes.
        head_scale: multiplies the head size an operation's name gives.
        bbox_features: append a projection of each region's normalised box to its features.
        align_width: width of a space in which image-text matching compares texts and images before they meet, trained
            by contrast; 0 for none, as published.
    """

    word_width: Width = 300
    dropout: Dropout = 0.1
    embedding_dropout: Dropout = 0.0
    pool_hidden: Width = 512
    relation_width: Width = 64
    head_scale: Scale = 1
    bbox_features: bool = False
    align_width: Align = 0

    def check_width(self, width: int, operations: Iterable[str]) -> None:
        """Refuse a width at which one of the operations cannot be built.

        Raises:
            UserError: its heads do not divide the width.
        """
        sizes = {"dropout": self.dropout, "head_scale": self.head_scale, "relation_width": self.relation_width}
        check_width(operations, width=width, **sizes)


@dataclass
class SideSettings:
    """One side of the search space.

    Args:
        blocks: number of blocks.
        candidates: names of the operations each block chooses from.
    """

    blocks: Blocks
    candidates: list[str]


def _encoder() -> SideSettings:
    return SideSettings(12, ["self_att_64", "feed_forward"])


def _decoder() -> SideSettings:
    return SideSettings(18, ["self_att_64", "rel_self_att_64", "guided_att_64", "feed_forward"])


@dataclass
class SpaceSettings:
    """The search space.

    The one here is the published one, of 2^12 * 4^18 architectures.

    Args:
        encoder: blocks over the words.
        decoder: blocks over the regions.
    """

    encoder: SideSettings = field(default_factory=_encoder)
    decoder: SideSettings = field(default_factory=_decoder)

    @property
    def architectures(self) -> int:
        """How many there are."""
        return prod(len(side.candidates) ** side.blocks for side in (self.encoder, self.decoder))

    def validate(self) -> None:
        """Refuse a space in which no network can be built, or only one.

        Raises:
            UserError: an operation is unknown, misplaced or named twice, a side is empty, or no choice is left.
        """
        for name, side in (("encoder", self.encoder), ("decoder", self.decoder)):
            if not side.candidates:
                raise UserError(f"space.{name}.candidates is empty; name at least one operation")
            if len(set(side.candidates)) < len(side.candidates):
                raise UserError(f"space.{name}.candidates names an operation twice: {', '.join(side.candidates)}")
            check(side.candidates, name)
        if len(self.encoder.candidates) == len(self.decoder.candidates) == 1:
            raise UserError(
                "space.encoder.candidates and space.decoder.candidates hold one operation each, so there is nothing to "
                "search; add candidates, or retrain that network as a genotype"
            )
