"""The one place that knows about devices, precision, processes and random streams."""

from __future__ import annotations

import contextlib
import zlib
from dataclasses import dataclass

import numpy as np
import torch

from common.errors import UserError
from engine.allocator import give_back_large_tensors

PRECISIONS = ("auto", "fp32", "bf16")
WIDE = 256  # below, casts cost a CPU with matrix units more than its products in bf16 save


@dataclass(frozen=True)
class Runtime:
    """Where a run computes and with which numbers.

    Args:
        device: where tensors live.
        seed: the run's seed; every random stream is derived from it by name.
        bf16: whether matrix products run in bfloat16 (weights stay fp32).
    """

    device: torch.device
    seed: int
    bf16: bool = False

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The context in which forward passes run."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else contextlib.nullcontext()

    def rng(self, *name: object) -> np.random.Generator:
        """A random stream that depends on the seed and its name alone, so that any step can be redone."""
        return np.random.default_rng([self.seed, zlib.crc32(repr(name).encode())])

    def generator(self, *name: object) -> torch.Generator:
        """The same as a torch generator on the CPU."""
        return torch.Generator().manual_seed(int(self.rng(*name).integers(2**62)))


def start(gpu: str, seed: int, precision: str, width: int = WIDE) -> Runtime:
    """Choose the device and seed torch.

    Args:
        gpu: '' for the first GPU if there is one, otherwise the CPU; 'cpu'; or the number of a GPU.
        seed: at least 0.
        precision: 'auto' takes bf16 where the hardware multiplies it natively and a network so wide gains by it.
        width: H of the network.

    Raises:
        UserError: no such GPU, several GPUs, or a precision that is unknown or not to be had.
    """
    if precision not in PRECISIONS:
        raise UserError(f"precision={precision!r} is unknown; choose one of {', '.join(PRECISIONS)}")
    if seed < 0:
        raise UserError(f"seed={seed} is negative; choose 0 or more")
    if seed >= 2**63:
        raise UserError(f"seed={seed} is too large; choose one below 2^63")
    give_back_large_tensors()
    device = _device(gpu)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.manual_seed(seed)
    if precision == "bf16" and not _runs_bf16(device):
        raise UserError("precision=bf16 needs a processor with AVX-512 or AMX, and this one has neither; leave it out")
    gains = _multiplies_bf16(device) and (device.type == "cuda" or width >= WIDE)
    return Runtime(device, seed, precision == "bf16" or (precision == "auto" and gains))


def _device(gpu: str) -> torch.device:
    if gpu == "cpu" or (gpu == "" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if "," in gpu:
        raise UserError(f"GPU={gpu} names several GPUs; runs on more than one are not supported yet, name one")
    number = gpu or "0"
    if not number.isdecimal() or int(number) >= torch.cuda.device_count():
        there = torch.cuda.device_count()
        raise UserError(
            f"GPU={gpu} is not there; torch sees {there} (name 0 to {there - 1}, or cpu)"
            if there
            else f"GPU={gpu} is not there; torch sees no GPU on this machine, leave GPU out to use the CPU"
        )
    return torch.device("cuda", int(number))


def _runs_bf16(device: torch.device) -> bool:
    return device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return "amx_bf16" in file.read()
    except OSError:
        return False
