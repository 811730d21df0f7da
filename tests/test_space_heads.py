"""The heads by hand, a sample at a time and without padding; and the norm around operations where states are small."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from space.heads import AttentionPool, Matcher, PooledClassifier, RegionPointer
from space.layers import Residual
from space.network import States

WIDTH, HIDDEN, EPS = 4, 3, 1e-6


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return torch.stack([(layer.weight * row).sum(1) + layer.bias for row in x])


def pooled(pool: AttentionPool, x: Tensor) -> Tensor:
    """(N,H) -> (2H,)."""
    first, last = (layer for layer in pool.score if isinstance(layer, nn.Linear))
    weights = [math.exp(score) for (score,) in linear(last, linear(first, x).clamp(min=0)).tolist()]
    return linear(pool.merge, sum(weight * row for weight, row in zip(weights, x, strict=True))[None] / sum(weights))[0]


def normed(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    apart = x - x.mean()
    return norm.weight * apart / torch.sqrt((apart**2).mean() + EPS) + norm.bias


def spread(head: nn.Module) -> None:
    """Weights that differ everywhere, so that nothing can stand in for another."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in head.parameters():
            weight.normal_()


@pytest.fixture
def states() -> tuple[States, list[tuple[Tensor, Tensor]]]:
    """Three samples of two texts, with garbage at padding; and the same without padding."""
    torch.manual_seed(1)
    text, regions = torch.randn(2, 3, WIDTH), torch.randn(3, 4, WIDTH)
    words, boxes, of = (3, 2), (4, 2, 3), (1, 0, 1)
    text_pad = torch.arange(3)[None] >= torch.tensor(words)[:, None]
    regions_pad = torch.arange(4)[None] >= torch.tensor(boxes)[:, None]
    plain = [(text[t, : words[t]], regions[b, : boxes[b]]) for b, t in enumerate(of)]
    return States(text, text_pad, torch.tensor(of), regions, regions_pad), plain


@torch.no_grad()
def test_answers_and_matches_are_of_both_pools(states: tuple[States, list[tuple[Tensor, Tensor]]]) -> None:
    given, plain = states
    head = PooledClassifier(WIDTH, HIDDEN, 5, 0.1).eval()
    spread(head)
    assert not {*map(id, head.text.parameters())} & {*map(id, head.regions.parameters())}
    wanted = [normed(head.norm, pooled(head.text, text) + pooled(head.regions, regions)) for text, regions in plain]
    torch.testing.assert_close(head(given), linear(head.out, torch.stack(wanted)), rtol=1e-4, atol=1e-4)
    match = Matcher(WIDTH, HIDDEN, 0.1).eval()
    spread(match)
    alone, similarity = match(given), torch.tensor([1.0, -2.0, 3.0])
    torch.testing.assert_close(match(given._replace(similarity=similarity)), alone + similarity[:, None])


@torch.no_grad()
def test_a_pointer_scores_regions_beside_the_text(states: tuple[States, list[tuple[Tensor, Tensor]]]) -> None:
    given, plain = states
    head = RegionPointer(WIDTH, HIDDEN, 0.1).eval()
    spread(head)
    scores, offsets = head(given)
    for number, (text, regions) in enumerate(plain):
        about = linear(head.regions, regions) + pooled(head.text, text)
        wanted, count = torch.stack([normed(head.norm, one) for one in about]), len(regions)
        torch.testing.assert_close(scores[number, :count], linear(head.score, wanted)[:, 0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(offsets[number, :count], linear(head.offsets, wanted), rtol=1e-4, atol=1e-4)
        assert (scores[number, count:] == torch.finfo(scores.dtype).min).all()


class Nothing(nn.Module):
    """Changes nothing."""

    def forward(self, x: Tensor, context: None) -> Tensor:
        return torch.zeros_like(x)


@torch.no_grad()
def test_small_states_stay_small_by_the_published_epsilon() -> None:
    norm = Residual(Nothing(), WIDTH, 0.1).eval()
    spread(norm)
    x = 1e-3 * torch.randn(1, 1, WIDTH)
    torch.testing.assert_close(norm(x, None)[0, 0], normed(norm.norm, x[0, 0]), rtol=1e-4, atol=1e-5)
