"""The training loop on a run folder whose run.json keeps what was chosen by measuring."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unrolled.options.training import TrainingOptions
from unrolled.record import chosen_threads, record_threads
from unrolled.training.loop import Event, ThreadsChosen, fit
from unrolled.training.parallel import Ranks
from unrolled.types import Task

__all__ = ["fit_run"]


def fit_run(
    task: Task, options: TrainingOptions, folder: Path, *, resume: bool, replan: bool = False, ranks: Ranks | None = None
) -> Iterator[Event]:
    """The events of `training.loop.fit`; a number of threads that it chooses is written to run.json, and taken from there
    where a run was killed before its first checkpoint.
    """
    ranks = ranks or Ranks()
    threads = ranks.share(lambda: chosen_threads(folder))
    for event in fit(task, options, folder, resume=resume, replan=replan, ranks=ranks, threads=threads):
        if isinstance(event, ThreadsChosen) and ranks.first:
            record_threads(folder, event.threads)
        yield event
