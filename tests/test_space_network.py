"""The network's stages: padding changes nothing, shared texts and images change nothing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny import TOKENS, fixed, inputs, model

from space.backbone import Block
from space.inputs import Inputs

ENCODER = ("self_att_64", "feed_forward")
DECODER = ("self_att_64", "rel_self_att_64", "guided_att_64", "rel_self_att_64", "feed_forward")


def padded(batch: Inputs) -> Inputs:
    """The same batch with three more padded regions and two more padded words."""
    return batch._replace(
        regions=F.pad(batch.regions, (0, 0, 0, 3)),
        boxes=F.pad(batch.boxes, (0, 0, 0, 3)),
        regions_pad=F.pad(batch.regions_pad, (0, 3), value=True),
        tokens=F.pad(batch.tokens, (0, 2)),
        tokens_pad=F.pad(batch.tokens_pad, (0, 2), value=True),
    )


def test_more_padding_changes_nothing() -> None:
    net, batch = fixed(ENCODER, DECODER), inputs()
    torch.testing.assert_close(net(batch), net(padded(batch)), atol=1e-5, rtol=1e-5)


def test_shared_rows_equal_repeated_rows() -> None:
    net, batch = fixed(ENCODER, DECODER), inputs()
    text, image = torch.tensor([0, 2, 1, 1, 0]), torch.tensor([1, 1, 0, 2, 0])
    shared = net(batch._replace(text_index=text, image_index=image))
    repeated = Inputs(*(part[image] for part in batch[:4]), *(part[text] for part in batch[4:6]))
    torch.testing.assert_close(shared, net(repeated), atol=1e-5, rtol=1e-5)


def test_images_behind_the_last_are_in_no_sample() -> None:
    net, batch = fixed(ENCODER, DECODER), inputs()
    shared = batch._replace(image_index=torch.tensor([0, 2, 1]))
    wider = shared.over(7)
    assert [len(part) for part in wider[:4]] == [7] * 4 and wider[4:] == shared[4:]
    assert all(torch.equal(part[:3], own) for part, own in zip(wider[:4], batch[:4], strict=True))
    torch.testing.assert_close(net(shared), net(wider), atol=1e-5, rtol=1e-5)


def test_images_and_words_that_are_rounded_up_in_bf16_change_nothing() -> None:
    net, batch = fixed(ENCODER, DECODER), inputs()
    many = Inputs(*(part[torch.arange(17) % 3] for part in batch[:4]), *batch[4:6], torch.tensor([0, 16, 1]))
    alike, learning, found = batch._replace(image_index=torch.tensor([0, 1, 1])), list(net.parameters()), []
    with torch.autocast("cpu"):
        for one in (many, alike):
            out = net(one)
            found.append((out, *torch.autograd.grad(out.square().sum(), learning, allow_unused=True)))
    for ours, wanted in zip(*found, strict=True):
        torch.testing.assert_close(ours, wanted, atol=1e-2, rtol=1e-2)


def test_few_numbers_of_images_go_through_the_network_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    net, batch, seen = fixed(ENCODER, DECODER), inputs(), []
    encode = net.network.encode_images
    monkeypatch.setattr(net.network, "encode_images", lambda *parts: seen.append(len(parts[0])) or encode(*parts))
    many = Inputs(*(part[torch.arange(17) % 3] for part in batch[:4]), *batch[4:6])
    few = many._replace(image_index=torch.tensor([0, 16, 1]))
    net(few)
    with torch.autocast("cpu"):
        net(few)
        net(many._replace(text_index=torch.arange(17) % 3))
    assert seen == [17, 18, 17] and batch.over(3) is batch


def test_texts_of_similar_length_together_equal_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network = fixed(("self_att_64", "std_conv_3"), DECODER).network
    g = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 9, (11,), generator=g)
    pad = torch.arange(8) >= lengths[:, None]
    tokens = torch.randint(3, 20, pad.shape, generator=g).masked_fill(pad, 0)
    weight = torch.randn(11, 8, 64, generator=g).masked_fill(pad[..., None], 0)
    found = []
    for together, read_together in ((100, 100), (100, 3), (4, 3)):
        monkeypatch.setattr("space.network.TOGETHER", together)
        monkeypatch.setattr("space.network.READ_TOGETHER", read_together)
        states = network.encode_texts(tokens, pad).states
        gradients = torch.autograd.grad((states * weight).sum(), list(network.lstm.parameters()))
        found.append((states[~pad], *gradients))
    for other in found[1:]:
        torch.testing.assert_close(found[0], other, atol=1e-5, rtol=1e-5)


def test_the_stem_ends_before_the_first_guided_attention() -> None:
    backbone = fixed(ENCODER, DECODER).network.backbone
    assert backbone.stem == 2 and backbone.reads_boxes
    sizes = {"width": 64, "dropout": 0.0, "head_scale": 1, "relation_width": 64}
    plain = model([Block("feed_forward", **sizes)], [Block("self_att_64", **sizes)]).network
    assert plain.backbone.stem == 1 and not plain.backbone.reads_boxes
    assert plain.encode_images(*inputs()[:4]).relations is None


def test_shapes_of_the_stages() -> None:
    net, batch = fixed(ENCODER, DECODER), inputs()
    texts = net.network.encode_texts(batch.tokens, batch.tokens_pad)
    images = net.network.encode_images(*batch[:4])
    states = net.network.fuse(texts, images)
    assert texts.states.shape == (3, TOKENS, 64)
    assert images.relations.geometry.shape == (3, 5, 5, 4)
    assert states.regions.shape == (3, 5, 64)
    torch.testing.assert_close(net.head(states), net(batch))
