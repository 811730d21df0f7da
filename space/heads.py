"""From final states to outputs: attention pooling, and the two heads the three tasks need."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from space.dropout import Dropout
from space.inputs import rows
from space.layers import NORM_EPS
from space.network import States


class AttentionPool(nn.Module):
    """One-glimpse attention over positions: softmax(MLP(x)) weighted sum, then Linear H -> 2H (MCAN, section 3.3)."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), Dropout(dropout), nn.Linear(hidden, 1))
        self.merge = nn.Linear(width, 2 * width)

    def forward(self, x: Tensor, pad: Tensor) -> Tensor:
        """(B,N,H) states, (B,N) padding -> (B,2H)."""
        return self.merge((self.weights(x, pad).unsqueeze(1) @ x).squeeze(1))

    def weights(self, x: Tensor, pad: Tensor) -> Tensor:
        """(B,N,H) states, (B,N) padding -> (B,N) how much each position counts; they sum to 1."""
        scores = self.score(x).squeeze(-1)
        return scores.masked_fill(pad, torch.finfo(scores.dtype).min).softmax(-1).to(x.dtype)


class PooledClassifier(nn.Module):
    """LayerNorm(pool(text) + pool(regions)) -> Linear: answers of a question, or one matching logit."""

    def __init__(self, width: int, pool_hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.text = AttentionPool(width, pool_hidden, dropout)
        self.regions = AttentionPool(width, pool_hidden, dropout)
        self.norm = nn.LayerNorm(2 * width, eps=NORM_EPS)
        self.out = nn.Linear(2 * width, outputs)

    def forward(self, states: States) -> Tensor:
        """-> (B, outputs) logits."""
        return self.out(self.joint(states))

    def joint(self, states: States) -> Tensor:
        """-> (B,2H), what text and image come to together."""
        text = rows(self.text(states.text, states.text_pad), states.text_index)
        return self.norm(text + self.regions(states.regions, states.regions_pad))


class Matcher(PooledClassifier):
    """One matching logit: what the fused states say, and the similarity of text and image on their own if known."""

    def __init__(self, width: int, pool_hidden: int, dropout: float) -> None:
        super().__init__(width, pool_hidden, 1, dropout)

    def forward(self, states: States) -> Tensor:
        """-> (B,1) float32 logits."""
        joint = self.joint(states)
        # In bf16 numbers lie further apart than the scores of captions that differ in a word.
        with torch.autocast(joint.device.type, enabled=False):
            logits = self.out(joint.float())
        return logits if states.similarity is None else logits + states.similarity.unsqueeze(1)


class RegionPointer(nn.Module):
    """LayerNorm(pool(text) + Linear(regions)) -> one score and four box offsets per region."""

    def __init__(self, width: int, pool_hidden: int, dropout: float) -> None:
        super().__init__()
        self.text = AttentionPool(width, pool_hidden, dropout)
        self.regions = nn.Linear(width, 2 * width)
        self.norm = nn.LayerNorm(2 * width, eps=NORM_EPS)
        self.score = nn.Linear(2 * width, 1)
        self.offsets = nn.Linear(2 * width, 4)

    def forward(self, states: States) -> tuple[Tensor, Tensor]:
        """-> scores (B,R), which are the dtype's minimum at padding, and offsets (B,R,4)."""
        text = rows(self.text(states.text, states.text_pad), states.text_index)
        joint = self.norm(text.unsqueeze(1) + self.regions(states.regions))
        scores = self.score(joint).squeeze(-1)
        return scores.masked_fill(states.regions_pad, torch.finfo(scores.dtype).min), self.offsets(joint)
