"""Multi-head attention and the four operations made of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from space.context import Context
from space.graphs import in_graph, readable
from space.inputs import rows
from space.padding import Padding
from space.text_groups import TextGroup
from space.weigh import weigh, weigh_folded

SMALLEST_WEIGHT = 1e-6  # of a relation, before its logarithm


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention (arXiv 1706.03762, section 3.2) without biases in its projections.

    Args:
        width: H, width of the states.
        head: width of a head; must divide ``inner``.
        inner: width of all heads together.
        dropout: on the attention map.
    """

    def __init__(self, width: int, head: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.head, self.dropout = head, dropout
        self.query, self.key, self.value = (nn.Linear(width, inner, bias=False) for _ in range(3))
        self.merge = nn.Linear(inner, width, bias=False)

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.merge.in_features // self.head

    @property
    def chance(self) -> float:
        """Of a weight of the attention map to fall now."""
        return self.dropout if self.training else 0.0

    def attend_to_itself(self, x: Tensor, context: Context, bias: Tensor | None = None) -> Tensor:
        """The states of context's x attend to each other, with (B,heads,N,N) added to the logits."""
        asked = context.whole(project(x, self.query, self.key, self.value))
        hidden = context.padding.bias
        both = hidden if bias is None else bias if hidden is None else bias + hidden
        return self.merge(context.real(weigh(asked, None, self.heads, both, self.chance)))

    def ask(self, x: Tensor, answers: Tensor, bias: Tensor | None) -> Tensor:
        """Attend from x to what keys and values were made of.

        Args:
            x: (B,N,H) states that ask.
            answers: (B,S,2*inner) keys and values.
            bias: (B,1,1,S) added to the logits; None for none.

        Returns:
            (B,N,H).
        """
        if self._folds(x, answers):
            weights = self.query.weight, self.merge.weight
            return weigh_folded(x, answers, *weights, self.heads, bias, self.chance)
        return self.merge(weigh(project(x, self.query), answers, self.heads, bias, self.chance))

    def _folds(self, x: Tensor, answers: Tensor) -> bool:
        """Whether it is faster to project what answers into the space of what asks."""
        asking, answering, width, inner = x.shape[1], answers.shape[1], x.shape[2], self.merge.in_features
        plain, folded = inner * asking * (width + answering), answering * width * (inner + self.heads * asking)
        # Products by head are slower ones; three fifths of the multiplications took as long at all sizes measured.
        return readable(x) and 5 * folded < 3 * plain

    def attend_flops(self, asking: int, answering: int) -> int:
        """Of one sample: projections, logits, weighted sum."""
        width, inner = self.merge.out_features, self.merge.in_features
        return 4 * width * inner * (asking + answering) + 4 * inner * asking * answering


def project(x: Tensor, *layers: nn.Linear) -> Tensor:
    """(...,H) -> (...,all their widths), the layers' outputs side by side, in one product."""
    weights = [layer.weight for layer in layers]
    return F.linear(x, weights[0] if len(weights) == 1 else torch.cat(weights))


class SelfAttention(MultiHeadAttention):
    """The states attend to each other."""

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """As x -> as x."""
        return self.attend_to_itself(x, context)

    def flops(self, n: int, t: int) -> int:
        """Of one sample with n positions."""
        return self.attend_flops(n, n)


class GuidedAttention(MultiHeadAttention):
    """The regions attend to the text (MCAN, arXiv 1906.10770, figure 2b)."""

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(B,N,H) -> (B,N,H)."""
        said = context.of_texts(project(context.words, self.key, self.value))
        if context.text_groups is None:
            return self.ask(x, rows(said, context.text_index), context.text_bias)
        parts = x.split([group.samples for group in context.text_groups])
        pairs = zip(parts, context.text_groups, strict=True)
        return torch.cat([self._ask_together(part, said, context, group) for part, group in pairs])

    def _ask_together(self, x: Tensor, said: Tensor, context: Context, group: TextGroup) -> Tensor:
        """The regions of all samples of a text ask it together, as if they were one sample's."""
        bias = context.text_padding.bias
        bias = None if bias is None else rows(bias, group.texts)[..., : group.words]
        together = x.reshape(len(group.texts), -1, x.shape[-1])
        return self.ask(together, rows(said, group.texts)[:, : group.words], bias).view_as(x)

    def flops(self, n: int, t: int) -> int:
        """Of one sample with n regions and t words."""
        return self.attend_flops(n, t)


class UnifiedAttention(MultiHeadAttention):
    """The regions attend to themselves and the text at once."""

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(B,N,H) -> (B,N,H)."""
        said = rows(context.of_texts(project(context.words, self.key, self.value)), context.text_index)
        pad = torch.cat((context.pad, rows(context.text_pad, context.text_index)), 1)
        return self.ask(x, torch.cat((project(x, self.key, self.value), said), 1), Padding(pad).bias)

    def flops(self, n: int, t: int) -> int:
        """Of one sample with n regions and t words."""
        return self.attend_flops(n, n + t)


class RelationAttention(MultiHeadAttention):
    """Self-attention whose logits get log max(relu(W_r r + b_r), 1e-6) (arXiv 2004.12070, section 3.2; 1711.11575)."""

    def __init__(self, width: int, head: int, inner: int, dropout: float, relation_width: int) -> None:
        super().__init__(width, head, inner, dropout)
        self.relation = nn.Linear(relation_width, self.heads)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(B,N,H) -> (B,N,H)."""
        bias = context.relations.read(self._bias)
        return self.attend_to_itself(x, context, rows(bias, context.image_index))

    def _bias(self, features: Tensor) -> Tensor:
        weight = self.relation(features).float()
        # Both are the same; a threshold makes one call less on the way back, and ONNX knows none but 0.
        if in_graph():
            weight = weight.clamp(min=SMALLEST_WEIGHT)
        else:
            weight = F.threshold(weight, SMALLEST_WEIGHT, SMALLEST_WEIGHT)
        return weight.log().permute(0, 3, 1, 2).contiguous()

    def flops(self, n: int, t: int) -> int:
        """Of one sample with n regions."""
        return self.attend_flops(n, n) + 2 * n * n * self.relation.in_features * self.heads
