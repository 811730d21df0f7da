"""Training steps to compare: both sides hold the same weights and the same batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks import textbook
from benchmarks.data import DEMO, LAPTOP, SHAPES, Shape, expand, task_of, training_batches
from benchmarks.measure import Planned, Row
from engine import optim
from engine.runtime import Runtime
from genotypes.genotype import Genotype, load
from search.arch_step import arch_step
from search.estimators import Full
from search.mixed import MixedOp
from search.samplers import Alpha
from search.stage import TOGETHER
from search.supernet import Supernet
from space.backbone import Block
from space.network import Model
from space.settings import ModelSettings, SpaceSettings
from tasks.assemble import assemble
from tasks.base import Batch, eval_mode

BATCH = 64
RATE = 1e-4
TASKS = ("itm", "vqa", "vgd")
DEMO_DECODER = ("guided_att_16", "feed_forward", "rel_self_att_16", "feed_forward")


def plain(model: Model, encoder: list[Any], decoder: list[Any], width: int, dropout: float) -> textbook.Textbook:
    """The plain network with a model's weights."""
    net, head = model.network, model.head
    outputs = head.out.out_features if hasattr(head, "out") else 0
    made = textbook.Textbook(
        encoder,
        decoder,
        words=net.embedding.num_embeddings,
        region_width=net.region_projection.in_features,
        width=width,
        outputs=outputs,
        dropout=dropout,
    )
    made.load_state_dict(model.state_dict())
    return made.to(net.embedding.weight.device)


def supernet_of(name: str, space: SpaceSettings, width: int, runtime: Runtime, dropout: float = 0.1) -> Supernet:
    """Our supernet."""

    def blocks(**sizes: float) -> tuple[list[MixedOp], list[MixedOp]]:
        sides = (space.encoder, space.decoder)
        return tuple([MixedOp(side.candidates, **sizes) for _ in range(side.blocks)] for side in sides)

    task = task_of(name, Width(SHAPES[name].width))
    return Supernet(assemble(task, ModelSettings(dropout=dropout), width, blocks)).to(runtime.device)


def supernets(
    name: str, space: SpaceSettings, width: int, runtime: Runtime, dropout: float = 0.1
) -> tuple[Supernet, textbook.Textbook]:
    """Our supernet and the plain one."""
    supernet = supernet_of(name, space, width, runtime, dropout)
    sides = [[side.candidates] * side.blocks for side in (space.encoder, space.decoder)]
    return supernet, plain(supernet.model, *sides, width, dropout)


def network_of(
    name: str,
    width: int,
    runtime: Runtime,
    dropout: float = 0.1,
    shape: Shape | None = None,
    genotype: Genotype | None = None,
) -> Model:
    """The network of a genotype, by default the published one of the task, for regions of a shape."""
    genotype, shape = genotype or load(f"mmnas_{name}"), shape or SHAPES[name]

    def blocks(**sizes: float) -> tuple[list[Block], list[Block]]:
        return tuple([Block(one, **sizes) for one in side] for side in (genotype.encoder, genotype.decoder))

    task = task_of(name, Width(shape.width))
    return assemble(task, ModelSettings(dropout=dropout), width, blocks).to(runtime.device)


def networks(
    name: str,
    width: int,
    runtime: Runtime,
    dropout: float = 0.1,
    shape: Shape | None = None,
    genotype: Genotype | None = None,
) -> tuple[Model, textbook.Textbook]:
    """The same, and the plain one."""
    genotype = genotype or load(f"mmnas_{name}")
    model = network_of(name, width, runtime, dropout, shape, genotype)
    return model, plain(model, list(genotype.encoder), list(genotype.decoder), width, dropout)


class Width:
    """As much of a feature store as building a network asks for."""

    def __init__(self, width: int) -> None:
        self.width = width


def relative(ours: torch.Tensor, other: torch.Tensor) -> float:
    """Largest difference, as a share of the largest value."""
    ours, other = ours.detach().float().cpu(), other.detach().float().cpu()
    return float((ours - other).abs().max() / other.abs().max().clamp(min=1e-12))


class Given(NamedTuple):
    """What both sides train on."""

    batches: list[Batch]  # of all sizes
    dense: textbook.Dense  # the middle one as the plain side has it, where all sizes are padded to the same
    targets: dict[str, Tensor]

    @property
    def middle(self) -> Batch:
        """The batch that both sides hold."""
        return self.batches[len(self.batches) // 2]


def batches(name: str, shape: Shape, samples: int, runtime: Runtime) -> Given:
    """Batches for us, and one for the plain side; the expansion belongs to nobody's time."""
    made = [batch.to(runtime.device) for batch in training_batches(name, shape, samples, np.random.default_rng(1))]
    return Given(made, *expand(made[len(made) // 2], shape))


def same_loss(name: str, ours: Model, other: textbook.Textbook, given: Given) -> float:
    """Difference of the losses without dropout, in fp32."""
    task = task_of(name)
    with eval_mode(ours), eval_mode(other):
        wanted = textbook.LOSSES[name](other, given.dense, given.targets)
        return relative(task.loss(ours, given.middle)["loss"], wanted)


def own_step(
    name: str, model: Model, given: Given, runtime: Runtime, weights: list[torch.nn.Parameter]
) -> Callable[[], int]:
    """Weight steps, one on every batch, as the stages of search and retrain take them."""
    task, optimiser = task_of(name), optim.adam(weights)

    def steps() -> int:
        for batch in given.batches:
            with runtime.autocast():
                loss = task.loss(model, batch)["loss"]
            loss.backward()
            optim.step(optimiser, RATE, 1.0)
        return len(given.batches)

    return steps


def plain_step(name: str, other: textbook.Textbook, given: Given) -> Callable[[], int]:
    """A weight step that moves every weight."""
    optimiser = torch.optim.Adam(other.parameters(), RATE, (0.9, 0.98), 1e-9)

    def step() -> int:
        textbook.LOSSES[name](other, given.dense, given.targets).backward()
        textbook.move(other, optimiser)
        return 1

    return step


def in_parts(name: str, samples: int, runtime: Runtime) -> list[list[Batch]]:
    """Architecture batches of so many samples, each a list of its parts."""
    count = -(-samples // TOGETHER.get(runtime.device.type, samples))
    made = batches(name, SHAPES[name], samples // count, runtime).batches
    return [made[first : first + count] for first in range(0, len(made), count)] if len(made) > 1 else [made * count]


def weight_row(name: str, supernet: Supernet, other: textbook.Textbook, samples: int, runtime: Runtime) -> Row:
    """A weight step on the same path."""
    given = batches(name, SHAPES[name], samples, runtime)
    ours = own_step(name, supernet.model, given, runtime, supernet.weights)
    theirs = plain_step(name, other, given)

    # Both sides draw their paths from equal streams, so that they walk the same ones.
    streams = [torch.Generator().manual_seed(0) for _ in range(2)]

    def choose(stream: torch.Generator) -> None:
        supernet.choose(*Alpha().draw(supernet.blocks, stream))
        for block, mine in zip(other.blocks, supernet.blocks, strict=True):
            block.active = mine.active

    def walk() -> int:
        choose(streams[0])
        return ours()

    def walk_plainly() -> int:
        choose(streams[1])
        return theirs()

    def check() -> float:
        choose(torch.Generator().manual_seed(1))
        return same_loss(name, supernet.model, other, given)

    return Row("steps", walk, walk_plainly, check, 4)


def arch_row(name: str, supernet: Supernet, other: textbook.Textbook, samples: int, runtime: Runtime) -> Row:
    """An architecture step; ours takes its batch in parts, as the search does."""
    given = batches(name, SHAPES[name], samples, runtime)
    task, steps = task_of(name), in_parts(name, samples, runtime)
    generator, adam = torch.Generator().manual_seed(0), {"lr": 0.1, "betas": (0.0, 0.999)}
    alphas = [block.alpha for block in other.blocks]
    optimiser, plain_optimiser = torch.optim.Adam(supernet.alphas, **adam), torch.optim.Adam(alphas, **adam)

    def loss_of(batch: Batch) -> Tensor:
        with runtime.autocast():
            return task.loss(supernet.model, batch)["loss"]

    def ours() -> int:
        for parts in steps:
            arch_step(supernet, [partial(loss_of, part) for part in parts], Full(), optimiser, generator)
        return len(steps)

    def backward() -> Tensor:
        textbook.open_gates(other, [block.active for block in supernet.blocks])
        loss = textbook.LOSSES[name](other, given.dense, given.targets)
        loss.backward()
        for alpha, gradient in zip(alphas, textbook.alpha_gradients(other), strict=True):
            alpha.grad = gradient
        return loss.detach()

    def theirs() -> int:
        backward()
        plain_optimiser.step()
        other.zero_grad()
        return 1

    def check() -> float:
        """The loss, and alpha's gradient as plain descent shows it."""
        before = [alpha.detach().clone() for alpha in supernet.alphas]
        other.load_state_dict(supernet.model.state_dict())
        supernet.model.eval(), other.eval()
        descent = torch.optim.SGD(supernet.alphas, lr=1.0)
        exact = [lambda: task.loss(supernet.model, given.middle)["loss"]]
        # CuDNN's LSTM rounds its factors, and has no way back outside of training.
        with torch.backends.cudnn.flags(enabled=False):
            loss = arch_step(supernet, exact, Full(), descent, generator)
            difference = relative(loss, backward())
        moved = torch.cat([old - new.detach() for old, new in zip(before, supernet.alphas, strict=True)])
        wanted = torch.cat([alpha.grad for alpha in alphas])
        with torch.no_grad():
            for alpha, old in zip(supernet.alphas, before, strict=True):
                alpha.copy_(old)
        other.zero_grad()
        supernet.model.train(), other.train()
        return max(difference, relative(moved, wanted))

    return Row("steps", ours, theirs, check, 4)


def retraining_row(
    name: str,
    shape: Shape,
    width: int,
    samples: int,
    runtime: Runtime,
    genotype: Genotype | None = None,
    target: float = 4,
    threads: int | None = None,
) -> Row:
    """A step of a fixed network, by default the published one of the task."""
    model, other = networks(name, width, runtime, 0.1, shape, genotype)
    given = batches(name, shape, samples, runtime)
    ours, theirs = own_step(name, model, given, runtime, list(model.parameters())), plain_step(name, other, given)
    return Row("steps", ours, theirs, lambda: same_loss(name, model, other, given), target, threads)


def _searching(make: Callable[..., Row], name: str, root: Path, runtime: Runtime, samples: int) -> Row:
    return make(name, *supernets(name, SpaceSettings(), 256, runtime), samples, runtime)


def _retraining(name: str, root: Path, runtime: Runtime, samples: int) -> Row:
    return retraining_row(name, SHAPES[name], 512, samples, runtime)


def _laptop(name: str, root: Path, runtime: Runtime, samples: int) -> Row:
    task, shape = LAPTOP[name]
    return retraining_row(task, shape, 128, samples, _narrow(runtime), target=3, threads=1)


def _demo(name: str, root: Path, runtime: Runtime, samples: int) -> Row:
    layout = Genotype(name, ("self_att_16", "feed_forward"), DEMO_DECODER)
    return retraining_row(name, DEMO[name], 128, max(1, samples // 2), _narrow(runtime), layout, threads=1)


def _narrow(runtime: Runtime) -> Runtime:
    """As runs of so narrow networks are on a CPU."""
    return runtime if runtime.device.type == "cuda" else replace(runtime, dtype=torch.float32)


SEARCH = [
    Planned(f"search-{name}-{part}", partial(_searching, make, name))
    for name in TASKS
    for part, make in (("weights", weight_row), ("architecture", arch_row))
]
RETRAIN = [Planned(f"retrain-{name}", partial(_retraining, name)) for name in TASKS]
LAPTOP_ROWS = [Planned(f"laptop-{name}", partial(_laptop, name)) for name in LAPTOP]
DEMO_ROWS = [Planned(f"demo-{name}", partial(_demo, name)) for name in DEMO]
