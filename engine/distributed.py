"""The processes of a run: alone, or those that torchrun started, on one machine or several."""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from common.errors import UserError
from common.sharing import Sharing, share_with

T = TypeVar("T")
SHUTDOWN_SECONDS = 600  # which torchrun leaves processes to save, from Ctrl-C on
# The first process may pack a hundred thousand images while the others wait. One that dies ends the others at once.
PATIENCE = datetime.timedelta(hours=6)


class Ranks(Sharing):
    """One process of a run and its ways to the others; alone, all of them do nothing.

    Every process runs the same program on the same choices and weights. They differ in the samples of a batch that they
    take, and in the random numbers of dropout. Only the first one writes and speaks.

    Args:
        rank: of this process among all.
        size: how many there are.
        beside: how many there are on its machine.
    """

    def __init__(self, rank: int = 0, size: int = 1, beside: int = 1) -> None:
        self.rank, self.size, self.beside = rank, size, beside

    @property
    def first(self) -> bool:
        """Whether this one writes and speaks."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other."""
        return self.size == 1

    def add(self, *arrays: np.ndarray) -> None:
        """Sum numpy arrays over the processes, in place."""
        if not self.alone:
            for array in arrays:
                dist.all_reduce(torch.from_numpy(array))

    def totals(self, values: Sequence[float]) -> list[float]:
        """The sums of some numbers over the processes."""
        found = np.array(values, np.float64)
        self.add(found)
        return found.tolist()

    def most(self, values: Sequence[float]) -> list[float]:
        """The largest of each of some numbers among the processes."""
        found = torch.tensor(values, dtype=torch.float64)
        if not self.alone:
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return found.tolist()

    def add_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Sum tensors over the processes, in place and in one go; all processes give the same kinds."""
        tensors = list(tensors)
        if self.alone or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, whole in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(whole.view_as(tensor))

    def of_first(self, value: T) -> T:
        """What the first process has."""
        held = [value]
        if not self.alone:
            dist.broadcast_object_list(held)
        return held[0]

    def of_all(self, value: Any) -> list[Any]:
        """What every process has, by rank."""
        held = [value] * self.size
        if not self.alone:
            dist.all_gather_object(held, value)
        return held

    def wait(self) -> None:
        """Until all have come here."""
        self.totals([0])  # of no numbers gloo makes no sum, and waits for nobody

    def close(self) -> None:
        """At the end of a run that came to one: whoever leaves without it may fall over threads that still listen."""
        if not self.alone:
            self.wait()
            dist.destroy_process_group()
            share_with(Sharing())

    @contextlib.contextmanager
    def in_turn(self) -> Iterator[None]:
        """The first one goes through, then all others: what it leaves on the disk need not be made twice."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def check_same(self, tensors: Iterable[Tensor]) -> None:
        """Compare sums of the bits of 4-byte tensors among the processes.

        Raises:
            UserError: naming the processes that differ from the first one.
        """
        if self.alone:
            return
        # Alphas may be on another device than weights.
        sums = [one.detach().reshape(-1).view(torch.int32).sum(dtype=torch.int64).cpu() for one in tensors]
        own = int((torch.stack(sums) * torch.arange(1, len(sums) + 1)).sum())
        known = self.of_all(own)
        others = [str(rank) for rank, one in enumerate(known) if one != known[0]]
        if others:
            raise UserError(
                f"the weights of process {', '.join(others)} of {self.size} are no longer those of process 0, so that "
                "the run is worth nothing; look for faulty memory or machines of different kinds and go on from the "
                "last checkpoint (RESUME=1)"
            )


def join(device: torch.device) -> Ranks:
    """The processes of this run: those that torchrun started, or this one alone."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return Ranks()
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    store, rank, size = next(dist.rendezvous("env://", timeout=PATIENCE))
    if os.environ.get("GROUP_WORLD_SIZE") == "1":
        # On one machine the store outlives a restart, with the addresses of those who are gone.
        store = dist.PrefixStore(f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT')}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    ranks = Ranks(rank, size, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    share_with(ranks)
    return ranks


def local_rank() -> int:
    """The number of this process on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def launched() -> str | None:
    """Which torchrun started this process, the same however often it does; None for none."""
    job = os.environ.get("TORCHELASTIC_RUN_ID")
    return job and f"{job} {socket.gethostname()} {os.getppid()}"


def restartable() -> bool:
    """Whether torchrun would start these processes once more."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0


def launch(processes: int) -> None:
    """Become torchrun, which starts this very program in so many processes; nothing, if that is what happened.

    Raises:
        UserError: the program was not started as ``python -m``.
    """
    if "LOCAL_RANK" in os.environ:
        return
    if sys.orig_argv[1:2] != ["-m"]:
        raise UserError(
            f"{processes} GPUs need as many processes: torchrun --nproc_per_node={processes} -m -- <search or retrain> "
            "and the same flags"
        )
    torchrun = [sys.executable, "-m", "engine.launcher", "--standalone", f"--nproc_per_node={processes}"]
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SHUTDOWN_SECONDS))
    sys.stdout.flush()
    # Behind the dashes it takes no flag of the program for an abbreviation of its own.
    os.execv(sys.executable, [*torchrun, "-m", "--", *sys.orig_argv[2:]])
