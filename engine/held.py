"""What checkpoints hold, made sure of before anything is built of it: tensors that are there, a run that can go on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.errors import UserError, brief, why

BEGIN = "begin again under another VERSION"
KINDS = {
    "identity": dict,
    "epoch": int,
    "step": int,
    "finished": bool,
    "totals": dict,
    "stage": dict,
    "random": list,
    "random_cuda": list,
}


def weights(path: Path, held: Any) -> dict[str, Tensor]:
    """The tensors of a network by name.

    Raises:
        UserError: they are no such tensors, one claims more elements than the file has, or one is not finite.
    """
    if not isinstance(held, Mapping) or not all(isinstance(name, str) for name in held):
        raise UserError(f"{path} should hold weights by name, not {brief(held)}")
    for name, value in held.items():
        # A few bytes can stand for a tensor of any size by saying that all its elements are one.
        if not isinstance(value, Tensor) or value.layout != torch.strided or not _is_whole(value):
            raise UserError(f"{path} holds no weights in {brief(name)}; it is damaged, use another one")
        if value.is_floating_point() and not value.isfinite().all():
            raise UserError(f"{path} holds weights that are NaN or infinite, such as {brief(name)}; use another one")
    return dict(held)


def _is_whole(value: Tensor) -> bool:
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def is_plain(value: Any) -> bool:
    """Whether a value holds no tensor, so that it can be compared and said."""
    inside = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    return not isinstance(value, Tensor) and (not isinstance(inside, list | tuple) or all(map(is_plain, inside)))


def check_run(path: Path, state: Mapping[str, Any]) -> None:
    """Make sure that a run can go on from what a checkpoint holds.

    Raises:
        UserError: it is another thing.
    """
    if state.keys() >= {"identity", "stage"} and "accumulate" not in state:
        raise UserError(f"{path} was written by an earlier state of this program; go on with that one, or {BEGIN}")
    wrong = [key for key, kind in KINDS.items() if not isinstance(state.get(key), kind)]
    wrong += [] if wrong or is_plain(state["identity"]) else ["identity"]
    wrong += [key for key in ("epoch", "step") if key not in wrong and not 0 <= state[key] < 2**63]
    counts = (state.get("threads"), state.get("accumulate"))
    wrong += [] if all(one is None or (type(one) is int and 0 < one < 2**31) for one in counts) else ["threads"]
    wrong += [] if wrong or all(type(one) is float for one in state["totals"].values()) else ["totals"]
    if wrong:
        raise UserError(f"{path} is no checkpoint of a run (see {wrong[0]}); {BEGIN}")


@contextlib.contextmanager
def taken_back(path: Path) -> Iterator[None]:
    """Say in one sentence what goes wrong while a stage takes back what a checkpoint of it should hold."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    # What a wrong state leads to depends on who reads it.
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise UserError(f"{path} does not hold what this run needs to go on ({why(error)}); {BEGIN}") from error
