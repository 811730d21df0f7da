"""The same mathematics written down plainly, for measuring what the project's ideas give.

Everything is fp32. Every pair encodes its own text and its own image, padded to a constant; the supernet keeps a
gradient for every weight, and an architecture step runs all candidates one by one with a graph; features are read
from one npz per image. Parameters have the project's names: one ``load_state_dict`` gives both the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Dense(NamedTuple):
    """B samples, each with its own text and its own image, padded to constants."""

    regions: Tensor  # (B,R,D)
    boxes: Tensor  # (B,R,4)
    regions_pad: Tensor  # (B,R) bool
    tokens: Tensor  # (B,T)
    tokens_pad: Tensor  # (B,T) bool

    def part(self, start: int, stop: int) -> Dense:
        """Some of the samples."""
        return Dense(*(part[start:stop] for part in self))


class Attention(nn.Module):
    """Multi-head attention of one of three kinds: self, guided (by the text), relation (between boxes)."""

    def __init__(self, kind: str, head: int, width: int, dropout: float, relation_width: int) -> None:
        super().__init__()
        self.kind, self.head, self.heads = kind, head, width // head
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.merge = nn.Linear(width, width, bias=False)
        self.dropout = nn.Dropout(dropout)
        if kind == "relation":
            self.relation = nn.Linear(relation_width, self.heads)

    def forward(self, x: Tensor, pad: Tensor, text: Tensor, text_pad: Tensor, relation: Tensor) -> Tensor:
        memory, hidden = (text, text_pad) if self.kind == "guided" else (x, pad)
        b, n, width = x.shape
        q = self.query(x).view(b, n, self.heads, self.head).transpose(1, 2)
        k = self.key(memory).view(b, -1, self.heads, self.head).transpose(1, 2)
        v = self.value(memory).view(b, -1, self.heads, self.head).transpose(1, 2)
        logits = torch.matmul(q, k.transpose(2, 3)) / math.sqrt(self.head)
        if self.kind == "relation":
            weight = torch.relu(self.relation(relation)).permute(0, 3, 1, 2)
            logits = logits + torch.log(torch.clamp(weight, min=1e-6))
        logits = logits.masked_fill(hidden[:, None, None, :], -1e9)
        attended = torch.matmul(self.dropout(torch.softmax(logits, dim=-1)), v)
        return self.merge(attended.transpose(1, 2).reshape(b, n, width))


class FeedForward(nn.Module):
    """Linear to four times the width, ReLU, Linear back."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, 4 * width), nn.Linear(4 * width, width)])
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, *unused: Tensor) -> Tensor:
        return self.layers[1](self.dropout(torch.relu(self.layers[0](x))))


KINDS = {"self_att": "self", "guided_att": "guided", "rel_self_att": "relation"}


class Operation(nn.Module):
    """LayerNorm(x + Dropout(f(x)))."""

    def __init__(self, name: str, width: int, dropout: float, relation_width: int) -> None:
        super().__init__()
        kind, _, head = name.rpartition("_")
        attention = kind in KINDS and Attention(KINDS[kind], int(head), width, dropout, relation_width)
        self.inner = attention or FeedForward(width, dropout)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        return self.norm(x + self.dropout(self.inner(x, *context)))


class Fixed(nn.Module):
    """A block of a fixed network."""

    def __init__(self, name: str, *sizes: float) -> None:
        super().__init__()
        self.op = Operation(name, *sizes)

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        return self.op(x, *context)


class Mixed(nn.Module):
    """A block of the supernet: the active candidate, or the gated sum of all where ``gates`` is set."""

    def __init__(self, names: Sequence[str], *sizes: float) -> None:
        super().__init__()
        self.candidates = nn.ModuleList(Fixed(name, *sizes) for name in names)
        self.alpha = nn.Parameter(torch.zeros(len(names)))
        self.active = 0
        self.gates: Tensor | None = None

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        if self.gates is None:
            return self.candidates[self.active](x, *context)
        return sum(gate * one(x, *context) for gate, one in zip(self.gates, self.candidates, strict=True))


class Pool(nn.Module):
    """One-glimpse attention over positions."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 1))
        self.merge = nn.Linear(width, 2 * width)

    def forward(self, x: Tensor, pad: Tensor) -> Tensor:
        weights = torch.softmax(self.score(x).masked_fill(pad.unsqueeze(-1), -1e9), dim=1)
        return self.merge((weights * x).sum(dim=1))


class Head(nn.Module):
    """Pooled text and regions to ``outputs`` logits; or, for 0 outputs, to a score and four offsets per region."""

    def __init__(self, width: int, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.text = Pool(width, hidden, dropout)
        self.norm = nn.LayerNorm(2 * width, eps=1e-6)
        if outputs:
            self.regions: nn.Module = Pool(width, hidden, dropout)
            self.out = nn.Linear(2 * width, outputs)
        else:
            self.regions = nn.Linear(width, 2 * width)
            self.score, self.offsets = nn.Linear(2 * width, 1), nn.Linear(2 * width, 4)

    def forward(self, text: Tensor, text_pad: Tensor, regions: Tensor, pad: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        pooled = self.text(text, text_pad)
        if hasattr(self, "out"):
            return self.out(self.norm(pooled + self.regions(regions, pad)))
        joint = self.norm(pooled.unsqueeze(1) + self.regions(regions))
        return self.score(joint).squeeze(-1).masked_fill(pad, -1e9), self.offsets(joint)


def geometry(boxes: Tensor) -> Tensor:
    """(B,R,R,4) relative geometry of every pair of boxes."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    w, h, cx, cy = x2 - x1 + 1, y2 - y1 + 1, (x1 + x2) / 2, (y1 + y2) / 2
    dx = torch.log(torch.clamp((cx[:, :, None] - cx[:, None]).abs() / w[:, :, None], min=1e-3))
    dy = torch.log(torch.clamp((cy[:, :, None] - cy[:, None]).abs() / h[:, :, None], min=1e-3))
    return torch.stack((dx, dy, torch.log(w[:, :, None] / w[:, None]), torch.log(h[:, :, None] / h[:, None])), -1)


class _Named(nn.Module):
    """A place for modules, so that their parameters get the names they have in the project."""


class Textbook(nn.Module):
    """Network and head. A block given as a list of names is a choice, as one name a fixed operation.

    Args:
        encoder: operations over the words.
        decoder: operations over the regions.
        words: size of the vocabulary.
        region_width: D.
        width: H.
        outputs: logits; 0 for a score and offsets per region.
        dropout: everywhere.
        word_width: of the embedding.
        hidden: of the pooling.
        relation_width: of a pair of boxes.
    """

    def __init__(
        self,
        encoder: Sequence[str | Sequence[str]],
        decoder: Sequence[str | Sequence[str]],
        *,
        words: int,
        region_width: int,
        width: int,
        outputs: int,
        dropout: float = 0.1,
        word_width: int = 300,
        hidden: int = 512,
        relation_width: int = 64,
    ) -> None:
        super().__init__()
        net = self.network = _Named()
        net.embedding = nn.Embedding(words, word_width)
        net.lstm = nn.LSTM(word_width, width, batch_first=True)
        net.region_projection = nn.Linear(region_width, width)
        net.relation = _Named()
        net.relation.linear = nn.Linear(4, relation_width)
        net.backbone = _Named()
        for side, names in (("encoder", encoder), ("decoder", decoder)):
            blocks = [
                (Fixed if isinstance(name, str) else Mixed)(name, width, dropout, relation_width) for name in names
            ]
            setattr(net.backbone, side, nn.ModuleList(blocks))
        self.head = Head(width, hidden, outputs, dropout)

    @property
    def blocks(self) -> list[Mixed]:
        """All blocks, encoder first."""
        return [*self.network.backbone.encoder, *self.network.backbone.decoder]

    def forward(self, given: Dense) -> Tensor | tuple[Tensor, Tensor]:
        net = self.network
        text, _ = net.lstm(net.embedding(given.tokens))
        for block in net.backbone.encoder:
            text = block(text, given.tokens_pad, text, given.tokens_pad, given.boxes)
        relation = torch.relu(net.relation.linear(geometry(given.boxes)))
        regions = net.region_projection(given.regions)
        for block in net.backbone.decoder:
            regions = block(regions, given.regions_pad, text, given.tokens_pad, relation)
        return self.head(text, given.tokens_pad, regions, given.regions_pad)


def itm_loss(model: Textbook, given: Dense, targets: dict[str, Tensor]) -> Tensor:
    """Twice the positives, then pairs with a wrong caption, then pairs with a wrong image."""
    positive, caption, image = model(given).view(3, -1)
    ones, zeros = torch.ones_like(positive), torch.zeros_like(positive)
    bce = F.binary_cross_entropy_with_logits
    return (
        2 * bce(positive, ones, reduction="sum")
        + bce(caption, zeros, reduction="sum")
        + bce(image, zeros, reduction="sum")
    )


def vqa_loss(model: Textbook, given: Dense, targets: dict[str, Tensor]) -> Tensor:
    """Binary cross entropy with soft scores."""
    return F.binary_cross_entropy_with_logits(model(given), targets["scores"], reduction="sum")


def vgd_loss(model: Textbook, given: Dense, targets: dict[str, Tensor]) -> Tensor:
    """KL divergence to the normalised overlaps, and half the smooth L1 of the offsets."""
    scores, offsets = model(given)
    overlap, near = targets["overlap"], targets["overlap"] > 0
    some = near.any(dim=1)
    wanted = overlap[some] / overlap[some].sum(dim=1, keepdim=True)
    where = F.kl_div(F.log_softmax(scores[some], dim=-1), wanted, reduction="batchmean")
    shift = F.smooth_l1_loss(offsets[near], targets["offsets"][near], reduction="none").sum(-1).mean()
    return where + 0.5 * shift


LOSSES = {"itm": itm_loss, "vqa": vqa_loss, "vgd": vgd_loss}


def move(model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Clip and step over all weights, with zeros as the gradient of what did not run."""
    for parameter in model.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    for parameter in model.parameters():
        parameter.grad.zero_()


def open_gates(model: Textbook, active: Sequence[int]) -> None:
    """Set the binary gates of every block."""
    for block, number in zip(model.blocks, active, strict=True):
        gates = torch.zeros(len(block.candidates), device=block.alpha.device)
        gates[number] = 1.0
        block.gates = gates.requires_grad_()


def alpha_gradients(model: Textbook) -> list[Tensor]:
    """dL/dalpha of every block after the loss went backward, by the Jacobian of the softmax written out."""
    gradients = []
    for block in model.blocks:
        p = torch.softmax(block.alpha.detach(), dim=0)
        jacobian = torch.diag(p) - p[:, None] * p[None]
        gradients.append(jacobian @ block.gates.grad)
        block.gates = None
    return gradients


def read_npz(folder: Path, images: Sequence[int], most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Regions (B,most,D), boxes (B,most,4) and padding (B,most) of images, one npz each."""
    regions, boxes, pads = [], [], []
    for image in images:
        with np.load(folder / f"{image}.npz") as file:
            x, box = file["x"].T.astype(np.float32)[:most], file["bbox"].astype(np.float32)[:most]
        short = most - len(x)
        regions.append(np.pad(x, ((0, short), (0, 0))))
        boxes.append(np.pad(box, ((0, short), (0, 0))))
        pads.append(np.arange(most) >= most - short)
    return tuple(torch.from_numpy(np.stack(part)) for part in (regions, boxes, pads))


def pad_tokens(texts: Sequence[Sequence[int]], most: int) -> tuple[Tensor, Tensor]:
    """Token ids (B,most) and padding."""
    tokens = torch.zeros(len(texts), most, dtype=torch.int64)
    for row, text in enumerate(texts):
        tokens[row, : len(text)] = torch.tensor(text[:most])
    return tokens, tokens == 0
