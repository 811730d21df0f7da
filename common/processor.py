"""The processor this process runs on: its name, and how many of its cores may be used"""

from __future__ import annotations

import os
import platform
from pathlib import Path

FACTS = Path("/proc/cpuinfo")


def cores() -> int:
    """Those that the system lets this process run on, which may be fewer than there are; not every system says."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def name() -> str:
    """What it is sold as, or the kind of machine where the system does not say."""
    named = (line.partition(":")[2].strip() for line in facts().splitlines() if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def facts() -> str:
    """All that the system says of it; nothing on systems other than Linux."""
    try:
        return FACTS.read_text(encoding="utf-8")
    except OSError:
        return ""
