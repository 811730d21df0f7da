"""How similar texts and images are on their own, before a network fuses them: as wholes, and word by word."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from space.inputs import rows

START, MOST = 14.0, 100.0  # factor of a similarity: 1 / 0.07 as in CLIP (arXiv 2103.00020), and where it stops
SHARPNESS = 10.0  # at first, of a word's attention to regions


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
    """A similarity of a text and an image, trained by contrast ("align before fuse", arXiv 2107.07651, section 3.2).

    It is the cosine of the words' weighted mean and the regions' mean, times a learned factor, plus the weighted mean
    over the words of the cosines between a word and the regions, weighted by the word's attention to them (SCAN, arXiv
    1803.08024), times another. A word's weight is a softmax of a linear score over its text, so that words that tell
    more can count more; at first all count alike.

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
        self.telling = nn.Parameter(torch.zeros(shared))
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
        return self._combine(whole, cosines, weights[:, None], regions_pad[:, None])

    def pairs(
        self,
        words: Tensor,
        words_pad: Tensor,
        regions: Tensor,
        regions_pad: Tensor,
        text_index: Tensor | None,
        image_index: Tensor | None,
    ) -> Tensor:
        """(B,) similarities of the texts ``text_index[b]`` with the images ``image_index[b]``; None = row b."""
        said = self._weights(words, words_pad)
        text, image = rows(words, text_index), rows(regions, image_index)
        weights, unseen = rows(said, text_index), rows(regions_pad, image_index)[:, None]
        cosines = F.normalize(text, dim=-1) @ F.normalize(image, dim=-1).transpose(1, 2)
        whole = (rows(_whole(words, said), text_index) * _whole(image)).sum(-1)
        return self._combine(whole, cosines, weights, unseen)

    def _weights(self, words: Tensor, pad: Tensor) -> Tensor:
        """(N,T,A) -> (N,T) float32, how much each word counts; they sum to 1, and are alike where there is no word."""
        scores = (words.float() * self.telling).sum(-1)
        return scores.masked_fill(pad, torch.finfo(scores.dtype).min).softmax(-1)

    def _combine(self, whole: Tensor, cosines: Tensor, weights: Tensor, unseen: Tensor) -> Tensor:
        """(...) cosines of whole texts and images, (...,T,R) of words and regions, the words' weights -> (...)."""
        of_whole, of_words, sharpness = self.scales.exp().clamp(max=MOST)
        hidden = torch.finfo(cosines.dtype).min
        attention = (sharpness * cosines).masked_fill(unseen, hidden).softmax(-1)
        found = ((cosines * attention).sum(-1) * weights).sum(-1)
        return of_whole * whole + of_words * found


def _whole(vectors: Tensor, weights: Tensor | None = None) -> Tensor:
    """(N,P,A) with zeros at padding -> (N,A) float32 of length 1, in the direction of their mean, weighted or not."""
    weighted = vectors if weights is None else vectors * weights.unsqueeze(-1)
    return F.normalize(weighted.float().sum(1), dim=-1)
