"""What an architecture costs: parameters and FLOPs, counted from the modules of its blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch

from space.backbone import Block
from space.geometry import Relation
from space.network import Network
from space.ops import OPS

REGIONS, TOKENS = 36, 14  # of a sample, where nobody says how many


class Prices(NamedTuple):
    """What operations cost, whatever it is counted in; an architecture costs the sum over its blocks.

    One price depends on context: the features of pairs of boxes are shared by all blocks that read boxes, so that
    ``relations`` is paid once, by the first of them.
    """

    encoder: dict[str, float]
    decoder: dict[str, float]
    relations: float


def genotype_cost(
    encoder: Sequence[str],
    decoder: Sequence[str],
    *,
    width: int = 512,
    regions: int = REGIONS,
    tokens: int = TOKENS,
    head_scale: int = 1,
    relation_width: int = 64,
) -> dict[str, int]:
    """Cost of the backbone for one image and one text; embedding, LSTM and head, equal for all, are left out.

    Args:
        encoder: operations over the words.
        decoder: operations over the regions.
        width: H.
        regions: R.
        tokens: T.
        head_scale: see ModelSettings.
        relation_width: see ModelSettings.

    Returns:
        ``parameters``, ``flops`` (a multiplication and an addition are two; matrix products and convolutions only, as
        torch counts them) and the sizes they hold for.
    """
    sizes = {"width": width, "dropout": 0.0, "head_scale": head_scale, "relation_width": relation_width}
    with torch.device("meta"):
        words = [Block(name, **sizes) for name in encoder]
        images = [Block(name, **sizes) for name in decoder]
        relation = Relation(relation_width)
    counted = _count(words, images, relation, regions, tokens)
    return {**counted, "width": width, "regions": regions, "tokens": tokens}


def network_cost(network: Network, *, regions: int = REGIONS, tokens: int = TOKENS) -> dict[str, int]:
    """The same of a network that is built, whose blocks are fixed operations."""
    backbone, width = network.backbone, network.region_projection.out_features
    counted = _count(backbone.encoder, backbone.decoder, network.relation, regions, tokens)
    return {**counted, "width": width, "regions": regions, "tokens": tokens}


def prices(kind: str, encoder: Sequence[str], decoder: Sequence[str], **sizes: int) -> Prices:
    """What each operation costs on its side.

    Args:
        kind: ``parameters`` or ``flops``.
        encoder: names of operations.
        decoder: names of operations.
        **sizes: as ``genotype_cost`` takes them.
    """

    def cost(words: Sequence[str], regions: Sequence[str]) -> float:
        return float(genotype_cost(words, regions, **sizes)[kind])

    readers = [name for name in decoder if OPS[name].reads_boxes]
    # Two blocks that read boxes share their features, so that twice one costs these more than both.
    relations = 2 * cost([], readers[:1]) - cost([], readers[:1] * 2) if readers else 0.0
    of_regions = {name: cost([], [name]) - (relations if name in readers else 0.0) for name in decoder}
    return Prices({name: cost([name], []) for name in encoder}, of_regions, relations)


def limits(data: Any) -> dict[str, int]:
    """The regions and tokens that a data section allows at most; a user's own task may not have these limits."""
    named = {size: getattr(data, f"max_{size}", None) for size in ("regions", "tokens")}
    return {size: most for size, most in named.items() if most is not None}


def _count(
    encoder: Iterable[Block], decoder: Iterable[Block], relation: Relation, regions: int, tokens: int
) -> dict[str, int]:
    words, images = list(encoder), list(decoder)
    shared = [relation] if any(block.reads_boxes for block in images) else []
    flops = sum(block.op.flops(tokens, tokens) for block in words)
    flops += sum(block.op.flops(regions, tokens) for block in images)
    flops += sum(2 * regions**2 * one.linear.weight.numel() for one in shared)
    parameters = sum(p.numel() for module in (*words, *images, *shared) for p in module.parameters())
    return {"parameters": parameters, "flops": flops}
