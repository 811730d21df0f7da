"""The supernet is the fixed network on every path, and costs nothing off the path."""

from __future__ import annotations

import torch
from tiny import fixed, inputs, loss, supernet

from engine import optim
from search.samplers import Alpha

ENCODER = ("feed_forward", "self_att_64")
DECODER = ("rel_self_att_64", "guided_att_64", "feed_forward")


def test_a_path_equals_the_network_of_its_genotype_with_the_same_weights() -> None:
    net, batch = supernet(), inputs()
    net.follow(ENCODER, DECODER)
    plain = net.discretise()
    rebuilt = fixed(ENCODER, DECODER, seed=9)
    rebuilt.load_state_dict(plain.state_dict())
    assert net.path() == (ENCODER, DECODER)
    assert torch.equal(net.model(batch), plain(batch))
    assert torch.equal(net.model(batch), rebuilt(batch))


def test_discretising_leaves_the_supernet_whole() -> None:
    net = supernet()
    names = [name for name, _ in net.model.named_parameters()]
    net.discretise()
    assert names == [name for name, _ in net.model.named_parameters()]


def test_only_the_sampled_operations_move() -> None:
    net, batch = supernet(), inputs()
    optimiser = optim.adam(net.weights)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):  # several steps, so that moments exist which must not move unsampled weights
        net.choose(*Alpha().draw(net.blocks, generator))
        before = {name: p.detach().clone() for name, p in net.model.named_parameters()}
        loss(net.model, batch).backward()
        optim.step(optimiser, 1e-3, 1.0)
        for side in ("encoder", "decoder"):
            for number, block in enumerate(getattr(net, side)):
                for i in range(len(block.candidates)):
                    prefix = f"network.backbone.{side}.{number}.candidates.{i}."
                    moved = any(
                        not torch.equal(before[name], p)
                        for name, p in net.model.named_parameters()
                        if name.startswith(prefix)
                    )
                    assert moved == (i == block.active)


def test_sampling_follows_alpha() -> None:
    net = supernet(1, 1)
    with torch.no_grad():
        net.decoder[0].alpha.copy_(torch.tensor([2.0, 0.0, -1.0, 1.0]))
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(4)
    for _ in range(4000):
        net.choose(*Alpha().draw(net.blocks, generator))
        counts[net.decoder[0].active] += 1
    torch.testing.assert_close(counts / 4000, net.decoder[0].probabilities, atol=0.03, rtol=0)


def test_a_start_layout_leads() -> None:
    net = supernet()
    net.start_from(ENCODER, DECODER)
    net.choose_best()
    assert net.path() == (ENCODER, DECODER)


def test_blending_averages_all_candidates_and_teaches_them() -> None:
    net, batch = supernet(1, 1), inputs()
    with torch.no_grad():
        net.decoder[0].alpha.copy_(torch.tensor([2.0, 0.0, -1.0, 1.0]))
    block, seen = net.decoder[0], {}
    handle = block.register_forward_hook(lambda _, args, out: seen.update(args=args, out=out))
    net.blend()
    loss(net.model, batch).backward()
    handle.remove()
    expected = sum(p * one(*seen["args"]) for p, one in zip(block.probabilities, block.candidates, strict=True))
    torch.testing.assert_close(seen["out"], expected)
    assert all(p.grad is not None for one in block.candidates for p in one.parameters())
    assert block.alpha.grad is None
    net.close()
    assert block.gates is None
