"""How similar texts and images are on their own, before a network fuses them: as wholes, and word by word."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from space.inputs import rows

START, MOST = 14.0, 100.0  # factor of a similarity: 1 / 0.07 as in CLIP (arXiv 2103.00020), and where it stops
SHARPNESS = 10.0  # at first, of a word's attention to regions


class Similarity(NamedTuple):
    """How similar a text is to what is in an image."""

    image: Tensor  # (B,) to the image
    regions: Tensor  # (B,R) to each of its regions, anything at padding


class Vectors(nn.Module):
    """What stands at each position, in the space that texts and images share: from its input and from its state.

    The input goes through a hidden layer and past it (design after VSE-infinity, arXiv 2011.04305).

    Args:
        input_width: width of a word's embedding or of a region's features.
        width: H, width of the states.
        shared: A, width of the shared space.
    """

    def __init__(self, input_width: int, width: int, shared: int) -> None:
        super().__init__()
        self.input = nn.Linear(input_width, shared)
        self.hidden = nn.Sequential(nn.Linear(input_width, 2 * shared), nn.GELU(), nn.Linear(2 * shared, shared))
        self.state = nn.Linear(width, shared)

    def forward(self, inputs: Tensor, states: Tensor, pad: Tensor) -> Tensor:
        """(N,P,input_width) and (N,P,H) -> (N,P,A), zeros at padding."""
        # The inputs generalise from few samples, the states tell more where there are many.
        made = self.input(inputs) + self.hidden(inputs) + self.state(states)
        return made.masked_fill(pad.unsqueeze(-1), 0)


class Alignment(nn.Module):
    """Similarities of a text to an image and to its regions, before the two meet.

    That to an image is trained by contrast ("align before fuse", arXiv 2107.07651, section 3.2). It is the cosine of
    the mean vectors, times a learned factor, plus the mean over the words of the cosines between a word and the
    regions, weighted by the word's attention to them (SCAN, arXiv 1803.08024), times another. That to a region is the
    mean of the words' cosines with it, times the second factor.

    Means over words are weighted by how much a word tells, a softmax of a linear score: at first they all count alike,
    later "dog" counts more than "the".

    Args:
        word_width: width of word embeddings.
        region_width: D, width of region features.
        width: H, width of the states.
        shared: A, width of the shared space.
    """

    def __init__(self, word_width: int, region_width: int, width: int, shared: int) -> None:
        super().__init__()
        self.words = Vectors(word_width, width, shared)
        self.regions = Vectors(region_width, width, shared)
        self.telling = nn.Linear(shared, 1)
        nn.init.zeros_(self.telling.weight)
        self.scales = nn.Parameter(torch.tensor([START, START, SHARPNESS]).log())

    def forward(self, words: Tensor, words_pad: Tensor, regions: Tensor, regions_pad: Tensor) -> Tensor:
        """All texts with all images.

        Args:
            words: (Q,T,A) as ``self.words`` gives them.
            words_pad: (Q,T) bool.
            regions: (I,R,A) as ``self.regions`` gives them.
            regions_pad: (I,R) bool.

        Returns:
            (Q,I) similarities.
        """
        text, image = F.normalize(words, dim=-1), F.normalize(regions, dim=-1)
        cosines = (text.flatten(0, 1) @ image.flatten(0, 1).t()).view(*text.shape[:2], *image.shape[:2])
        cosines = cosines.transpose(1, 2)  # (Q,I,T,R)
        weights = self._weights(words, words_pad)
        # Rounded to bf16, many images would be equally similar to a text.
        with torch.autocast(words.device.type, enabled=False):
            whole = _whole(words, weights) @ _whole(regions).t()
        return self._combine(self._factors(), whole, cosines, weights[:, None], regions_pad[:, None])

    def pairs(
        self,
        words: Tensor,
        words_pad: Tensor,
        regions: Tensor,
        regions_pad: Tensor,
        text_index: Tensor | None,
        image_index: Tensor | None,
    ) -> Similarity:
        """Those of the texts ``text_index[b]`` to the images ``image_index[b]`` and their regions; None = row b."""
        said = self._weights(words, words_pad)
        text, image = rows(words, text_index), rows(regions, image_index)
        weights, unseen = rows(said, text_index), rows(regions_pad, image_index)[:, None]
        cosines = F.normalize(text, dim=-1) @ F.normalize(image, dim=-1).transpose(1, 2)
        whole = (rows(_whole(words, said), text_index) * _whole(image)).sum(-1)
        factors = self._factors()
        to_regions = factors[1] * (cosines * weights.unsqueeze(-1)).sum(1)
        return Similarity(self._combine(factors, whole, cosines, weights, unseen), to_regions)

    def _factors(self) -> Tensor:
        """(3,) factors of whole texts and images and of words and regions, and the sharpness of a word's attention."""
        return self.scales.exp().clamp(max=MOST)

    def _weights(self, words: Tensor, pad: Tensor) -> Tensor:
        """(N,T,A) -> (N,T) float32, how much each word counts; they sum to 1."""
        scores = self.telling(words).squeeze(-1).float()
        return scores.masked_fill(pad, torch.finfo(scores.dtype).min).softmax(-1)

    @staticmethod
    def _combine(factors: Tensor, whole: Tensor, cosines: Tensor, weights: Tensor, unseen: Tensor) -> Tensor:
        """(...) cosines of whole texts and images, (...,T,R) of words and regions, the words' weights -> (...)."""
        of_whole, of_words, sharpness = factors
        hidden = torch.finfo(cosines.dtype).min
        attention = (sharpness * cosines).masked_fill(unseen, hidden).softmax(-1)
        found = ((cosines * attention).sum(-1) * weights).sum(-1)
        return of_whole * whole + of_words * found


def _whole(vectors: Tensor, weights: Tensor | None = None) -> Tensor:
    """(N,P,A) with zeros at padding -> (N,A) float32 of length 1, in the direction of their mean, weighted or not."""
    vectors = vectors.float()
    return F.normalize(vectors.sum(1) if weights is None else (weights.unsqueeze(1) @ vectors).squeeze(1), dim=-1)
