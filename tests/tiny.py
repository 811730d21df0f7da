"""A tiny space, batch and loss that the tests of space and search share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search.mixed import MixedOp
from search.supernet import Supernet
from space.backbone import Backbone, Block
from space.heads import PooledClassifier
from space.inputs import Inputs
from space.network import Model, Network

WIDTH, REGIONS, TOKENS = 64, 5, 4
ENCODER = ("self_att_64", "feed_forward")
DECODER = ("self_att_64", "rel_self_att_64", "guided_att_64", "feed_forward")
SIZES = {"width": WIDTH, "dropout": 0.0, "head_scale": 1, "relation_width": 64}


def inputs(batch: int = 3, seed: int = 0, width: int = 8) -> Inputs:
    """A batch with real padding: the last sample has fewer regions and words."""
    g = torch.Generator().manual_seed(seed)
    corner = torch.rand(batch, REGIONS, 2, generator=g) * 50
    boxes = torch.cat((corner, corner + 1 + 40 * torch.rand(batch, REGIONS, 2, generator=g)), -1)
    regions_pad = torch.zeros(batch, REGIONS, dtype=torch.bool)
    regions_pad[-1, 3:] = True
    tokens = torch.randint(3, 20, (batch, TOKENS), generator=g)
    tokens_pad = torch.zeros(batch, TOKENS, dtype=torch.bool)
    tokens_pad[-1, 2:] = True
    return Inputs(
        torch.randn(batch, REGIONS, width, generator=g).masked_fill(regions_pad[..., None], 0),
        boxes.masked_fill(regions_pad[..., None], 0),
        torch.full((batch, 2), 100.0),
        regions_pad,
        tokens.masked_fill(tokens_pad, 0),
        tokens_pad,
    )


def model(encoder: list[nn.Module], decoder: list[nn.Module], seed: int = 0, outputs: int = 1) -> Model:
    """A network of these blocks with a pooled head, in eval mode."""
    torch.manual_seed(seed)
    network = Network(Backbone(encoder, decoder), words=20, region_width=8, width=WIDTH, word_width=12)
    return Model(network, PooledClassifier(WIDTH, 16, outputs, 0.0)).eval()


def fixed(encoder: tuple[str, ...], decoder: tuple[str, ...], seed: int = 0) -> Model:
    """The network of a genotype."""
    torch.manual_seed(seed)
    return model([Block(name, **SIZES) for name in encoder], [Block(name, **SIZES) for name in decoder], seed)


def supernet(encoder_blocks: int = 2, decoder_blocks: int = 3, seed: int = 0) -> Supernet:
    """A supernet over the default candidates."""
    torch.manual_seed(seed)
    encoder = [MixedOp(ENCODER, **SIZES) for _ in range(encoder_blocks)]
    return Supernet(model(encoder, [MixedOp(DECODER, **SIZES) for _ in range(decoder_blocks)], seed))


def loss(net: nn.Module, batch: Inputs) -> Tensor:
    """A smooth loss of the logits."""
    return torch.nn.functional.softplus(net(batch)).sum()
