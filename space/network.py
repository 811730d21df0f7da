"""The network around the backbone, in stages that run once per text, once per image and once per pair."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from space.alignment import Alignment
from space.backbone import Backbone
from space.context import Context
from space.dropout import Dropout
from space.geometry import Relation, normalised_boxes, relation_geometry
from space.graphs import in_graph, readable
from space.inputs import Inputs, rows
from space.padding import Padding, rounded
from space.relations import Relations
from space.text_groups import group_by_text

TOGETHER, TOGETHER_ELSEWHERE = 256, 512  # texts that go through the encoder together, on a CPU and on a GPU
READ_TOGETHER = 32  # through the LSTM on a CPU: few enough to be of similar length


class Texts(NamedTuple):
    """Encoded texts."""

    states: Tensor  # (Q,T,H)
    pad: Tensor  # (Q,T) bool
    vectors: Tensor | None = None  # (Q,T,A) in the space shared with images, where the network aligns the two


class Images(NamedTuple):
    """Images as far as they can be processed without a text."""

    states: Tensor  # (I,R,H) after the decoder's stem
    pad: Tensor  # (I,R) bool
    relations: Relations | None  # where a block reads them
    vectors: Tensor | None = None  # (I,R,A) in the space shared with texts, where the network aligns the two


class States(NamedTuple):
    """What a head sees: texts still once each, regions once per sample."""

    text: Tensor  # (Q,T,H)
    text_pad: Tensor  # (Q,T) bool
    text_index: Tensor | None  # (B,) row of ``text`` for every sample; None = row b
    regions: Tensor  # (B,R,H)
    regions_pad: Tensor  # (B,R) bool
    similarity: Tensor | None = None  # (B,) of text and image on their own, where the network aligns the two


class Network(nn.Module):
    """Words -> embedding -> LSTM -> encoder; regions -> linear -> decoder (MCAN's frame, arXiv 1906.10770).

    Args:
        backbone: the blocks.
        words: size of the vocabulary.
        region_width: D, width of a region feature.
        width: H, width of all states.
        word_width: width of the word embedding.
        relation_width: width of the features of a pair of boxes.
        bbox_features: append a projection of each region's normalised box to its features.
        align_width: width of a space that texts and images share before they meet; 0 for none.
        embedding_dropout: dropout of the components of word vectors that the LSTM reads; the alignment reads all.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        words: int,
        region_width: int,
        width: int,
        word_width: int = 300,
        relation_width: int = 64,
        bbox_features: bool = False,
        align_width: int = 0,
        embedding_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, word_width)
        self.embedding_dropout = Dropout(embedding_dropout)
        self.lstm = nn.LSTM(word_width, width, batch_first=True)
        self.box_projection = nn.Linear(5, region_width) if bbox_features else None
        self.region_projection = nn.Linear(region_width * (2 if bbox_features else 1), width)
        self.relation = Relation(relation_width)
        self.backbone = backbone
        self.alignment = Alignment(word_width, region_width, width, align_width) if align_width else None

    def start_from(self, word_vectors: np.ndarray) -> None:
        """Start the embedding from (words, word_width) vectors; they go on being trained."""
        with torch.no_grad():
            self.embedding.weight.copy_(torch.from_numpy(word_vectors))

    def encode_texts(self, tokens: Tensor, pad: Tensor) -> Texts:
        """(Q,T) token ids and padding -> text states, zeros or anything at padding.

        Texts of similar length go through together, so that the longest does not set the price of all.
        """
        together, states = TOGETHER if pad.is_cpu else TOGETHER_ELSEWHERE, None
        # The texts of a batch, whose lengths would be waited for.
        if in_graph() or (not pad.is_cpu and len(pad) <= together):
            return self._aligned(tokens, self._encode(tokens, pad), pad)
        lengths, order = (~pad).sum(1).sort(stable=True)
        for size, group in zip(lengths.split(together), order.split(together), strict=True):
            longest = int(size[-1])
            part = self._encode(tokens[group, :longest], pad[group, :longest])
            states = part.new_zeros(*tokens.shape, part.shape[-1]) if states is None else states
            states[group, :longest] = part
        return self._aligned(tokens, states, pad)

    def _aligned(self, tokens: Tensor, states: Tensor, pad: Tensor) -> Texts:
        if self.alignment is None:
            return Texts(states, pad)
        return Texts(states, pad, self.alignment.words(self.embedding(tokens), states, pad))

    def _encode(self, tokens: Tensor, pad: Tensor) -> Tensor:
        """The same of texts in order of their lengths; without padding where it is readable."""
        if not readable(pad):
            return self.backbone.encode(self._lstm(tokens), Context(pad))
        parts = zip(tokens.split(READ_TOGETHER), pad.split(READ_TOGETHER), strict=True)
        context = Context(pad, packed=True)
        words = torch.cat([self._read(*part) for part in parts])
        if context.padding.rows > len(words):
            words = F.pad(words, (0, 0, 0, context.padding.rows - len(words)))
        return context.whole(self.backbone.encode(words, context))

    def _read(self, tokens: Tensor, pad: Tensor) -> Tensor:
        """(n,T) token ids and padding, the longest last -> (real words,H) states."""
        longest = int((~pad[-1]).sum())
        # The LSTM runs forward only, so padding behind the words changes nothing.
        return Padding(pad[:, :longest]).alone(self._lstm(tokens[:, :longest]))

    def _lstm(self, tokens: Tensor) -> Tensor:
        """(n,T) token ids -> (n,T,H)."""
        return self.lstm(self.embedding_dropout(self.embedding(tokens)))[0]

    def encode_images(self, regions: Tensor, boxes: Tensor, image_hw: Tensor, pad: Tensor) -> Images:
        """(I,R,D) features, (I,R,4) boxes, (I,2) sizes and padding -> images ready to meet texts."""
        # Widened only here, so that files, loaders and transfers to a GPU carry split_by_image.
        features = regions.to(self.region_projection.weight.dtype)
        relations = Relations(relation_geometry(boxes), self.relation) if self.backbone.reads_boxes else None
        states = self.backbone.decode_stem(self._project(features, boxes, image_hw), Context(pad, relations=relations))
        vectors = None if self.alignment is None else self.alignment.regions(features, states, pad)
        return Images(states, pad, relations, vectors)

    def _project(self, features: Tensor, boxes: Tensor, image_hw: Tensor) -> Tensor:
        """(I,R,D) -> (I,R,H); as the projection of features and projected boxes side by side, multiplied out."""
        linear, of_box = self.region_projection, self.box_projection
        if of_box is None:
            return linear(features)
        by_features, by_boxes = linear.weight.chunk(2, dim=1)
        projected = F.linear(features, by_features, linear.bias + by_boxes @ of_box.bias)
        return projected + F.linear(normalised_boxes(boxes, image_hw), by_boxes @ of_box.weight)

    def similarity(self, texts: Texts, images: Images) -> Tensor:
        """(Q,I) similarities of all texts with all images; the network aligns the two."""
        return self.alignment(texts.vectors, texts.pad, images.vectors, images.pad)

    def fuse(
        self, texts: Texts, images: Images, text_index: Tensor | None = None, image_index: Tensor | None = None
    ) -> States:
        """Meet texts and images in the samples (text_index[b], image_index[b])."""
        pad = rows(images.pad, image_index)
        order = groups = None
        # A GPU would have to be waited for, and there the copies of a shared text cost next to nothing.
        if text_index is not None and readable(text_index):
            order, groups = group_by_text(text_index, texts.pad)
        of_text, of_image = (
            index if order is None else order if index is None else rows(index, order)
            for index in (text_index, image_index)
        )
        context = Context(rows(pad, order), texts.states, texts.pad, of_text, groups, images.relations, of_image)
        regions = self.backbone.decode(rows(images.states, of_image), context)
        regions = regions if order is None else rows(regions, order.argsort())
        similarity = None
        if self.alignment is not None:
            aligned = texts.vectors, texts.pad, images.vectors, images.pad
            similarity = self.alignment.pairs(*aligned, text_index, image_index)
        return States(texts.states, texts.pad, text_index, regions, pad, similarity)

    def forward(self, inputs: Inputs) -> States:
        """All stages in a row."""
        if inputs.image_index is not None and readable(inputs.image_index):
            inputs = inputs.over(rounded(len(inputs.regions)))
        texts = self.encode_texts(inputs.tokens, inputs.tokens_pad)
        images = self.encode_images(inputs.regions, inputs.boxes, inputs.image_hw, inputs.regions_pad)
        return self.fuse(texts, images, inputs.text_index, inputs.image_index)


class Model(nn.Module):
    """A network and a task's head."""

    def __init__(self, network: Network, head: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.head = head

    def forward(self, inputs: Inputs) -> Tensor:
        """Whatever the head gives for every sample."""
        return self.head(self.network(inputs))


def device_of(model: nn.Module) -> torch.device:
    """The device a model lives on."""
    return next(model.parameters()).device
