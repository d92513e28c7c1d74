"""How many threads a training takes that brings its own."""

from __future__ import annotations

import os

__all__ = ["cores"]


def cores() -> int:
    """Processor cores for this process: its share of those it may use."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, found // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
