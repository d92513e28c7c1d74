"""What has been counted, for Prometheus: requests, seconds, sizes of batches. Several processes count together, in files
of a folder that PROMETHEUS_MULTIPROC_DIR names, which `start` sets.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

__all__ = ["Counts"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_INPUTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Counts:
    """The counters of a server."""

    def __init__(self) -> None:
        disable_created_metrics()
        own = self.registry = CollectorRegistry()
        self.requests = Counter("unrolled_requests", "Requests.", ["route", "status"], registry=own)
        self.seconds = Histogram(
            "unrolled_request_seconds", "From request to answer.", ["route"], registry=own, buckets=_SECONDS
        )
        self.batches = Histogram("unrolled_batch_inputs", "Inputs read together.", ["model"], registry=own, buckets=_INPUTS)
        self.tokens = Counter("unrolled_tokens", "Tokens written.", ["model"], registry=own)
        self.waiting = Gauge(
            "unrolled_waiting_inputs", "Inputs that wait.", ["model"], registry=own, multiprocess_mode="livesum"
        )

    def text(self) -> bytes:
        """All counters in Prometheus' text format, those of other processes too."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        _forget_killed()
        every = CollectorRegistry()
        MultiProcessCollector(every)
        return generate_latest(every)


def _forget_killed() -> None:
    """What waited for a process that was killed does not wait any more."""
    if os.name != "posix":  # nobody can ask whether a process lives
        return
    for file in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("gauge_livesum_*.db"):
        process = int(file.stem.rpartition("_")[2])
        with suppress(PermissionError, FileNotFoundError):  # it lives; another process was quicker
            try:
                os.kill(process, 0)
            except ProcessLookupError:
                mark_process_dead(process)
