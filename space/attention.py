"""Multi-head attention and the four operations made of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from space.context import Context
from space.dropout import dropout
from space.inputs import rows
from space.text_groups import TextGroup

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

    def attend(
        self, x: Tensor, memory: Tensor, pad: Tensor, index: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """Attend from x to a memory that several samples may share.

        Args:
            x: (B,N,H) states that ask.
            memory: (M,S,H) states that answer.
            pad: (M,S) bool, True = padding of the memory.
            index: (B,) row of the memory for every sample; None = row b.
            bias: (B,heads,N,S) added to the logits.

        Returns:
            (B,N,H).
        """
        if index is None and bias is None and self._folds(x, memory):
            return self._attend_folded(x, memory, pad)
        q = self._split(self.query(x))
        k, v = (rows(self._split(part(memory)), index) for part in (self.key, self.value))
        hidden = rows(pad, index)[:, None, None]
        attended = self._weigh(q, k, v, hidden, bias)
        return self.merge(attended.transpose(1, 2).flatten(2))

    def _folds(self, x: Tensor, memory: Tensor) -> bool:
        """Whether it takes fewer multiplications to project what answers into the space of what asks."""
        asking, answering, width, inner = x.shape[1], memory.shape[1], x.shape[2], self.merge.in_features
        plain = inner * asking * (width + answering)
        return x.device.type == "cpu" and answering * width * (inner + self.heads * asking) < plain

    def _attend_folded(self, x: Tensor, memory: Tensor, pad: Tensor) -> Tensor:
        """The same with (x Wq)(m Wk)' as x (m Wk Wq')' and A (m Wv) Wm as A (m Wv Wm), for each head.

        A few words that many regions ask are projected twice, and the regions not at all.
        """
        keys = self._project(self.key(memory) * self.head**-0.5, self.query.weight)
        values = self._project(self.value(memory), self.merge.weight.t())
        logits = (x @ keys.transpose(1, 2)).unflatten(-1, (self.heads, -1))  # (B,N,heads,S)
        return self._weights(logits, pad[:, None, None], values.dtype).flatten(2) @ values

    def _project(self, x: Tensor, weight: Tensor) -> Tensor:
        """(B,S,inner) and (inner,H) -> (B,heads*S,H), every head by its own rows of the weight."""
        by_head = x.flatten(0, 1).unflatten(-1, (-1, self.head)).transpose(0, 1)
        projected = by_head @ weight.unflatten(0, (-1, self.head))
        return projected.unflatten(1, x.shape[:2]).transpose(0, 1).flatten(1, 2)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.head)).transpose(1, 2)

    def _weigh(self, q: Tensor, k: Tensor, v: Tensor, hidden: Tensor, bias: Tensor | None) -> Tensor:
        if q.device.type == "cuda":
            p = self.dropout if self.training else 0.0
            mask = ~hidden if bias is None else bias.to(q.dtype).masked_fill(hidden, torch.finfo(q.dtype).min)
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
        # Written out because on a CPU the fused kernel is no faster in fp32 and several times slower in bf16.
        logits = (q * self.head**-0.5) @ k.transpose(-1, -2)
        return self._weights(logits if bias is None else logits + bias, hidden, v.dtype) @ v

    def _weights(self, logits: Tensor, hidden: Tensor, dtype: torch.dtype) -> Tensor:
        # Copies of all logits, which detectors that give every image as many regions never need.
        if hidden.any():
            logits = logits.masked_fill(hidden, torch.finfo(logits.dtype).min)
        weights = logits.softmax(-1).to(dtype)
        return dropout(weights, self.dropout) if self.training and self.dropout else weights

    def attend_flops(self, asking: int, answering: int) -> int:
        """Of one sample: projections, logits, weighted sum."""
        width, inner = self.merge.out_features, self.merge.in_features
        return 4 * width * inner * (asking + answering) + 4 * inner * asking * answering


class SelfAttention(MultiHeadAttention):
    """The states attend to each other."""

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(B,N,H) -> (B,N,H)."""
        return self.attend(x, x, context.pad)

    def flops(self, n: int, t: int) -> int:
        """Of one sample with n positions."""
        return self.attend_flops(n, n)


class GuidedAttention(MultiHeadAttention):
    """The regions attend to the text (MCAN, arXiv 1906.10770, figure 2b)."""

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(B,N,H) -> (B,N,H)."""
        if context.text_groups is None:
            return self.attend(x, context.text, context.text_pad, context.text_index)
        groups = context.text_groups
        parts = x.split([group.samples for group in groups])
        return torch.cat([self._ask(part, context, group) for part, group in zip(parts, groups, strict=True)])

    def _ask(self, x: Tensor, context: Context, group: TextGroup) -> Tensor:
        """The regions of all samples of a text ask it together, as if they were one sample's."""
        text, text_pad = (rows(part, group.texts)[:, : group.words] for part in (context.text, context.text_pad))
        return self.attend(x.reshape(len(group.texts), -1, x.shape[-1]), text, text_pad).view_as(x)

    def flops(self, n: int, t: int) -> int:
        """Of one sample with n regions and t words."""
        return self.attend_flops(n, t)


class UnifiedAttention(MultiHeadAttention):
    """The regions attend to themselves and the text at once."""

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(B,N,H) -> (B,N,H)."""
        text, text_pad = (rows(part, context.text_index) for part in (context.text, context.text_pad))
        return self.attend(x, torch.cat((x, text), 1), torch.cat((context.pad, text_pad), 1))

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
        return self.attend(x, x, context.pad, bias=rows(bias, context.image_index))

    def _bias(self, features: Tensor) -> Tensor:
        weight = self.relation(features).float().clamp(min=SMALLEST_WEIGHT)
        return weight.log().permute(0, 3, 1, 2).contiguous()

    def flops(self, n: int, t: int) -> int:
        """Of one sample with n regions."""
        return self.attend_flops(n, n) + 2 * n * n * self.relation.in_features * self.heads
