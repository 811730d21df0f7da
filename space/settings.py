"""The sizes of a network and the extent of a search space, as typed sections of the configuration."""

from __future__ import annotations

from dataclasses import dataclass, field

from jsonargparse.typing import ClosedUnitInterval, PositiveInt

from common.errors import UserError
from space.ops import check


@dataclass
class ModelSettings:
    """Sizes that searched and retrained networks share; the defaults are the published ones.

    Args:
        word_width: width of learned word vectors; given vectors bring their own.
        dropout: dropout after every operation, inside feed-forward layers and in pooling.
        pool_hidden: hidden width of the attention pooling.
        relation_width: width of the features of a pair of boxes.
        head_scale: multiplies the head size an operation's name gives.
        bbox_features: append a projection of each region's normalised box to its features.
    """

    word_width: PositiveInt = 300
    dropout: ClosedUnitInterval = 0.1
    pool_hidden: PositiveInt = 512
    relation_width: PositiveInt = 64
    head_scale: PositiveInt = 1
    bbox_features: bool = False


@dataclass
class SideSettings:
    """One side of the search space.

    Args:
        blocks: number of blocks.
        candidates: names of the operations each block chooses from.
    """

    blocks: PositiveInt
    candidates: list[str]


def _encoder() -> SideSettings:
    return SideSettings(12, ["self_att_64", "feed_forward"])


def _decoder() -> SideSettings:
    return SideSettings(18, ["self_att_64", "rel_self_att_64", "guided_att_64", "feed_forward"])


@dataclass
class SpaceSettings:
    """The search space; by default the published one of 2^12 * 4^18 architectures.

    Args:
        encoder: blocks over the words.
        decoder: blocks over the regions.
    """

    encoder: SideSettings = field(default_factory=_encoder)
    decoder: SideSettings = field(default_factory=_decoder)

    def validate(self) -> None:
        """Refuse a space in which no network can be built.

        Raises:
            UserError: an operation is unknown or on the wrong side, named twice, or a side is empty.
        """
        for name, side in (("encoder", self.encoder), ("decoder", self.decoder)):
            if not side.candidates:
                raise UserError(f"space.{name}.candidates is empty; name at least one operation")
            if len(set(side.candidates)) < len(side.candidates):
                raise UserError(f"space.{name}.candidates names an operation twice: {', '.join(side.candidates)}")
            check(side.candidates, name)
