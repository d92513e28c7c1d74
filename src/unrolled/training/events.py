"""What happens while a model is trained: the items of `training.loop.fit`."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Evaluated", "Event", "Finished", "Resumed", "Step", "ThreadsChosen"]


class ThreadsChosen(NamedTuple):
    """The number of threads was chosen by measuring. seconds: of a step, by number of threads."""

    threads: int
    seconds: dict[int, float]


class Resumed(NamedTuple):
    """The training goes on from this step. total: steps planned, 0 while the speed is being measured."""

    step: int
    total: int


class Step(NamedTuple):
    """One update was made. total: steps planned, 0 while the speed is being measured; loss in nats a token; left: seconds
    until the end of the run as planned now, None while that is not known.
    """

    step: int
    total: int
    epoch: float
    loss: float
    tokens_per_second: float
    seconds: float
    left: float | None = None


class Evaluated(NamedTuple):
    """The model was validated and saved. row: what was appended to metrics.jsonl; warning: of the first validation, that
    it takes long for the time limit, or nothing.
    """

    row: dict[str, Any]
    best: bool
    preview: str
    warning: str = ""


class Finished(NamedTuple):
    """Training has ended. reason: 'budget', 'patience' or 'interrupted'; limit: what the budget was: 'minutes', 'epochs' or
    'max_steps'; warning: why the model is probably of no use, or nothing.
    """

    reason: str
    best: dict[str, Any]
    limit: str = ""
    warning: str = ""


Event = ThreadsChosen | Resumed | Step | Evaluated | Finished
