"""Attention against its formula, written down sample by sample and head by head in double precision."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from space.attention import GuidedAttention, MultiHeadAttention, RelationAttention, SelfAttention, UnifiedAttention
from space.context import Context
from space.dropout import Dropout
from space.ops import OPS, build
from space.relations import Relations

WIDTH, HEAD, INNER, REGIONS, WORDS, PAIR = 6, 4, 8, 5, 3, 3


def plain(op: MultiHeadAttention, asks: Tensor, answers: Tensor, bias: Callable[[int, int, int], float]) -> Tensor:
    """(N,H) of one sample without padding, whose heads add ``bias(head, i, j)`` to their logits."""
    query, key, value = (
        layer.weight @ states.T for layer, states in ((op.query, asks), (op.key, answers), (op.value, answers))
    )
    out = torch.zeros(len(asks), op.heads * HEAD, dtype=asks.dtype)
    for head in range(op.heads):
        own = slice(head * HEAD, (head + 1) * HEAD)
        for i in range(len(asks)):
            logits = [
                float(query[own, i] @ key[own, j]) / math.sqrt(HEAD) + bias(head, i, j) for j in range(len(answers))
            ]
            shares = [math.exp(logit - max(logits)) for logit in logits]
            for j, share in enumerate(shares):
                out[i, own] += share / sum(shares) * value[own, j]
    return out @ op.merge.weight.T


@pytest.mark.parametrize("kind", [SelfAttention, GuidedAttention, UnifiedAttention, RelationAttention])
def test_the_formula(kind: type[MultiHeadAttention]) -> None:
    torch.manual_seed(0)
    op = kind(WIDTH, HEAD, INNER, 0.5, *([PAIR] if kind is RelationAttention else [])).double().eval()
    x, text = (torch.randn(2, n, WIDTH, dtype=torch.float64) for n in (REGIONS, WORDS))
    features = torch.randn(2, REGIONS, REGIONS, PAIR, dtype=torch.float64)
    pad, text_pad = torch.zeros(2, REGIONS, dtype=torch.bool), torch.zeros(2, WORDS, dtype=torch.bool)
    pad[1, 3:], text_pad[1, 2:] = True, True
    with torch.no_grad():
        found = op(x, Context(pad, text, text_pad, relations=Relations(features, torch.nn.Identity())))
        for sample, (n, t) in enumerate(((REGIONS, WORDS), (3, 2))):
            own, said = x[sample, :n], text[sample, :t]
            answers = {GuidedAttention: said, UnifiedAttention: torch.cat((own, said))}.get(kind, own)

            def bias(head: int, i: int, j: int, sample: int = sample) -> float:
                if kind is not RelationAttention:
                    return 0.0
                weight = float(op.relation.weight[head] @ features[sample, i, j] + op.relation.bias[head])
                return math.log(max(weight, 1e-6))  # half of them are negative

            torch.testing.assert_close(found[sample, :n], plain(op, own, answers, bias), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", OPS)
def test_what_scores_drops_nothing(name: str) -> None:
    sizes = {"width": 256, "head_scale": 1, "relation_width": PAIR}
    torch.manual_seed(0)
    dropping, whole = build(name, dropout=0.5, **sizes), build(name, dropout=0.0, **sizes).eval()
    whole.load_state_dict(dropping.state_dict())
    x, text = torch.randn(2, REGIONS, 256), torch.randn(2, WORDS, 256)
    pad, text_pad = torch.zeros(2, REGIONS, dtype=torch.bool), torch.zeros(2, WORDS, dtype=torch.bool)
    features = torch.randn(2, REGIONS, REGIONS, PAIR)

    def out(op: torch.nn.Module) -> Tensor:
        with torch.no_grad():
            return op(x, Context(pad, text, text_pad, relations=Relations(features, torch.nn.Identity())))

    assert list(dropping.parameters()) == [] or not torch.equal(out(dropping.train()), out(whole))
    assert torch.equal(out(dropping.eval()), out(whole))


def test_the_heads_drop_nothing_either() -> None:
    x, layer = torch.randn(20, 20), Dropout(0.5)
    assert torch.equal(layer.eval()(x), x) and not torch.equal(layer.train()(x), x)
