"""The one place that knows about devices, precision, processes and random streams."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from common import processor
from common.allocator import give_back_large_tensors
from common.copies import allow
from common.errors import UserError
from engine.clock import Clock
from engine.distributed import Ranks, join, launch, local_rank

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
SCALE = 2.0**8  # of fp16 to begin with: losses that are sums are large, and a step whose gradients overflow is lost
WIDE = 256  # below, casts cost a CPU that multiplies bf16 more than its products save


@dataclass(frozen=True)
class Runtime:
    """Where a run computes and with which numbers.

    Args:
        device: where tensors live.
        seed: the run's seed; every random stream is derived from it by name.
        dtype: in which matrix products run, float32, bfloat16 or float16; weights stay float32.
        ranks: this process among those of the run.
        clock: where this process's time goes.
    """

    device: torch.device
    seed: int
    dtype: torch.dtype = torch.float32
    ranks: Ranks = field(default_factory=Ranks)
    clock: Clock = field(default_factory=Clock, compare=False)

    @property
    def precision(self) -> str:
        """Of products: fp32, bf16 or fp16."""
        return NAMES[self.dtype]

    @property
    def place(self) -> str:
        """For people: the device, the precision of products, and how many processes there are."""
        precise = "" if self.dtype == torch.float32 else f" in {self.precision}"
        several = "" if self.ranks.alone else f", {self.ranks.size} processes"
        return f"{self.device}{precise}{several}"

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The context in which forward passes run."""
        plain = self.dtype == torch.float32
        return contextlib.nullcontext() if plain else torch.autocast(self.device.type, self.dtype)

    def scaler(self) -> torch.amp.GradScaler:
        """Keeps gradients above the smallest numbers of float16; in other precisions it does nothing."""
        return torch.amp.GradScaler(self.device.type, SCALE, enabled=self.dtype == torch.float16)

    def part(self, name: str) -> contextlib.AbstractContextManager[None]:
        """The context whose seconds count to a part of the run."""
        return self.clock.part(name, self.device)

    def rng(self, *name: object) -> np.random.Generator:
        """A random stream that depends on the seed and its name alone, so that any step can be redone."""
        return np.random.default_rng([self.seed, zlib.crc32(repr(name).encode())])

    def generator(self, *name: object) -> torch.Generator:
        """The same as a torch generator on the CPU."""
        return torch.Generator().manual_seed(int(self.rng(*name).integers(2**62)))


@contextlib.contextmanager
def undrawn(device: torch.device) -> Iterator[None]:
    """Leave torch's random numbers, the device's too, as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


def start(gpu: str, seed: int, precision: str, width: int = WIDE) -> Runtime:
    """Choose the device and seed torch.

    Args:
        gpu: '' for the first GPU if there is one (under torchrun each process's own), otherwise the CPU; 'cpu'; the
            number of a GPU; or several of these with commas, for each of which a process is started.
        seed: at least 0.
        precision: 'auto' takes bf16 where the hardware multiplies it natively and a network so wide gains by it.
        width: H of the network.

    Raises:
        UserError: no such GPU, or a precision that is unknown or not to be had.
    """
    if precision not in PRECISIONS:
        raise UserError(f"precision={precision!r} is unknown; choose one of {', '.join(PRECISIONS)}")
    if seed < 0:
        raise UserError(f"seed={seed} is negative; choose 0 or more")
    if seed >= 2**63:
        raise UserError(f"seed={seed} is too large; choose one below 2^63")
    give_back_large_tensors()
    device = _device(gpu)
    dtype = _dtype(precision, device, width)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.manual_seed(seed)
    allow(0)
    return Runtime(device, seed, dtype, join(device))


def _dtype(precision: str, device: torch.device, width: int) -> torch.dtype:
    if precision == "bf16" and not _runs_bf16(device):
        raise UserError("precision=bf16 needs a processor with AVX-512 or AMX, and this one has neither; leave it out")
    if precision == "fp16" and device.type != "cuda":
        raise UserError("precision=fp16 needs a GPU; leave it out")
    if precision == "auto":
        gains = _multiplies_bf16(device) and (device.type == "cuda" or width >= WIDE)
        return torch.bfloat16 if gains else torch.float32
    return next(dtype for dtype, name in NAMES.items() if name == precision)


def _device(gpu: str) -> torch.device:
    if gpu == "cpu" or (gpu == "" and not torch.cuda.is_available()):
        return torch.device("cpu")
    names = gpu.split(",") if gpu else [str(local_rank())]
    devices = [torch.device("cpu") if name == "cpu" else _gpu(name) for name in names]
    if len(set(names)) != len(names) and "cpu" not in names:
        raise UserError(f"GPU={gpu} names a GPU twice; each process needs its own")
    if len(devices) > 1:
        launch(len(devices))
    if gpu and local_rank() >= len(devices):
        raise UserError(f"GPU={gpu} names {len(devices)} for more processes on this machine; name one for each")
    return devices[local_rank() if gpu else 0]


def one_device(gpu: str) -> torch.device:
    """The device of a command that needs one: number of a GPU, cpu, or "" for the first GPU if there is one.

    Raises:
        UserError: no such GPU.
    """
    return torch.device("cpu") if gpu == "cpu" or not (gpu or torch.cuda.is_available()) else _gpu(gpu or "0")


def _gpu(number: str) -> torch.device:
    if not number.isdecimal() or int(number) >= torch.cuda.device_count():
        there = torch.cuda.device_count()
        raise UserError(
            f"GPU={number} is not there; torch sees {there} (name 0 to {there - 1}, or cpu)"
            if there
            else f"GPU={number} is not there; torch sees no GPU on this machine, leave GPU out to use the CPU"
        )
    return torch.device("cuda", int(number))


def _runs_bf16(device: torch.device) -> bool:
    return device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return any(units in processor.facts() for units in ("amx_bf16", "avx512_bf16"))
