"""Texts and images of a batch against each other: the contrastive loss, and negatives that are hard to tell apart."""

from __future__ import annotations

import torch
from torch import Tensor

from space.inputs import Inputs
from space.network import Model


def contrastive_loss(similarity: Tensor, own: Tensor) -> Tensor:
    """Cross entropy of picking one's own among all, summed over the rows (InfoNCE, arXiv 1807.03748).

    Args:
        similarity: (B,N) of B texts with N images, or the other way round.
        own: (B,N) bool, which belong together; several of a row count equally.
    """
    missed = similarity.log_softmax(1).masked_fill(~own, 0)
    return -(missed.sum(1) / own.sum(1).clamp(min=1)).sum()


def hard_negatives(similarity: Tensor, own: Tensor) -> Tensor:
    """(B,) one of each row's others, as likely as it is mistaken for the row's own (arXiv 2107.07651, section 3.2)."""
    others = similarity.detach().masked_fill(own, torch.finfo(similarity.dtype).min)
    # What torch.multinomial does for one of a row; its checks of the probabilities would wait for a GPU.
    return (others.softmax(1) / torch.empty_like(others).exponential_()).argmax(1)


def contrasted(model: Model, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Run a network that aligns texts and images on a batch of pairs.

    Args:
        model: its network aligns the two.
        inputs: 3B pairs as ``ItmSplit.batch`` makes them; of its negatives only the texts and images are used.

    Returns:
        (3B,1) logits of the positives, of each image with a hard caption, of each caption with a hard image; and the
        contrastive loss both ways.
    """
    network = model.network
    texts = network.encode_texts(inputs.tokens, inputs.tokens_pad)
    images = network.encode_images(inputs.regions, inputs.boxes, inputs.image_hw, inputs.regions_pad)
    similarity = network.similarity(texts, images).float()
    text, image = (index.view(3, -1)[0] for index in (inputs.text_index, inputs.image_index))
    image_of = torch.full((len(similarity),), -1, device=text.device).index_copy(0, text, image)
    own = image_of[:, None] == torch.arange(similarity.shape[1], device=text.device)
    by_text, by_image = (similarity[text], own[text]), (similarity.t()[image], own.t()[image])
    loss = contrastive_loss(*by_text) + contrastive_loss(*by_image)
    captions, others = hard_negatives(*by_image), hard_negatives(*by_text)
    states = network.fuse(texts, images, torch.cat((text, captions, text)), torch.cat((image, image, others)))
    return model.head(states), loss
