"""Similarity of texts and images before they meet, against the formula written out pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import WIDTH, inputs

from space.alignment import MOST, SHARPNESS, START, Alignment
from space.backbone import Backbone, Block
from space.heads import Matcher
from space.network import Model, Network

SIZES = {"width": WIDTH, "dropout": 0.0, "head_scale": 1, "relation_width": 64}


def parts(seed: int = 0) -> tuple[Alignment, tuple[torch.Tensor, ...]]:
    """Three texts of up to five words and four images of up to six regions, some of them padding."""
    torch.manual_seed(seed)
    alignment = Alignment(word_width=7, region_width=8, width=9, shared=16)
    torch.nn.init.normal_(alignment.telling)
    words_pad, regions_pad = torch.zeros(3, 5, dtype=torch.bool), torch.zeros(4, 6, dtype=torch.bool)
    words_pad[1, 3:], regions_pad[2, 2:] = True, True
    words = alignment.words(torch.randn(3, 5, 7), torch.randn(3, 5, 9), words_pad)
    regions = alignment.regions(torch.randn(4, 6, 8), torch.randn(4, 6, 9), regions_pad)
    return alignment, (words, words_pad, regions, regions_pad)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def naive(words: np.ndarray, telling: np.ndarray, regions: np.ndarray) -> float:
    """One text, (T,A), with what its words tell, (T,), and one image, (R,A), without padding."""
    found = []
    for word in words:
        cosines = np.array([cosine(word, region) for region in regions])
        weights = np.exp(SHARPNESS * cosines)
        found.append((weights * cosines).sum() / weights.sum())
    said = np.exp(telling) / np.exp(telling).sum()
    return START * cosine(said @ words, regions.mean(0)) + START * float(said @ found)


def test_all_pairs_equal_the_formula_and_padding_counts_for_nothing() -> None:
    alignment, given = parts()
    telling = (given[0] @ alignment.telling).detach().numpy()
    words, words_pad, regions, regions_pad = (part.detach().numpy() for part in given)
    found = alignment(*given)
    for text in range(3):
        for image in range(4):
            said = ~words_pad[text]
            expected = naive(words[text][said], telling[text][said], regions[image][~regions_pad[image]])
            assert found[text, image].item() == pytest.approx(expected, rel=1e-4)


def test_what_stands_at_a_position_is_of_its_input_and_its_state() -> None:
    alignment, _ = parts()
    own = alignment.words
    inputs, states, pad = torch.randn(1, 2, 7), torch.randn(1, 2, 9), torch.tensor([[False, True]])
    bent = torch.nn.functional.gelu(inputs @ own.hidden[0].weight.t() + own.hidden[0].bias)
    expected = inputs @ own.input.weight.t() + own.input.bias + bent @ own.hidden[2].weight.t() + own.hidden[2].bias
    expected = expected + states @ own.state.weight.t() + own.state.bias
    found = own(inputs, states, pad)
    torch.testing.assert_close(found[:, 0], expected[:, 0])
    assert not found[:, 1].any()


def test_a_text_without_words_is_like_nothing() -> None:
    alignment, (words, words_pad, regions, regions_pad) = parts()
    words, words_pad = words.masked_fill(torch.tensor([0, 0, 1]).bool()[:, None, None], 0), words_pad.clone()
    words_pad[2] = True
    found = alignment(words, words_pad, regions, regions_pad)
    assert not found[2].any() and found[:2].all()
    found.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in alignment.parameters())


def test_bf16_rounds_neither_weights_nor_wholes() -> None:
    alignment, given = parts()
    text, image = torch.tensor([2, 0, 1]), torch.tensor([0, 3, 2])
    with torch.autocast("cpu", torch.bfloat16):
        found, pairs = alignment(*given), alignment.pairs(*given, text, image)
        weights = alignment._weights(given[0].bfloat16(), given[1])
    assert found.dtype == pairs.dtype == weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(1), torch.ones(3))
    torch.testing.assert_close(pairs, found[text, image], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found, alignment(*given), rtol=0.02, atol=0.05)


def test_chosen_pairs_are_those_of_the_matrix() -> None:
    alignment, given = parts()
    text, image = torch.tensor([2, 0, 1, 1]), torch.tensor([0, 3, 2, 2])
    torch.testing.assert_close(alignment.pairs(*given, text, image), alignment(*given)[text, image])


def test_words_count_alike_at_first() -> None:
    torch.manual_seed(0)
    alignment = Alignment(word_width=7, region_width=8, width=9, shared=16)
    pad = torch.zeros(1, 5, dtype=torch.bool)
    words = alignment.words(torch.randn(1, 5, 7), torch.randn(1, 5, 9), pad)
    regions = alignment.regions(torch.randn(1, 5, 8), torch.randn(1, 5, 9), pad)
    expected = naive(words[0].detach().numpy(), np.zeros(5), regions[0].detach().numpy())
    assert alignment(words, pad, regions, pad).item() == pytest.approx(expected, rel=1e-4)


def test_factors_stop_growing() -> None:
    alignment, given = parts()
    with torch.no_grad():
        alignment.scales[:2] = 20.0
    assert float(alignment(*given).detach().abs().max()) <= 2 * MOST + 1e-3


def test_a_network_that_aligns_adds_the_similarity_to_the_logit() -> None:
    torch.manual_seed(0)
    backbone = Backbone([Block("self_att_64", **SIZES)], [Block("guided_att_64", **SIZES)])
    network = Network(backbone, words=20, region_width=8, width=WIDTH, word_width=16, align_width=12)
    model, batch = Model(network, Matcher(WIDTH, 8, 0.0)).eval(), inputs()
    states = network(batch)
    plain = model.head(states._replace(similarity=None))
    torch.testing.assert_close(model(batch), plain + states.similarity[:, None])
    texts = network.encode_texts(batch.tokens, batch.tokens_pad)
    images = network.encode_images(batch.regions, batch.boxes, batch.image_hw, batch.regions_pad)
    torch.testing.assert_close(network.similarity(texts, images).diagonal(), states.similarity)
