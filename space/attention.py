"""Multi-head attention and the four operations made of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from space.context import Context
from space.dropout import dropout
from space.inputs import rows

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
        q = self._split(self.query(x))
        k, v = (rows(self._split(part(memory)), index) for part in (self.key, self.value))
        hidden = rows(pad, index)[:, None, None]
        attended = self._weigh(q, k, v, hidden, bias)
        return self.merge(attended.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.head)).transpose(1, 2)

    def _weigh(self, q: Tensor, k: Tensor, v: Tensor, hidden: Tensor, bias: Tensor | None) -> Tensor:
        p = self.dropout if self.training else 0.0
        if q.device.type == "cuda":
            mask = ~hidden if bias is None else bias.to(q.dtype).masked_fill(hidden, torch.finfo(q.dtype).min)
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
        # Written out because on a CPU the fused kernel is no faster in fp32 and several times slower in bf16.
        logits = (q * self.head**-0.5) @ k.transpose(-1, -2)
        if bias is not None:
            logits = logits + bias
        # Copies of all logits, which detectors that give every image as many regions never need.
        if hidden.any():
            logits = logits.masked_fill(hidden, torch.finfo(logits.dtype).min)
        weights = logits.softmax(-1).to(v.dtype)
        return (dropout(weights, p) if p else weights) @ v

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
        return self.attend(x, context.text, context.text_pad, context.text_index)

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
        weight = self.relation(context.relation).float().clamp(min=SMALLEST_WEIGHT)
        bias = rows(weight.log().permute(0, 3, 1, 2), context.image_index)
        return self.attend(x, x, context.pad, bias=bias)

    def flops(self, n: int, t: int) -> int:
        """Of one sample with n regions."""
        return self.attend_flops(n, n) + 2 * n * n * self.relation.in_features * self.heads
