"""The published networks: outputs, geometry, loss, gradients and one optimiser step equal the original's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from parity import REFERENCE, check_gradients, check_step, matching_loss, needs_reference, reference

from engine import optim
from space.backbone import Backbone, Block
from space.geometry import normalised_boxes, relation_geometry
from space.heads import PooledClassifier, RegionPointer
from space.inputs import Inputs
from space.network import Model, Network
from tools.original.names import network_state

pytestmark = needs_reference
TASKS = ("itm", "vqa", "vgd")
# One hidden unit of the pooling over itm's regions lies 7e-8 from zero, where rounding decides whether gradients pass.
# So little more in its bias puts it on the reference's side on every processor, and all gradients agree.
TIPPED_UNIT, TIPPED_BY = 52, 1e-6


def network(name: str, facts: dict[str, Any]) -> Model:
    """The network of the reference's genotype with its weights."""
    width, dropout = facts["config"]["HSIZE"], 0.0
    sizes = {"width": width, "dropout": dropout, "head_scale": 1, "relation_width": 64}
    sides = [[Block(block[0], **sizes) for block in facts["genotype"][side]] for side in ("enc", "dec")]
    frame = Network(Backbone(*sides), words=facts["vocabulary"], region_width=64, width=width)
    hidden = facts["config"]["ATTFLAT_MLP_SIZE"]
    head = (
        RegionPointer(width, hidden, dropout)
        if name == "vgd"
        else PooledClassifier(width, hidden, facts["answers"] or 1, dropout)
    )
    model = Model(frame, head)
    held = torch.load(REFERENCE / name / "checkpoint.pkl", weights_only=True)["state_dict"]
    state, unknown = network_state(held)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert (missing, unexpected) == ([], []) and all("linear_x_rel" in key for key in unknown)
    return model.eval()


def outputs(name: str, model: Model, given: SimpleNamespace) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Our outputs as the reference would have them, and its own."""
    made, wanted = model(given.inputs), given.tensors
    if name != "vgd":
        return [(made.squeeze(-1).sigmoid() if name == "itm" else made, wanted["outputs"])]
    # The reference normalises its scores over padded regions too; ours are compared where there is a region.
    pad = given.inputs.regions_pad
    scores = [
        part.masked_fill(pad, -torch.inf).log_softmax(-1)[~pad] for part in (made[0], wanted["outputs/pred_scores"])
    ]
    return [tuple(scores), (made[1][~pad], wanted["outputs/pred_reg"][~pad])]


def loss(name: str, model: Model, given: SimpleNamespace) -> torch.Tensor:
    """The reference's loss, written here once more from its description."""
    inputs, targets = given.inputs, given.tensors
    if name == "vqa":
        return F.binary_cross_entropy_with_logits(model(inputs), targets["targets/ans"], reduction="sum")
    if name == "itm":
        return matching_loss(model, inputs)
    scores, offsets = model(inputs)
    pad = inputs.regions_pad
    # The reference's softmax sees padded regions with the score the head gives them; only so its loss is reproduced.
    joint = states_scores(model, inputs) if pad.any() else scores
    mask = targets["targets/scores_mask"].squeeze(-1)
    kl = F.kl_div(joint.log_softmax(-1), targets["targets/scores"], reduction="none").sum(-1)
    boxes = targets["targets/bbox_mask"].squeeze(-1).bool()
    shift = F.smooth_l1_loss(offsets[boxes], targets["targets/transformed_bbox"][boxes], reduction="none").sum(-1)
    return (kl * mask).sum() / mask.sum() + 0.5 * shift.mean()


def states_scores(model: Model, inputs: Inputs) -> torch.Tensor:
    """Scores without the mask at padded regions."""
    states = model.network(inputs)
    return model.head(states._replace(regions_pad=torch.zeros_like(states.regions_pad)))[0]


@pytest.mark.parametrize("name", TASKS)
def test_geometry(name: str) -> None:
    given = reference(name)
    real = ~given.inputs.regions_pad
    pairs = real[:, :, None] & real[:, None]  # the reference leaves zeros where there is no region
    geometry = relation_geometry(given.inputs.boxes)
    torch.testing.assert_close(geometry[pairs], given.tensors["inputs/rel_img"][pairs], atol=1e-4, rtol=1e-4)
    shares = normalised_boxes(given.inputs.boxes, given.inputs.image_hw)
    torch.testing.assert_close(shares, given.tensors["inputs/bbox_feat"], atol=1e-5, rtol=1e-4)


def watch(name: str, model: Model) -> dict[str, Any]:
    """What the next pass leaves behind on its way, by the reference's names."""
    net, head = model.network, model.head
    modules = {
        "lstm": net.lstm,
        "imgfeat_linear": net.region_projection,
        "linear_y_rel": net.relation.linear,
        "backnone": net,
        "attflat_x": head.text,
        "attfc_y" if name == "vgd" else "attflat_y": head.regions,
        "proj_norm": head.norm,
    }
    seen: dict[str, Any] = {}
    for older, module in modules.items():
        module.register_forward_hook(lambda _, __, made, older=older: seen.update({older: made}))
    return seen


def flat(seen: dict[str, Any], inputs: Inputs) -> dict[str, torch.Tensor]:
    """The same, each a tensor: of an LSTM, which read the texts by length, its outputs; of the backbone both sides."""
    by_length = (~inputs.tokens_pad).sum(1).argsort(stable=True)
    words = torch.zeros(*inputs.tokens.shape, seen["lstm"][0].shape[-1])
    words[by_length, : seen["lstm"][0].shape[1]] = seen["lstm"][0]
    states = seen["backnone"]
    both = {"backnone/0": states.text, "backnone/1": states.regions}
    return {older: made for older, made in seen.items() if older != "backnone"} | {"lstm": words} | both


def real_positions(inputs: Inputs, shape: torch.Size) -> torch.Tensor:
    """Which vectors of such a tensor are no padding: of words, of regions, of pairs of regions, or one per sample."""
    words, regions = ~inputs.tokens_pad, ~inputs.regions_pad
    kinds = words, regions, regions[:, :, None] & regions[:, None], torch.ones(len(words), dtype=torch.bool)
    return next(real for real in kinds if real.shape == shape[:-1])


@pytest.mark.parametrize("name", TASKS)
def test_outputs_and_intermediates(name: str) -> None:
    given = reference(name)
    model = network(name, given.facts)
    seen = watch(name, model)
    with torch.no_grad():
        found = outputs(name, model, given)
    ours, prefix = flat(seen, given.inputs), "intermediates/"
    recorded = {key.removeprefix(prefix): value for key, value in given.tensors.items() if key.startswith(prefix)}
    assert ours.keys() == recorded.keys()  # none is left out, on either side
    for older, wanted in recorded.items():
        real = real_positions(given.inputs, wanted.shape)
        torch.testing.assert_close(
            ours[older][real], wanted[real], atol=1e-4, rtol=0, msg=lambda said, older=older: f"{older}: {said}"
        )
    for made, wanted in found:
        torch.testing.assert_close(made, wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", TASKS)
def test_loss_gradients_and_a_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = reference(name)
    # The reference has another geometry where there is no region, and its grounding loss looks there.
    monkeypatch.setattr("space.network.relation_geometry", lambda _: given.tensors["inputs/rel_img"])
    model = network(name, given.facts)
    if name == "itm":
        model.head.regions.score[0].bias.data[TIPPED_UNIT] += TIPPED_BY
    value = loss(name, model, given)
    assert value.item() == pytest.approx(given.facts["loss"], rel=1e-4)
    value.backward()
    check_gradients(model, given.facts["gradient_sum_and_norm"], given.facts["grad_total_norm"])

    training = optim.Training(lr=given.facts["config"]["NET_LR_BASE"])
    lr = optim.rate(training, 0, 100)
    assert lr == pytest.approx(given.facts["learning_rate_step1"])
    optim.step(optim.adam(model.parameters()), lr, given.facts["config"]["NET_GRAD_CLIP"])
    check_step(model, given.facts["parameter_sum_and_norm_after_step1"], lr)
