"""Memory of large tensors goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Batches of two sizes in turn; between their tensors small ones that stay, as gradients and moments do.
PROGRAM = """
import torch
from engine.runtime import start
from pathlib import Path

def held() -> float:
    return int(Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0]) / 1024

start("cpu", 0, "fp32")
before, small = held(), []
for _ in range(2):
    large = []
    for _ in range(20):
        large.append(torch.ones(14 << 18))
        small.append(torch.ones(1 << 14))
    del large
print(held() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_large_tensors_took_goes_back_to_the_system() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], check=True, stdout=subprocess.PIPE, text=True)
    assert float(run.stdout) < 30
