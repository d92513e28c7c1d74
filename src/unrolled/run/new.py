"""The folder of a new run, whatever the task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unrolled.folders import prepare_run, run_lock, settle_run
from unrolled.training.parallel import Ranks

__all__ = ["new_run"]


@contextmanager
def new_run(folder: Path, ranks: Ranks, *, overwrite: bool) -> Iterator[None]:
    """The run folder, made and held by rank 0."""
    if not ranks.first:
        yield
        return
    prepare_run(folder, overwrite=overwrite)
    with run_lock(folder):
        try:
            yield
        finally:
            settle_run(folder)
