"""How many processor cores this process may use."""

from __future__ import annotations

import os


def cores() -> int:
    """Those that the system lets it run on, which may be fewer than there are; not every system says."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
