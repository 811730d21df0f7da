"""The search's steps: a sampled path, architecture steps with its two estimators, the most probable path."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from parity import REFERENCE, check_gradients, check_step, matching_loss, needs_reference, reference

from engine import optim
from search.arch_step import arch_step
from search.contract import Opening
from search.estimators import ESTIMATORS
from search.mixed import MixedOp
from search.supernet import Supernet
from space.backbone import Backbone
from space.heads import PooledClassifier
from space.network import Model, Network
from tools.original.names import network_state

pytestmark = needs_reference
SIZES = {"width": 128, "dropout": 0.0, "head_scale": 1, "relation_width": 64}


@pytest.fixture
def given():
    return reference("search_itm")


@pytest.fixture
def supernet(given) -> Supernet:
    blocks = [MixedOp(names, **SIZES) for names in given.facts["candidate_ops_per_block"]]
    frame = Network(Backbone(blocks[:12], blocks[12:]), words=100, region_width=64, width=128)
    model = Model(frame, PooledClassifier(128, given.facts["config"]["ATTFLAT_MLP_SIZE"], 1, 0.0)).eval()
    held = torch.load(REFERENCE / "search_itm" / "checkpoint.pkl", weights_only=True)["state_dict"]
    state, unknown = network_state(held)
    model.load_state_dict(state)
    assert all("linear_x_rel" in name or "alpha_gate" in name for name in unknown)
    return Supernet(model)


def follow(supernet: Supernet, path: list[int]) -> None:
    for block, number in zip(supernet.blocks, path, strict=True):
        block.active = number


def test_a_sampled_path_and_its_weight_step(given, supernet: Supernet) -> None:
    follow(supernet, given.facts["sampled_path"])
    with torch.no_grad():
        outputs = supernet.model(given.inputs).squeeze(-1).sigmoid()
    torch.testing.assert_close(outputs, given.tensors["outputs"], atol=1e-4, rtol=0)
    facts = given.facts["weight_step"]
    loss = matching_loss(supernet.model, given.inputs)
    assert loss.item() == pytest.approx(facts["loss"], rel=1e-4)
    loss.backward()
    check_gradients(supernet.model, facts["grad_stats"], facts["grad_total_norm"])
    sampled = {name for name, p in supernet.model.named_parameters() if p.grad is not None}
    before = {name: p.detach().clone() for name, p in supernet.model.named_parameters()}
    training = optim.Training(lr=given.facts["config"]["NET_LR_BASE"])
    assert optim.rate(training, 0, 100) == pytest.approx(facts["lr_step1"])
    optim.step(optim.adam(supernet.weights), facts["lr_step1"], given.facts["config"]["NET_GRAD_CLIP"])
    moved = {name for name, p in supernet.model.named_parameters() if not torch.equal(p, before[name])}
    # Off the path ours have no gradient and the reference's a zero one: in a first step of Adam neither moves. On it
    # only a bias before a softmax may stay, whose gradient is rounding around zero.
    assert moved <= sampled and sampled - moved <= {"head.text.score.3.bias", "head.regions.score.3.bias"}
    check_step(supernet.model, facts["param_stats_after"], facts["lr_step1"])


@pytest.mark.parametrize("name", ["full", "two"])
def test_an_architecture_step(name: str, given, supernet: Supernet) -> None:
    chosen = iter(given.facts[f"arch_step_{name}"]["active_and_inactive"])
    gate_gradients, alpha_gradients = [], []

    class Watched(ESTIMATORS[name]):
        def open(self, alpha, generator, progress):
            (active,), others = next(chosen)
            running = sorted([active, *others])
            gates = torch.tensor([float(i == active) for i in running])
            return Opening(active, running, gates, [active], alpha[running].softmax(0))

        def alpha_gradient(self, alpha, opening, gate_gradient):
            gate_gradients.append(gate_gradient)
            alpha_gradients.append(super().alpha_gradient(alpha, opening, gate_gradient))
            return alpha_gradients[-1]

    optimiser = torch.optim.Adam(supernet.alphas, lr=0.1, betas=(0.0, 0.999))
    losses = [lambda: matching_loss(supernet.model, given.inputs)]
    loss = arch_step(supernet, losses, Watched(), optimiser, None)
    assert float(loss) == pytest.approx(given.facts[f"arch_step_{name}"]["loss"], rel=1e-4)
    after = "alpha_prob_after_rescale" if name == "two" else "alpha_prob_after_step"
    for number, block in enumerate(supernet.blocks):
        side, place = ("enc", number) if number < 12 else ("dec", number - 12)
        key = f"backnone.cells_{side}.0.dag.{place}.0"
        recorded = {
            what: given.tensors[f"arch_step_{name}/{what}/{key}.{what[:10]}"]
            for what in ("alpha_gate_grad", "alpha_prob_grad", after)
        }
        gates = recorded["alpha_gate_grad"][list(block.running)]
        # A ReLU that rounding tips over moves these by some 1e-4; they are 0.3 on average.
        torch.testing.assert_close(gate_gradients[number], gates, rtol=1e-3, atol=3e-4)
        torch.testing.assert_close(alpha_gradients[number], recorded["alpha_prob_grad"], rtol=1e-3, atol=3e-4)
        torch.testing.assert_close(block.alpha.detach(), recorded[after], rtol=0, atol=1e-4)


def test_the_most_probable_path(given, supernet: Supernet) -> None:
    supernet.choose_best()
    assert [block.active for block in supernet.blocks] == given.facts["chosen_path"]
    encoder, decoder = supernet.path()
    assert [[name] for name in encoder] == given.facts["genotype"]["enc"]
    assert [[name] for name in decoder] == given.facts["genotype"]["dec"]
    for side, blocks in (("enc", supernet.encoder), ("dec", supernet.decoder)):
        for block, wanted in zip(blocks, given.facts["genotype_weights"][f"w_{side}"], strict=True):
            np.testing.assert_allclose(block.probabilities, wanted, atol=1e-5)
    with torch.no_grad():
        outputs = supernet.model(given.inputs).squeeze(-1).sigmoid()
    torch.testing.assert_close(outputs, given.tensors["chosen_outputs"], atol=1e-4, rtol=0)
