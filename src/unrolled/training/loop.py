"""The training loop of every task: a generator that trains as it is read and reports what happens.

    for event in fit(task, options, folder):
        ...                                     # a Step after each update, an Evaluated after each validation

The order of the data is a function of (seed, epoch, batch); `minutes` becomes a number of steps as soon as the speed is
known, so that the schedule depends on steps only. `best/` and `last/` are always whole, and `last/` holds a checkpoint: a
training that is killed at any moment and resumed ends with the weights, bit for bit, of one that was not.
"""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from unrolled.errors import UnrolledError
from unrolled.folders import latest, new_folder
from unrolled.training.checkpoint import read_checkpoint, write_checkpoint
from unrolled.types import State, Task, map_state

__all__ = ["Evaluated", "Finished", "Step", "fit"]

#: Part of the time budget spent on measuring the speed, and the most seconds for it.
_CALIBRATION, _CALIBRATION_SECONDS = 0.05, 15.0
#: Seconds between two checkpoints, more where saving takes long.
_SAVE_SECONDS = 30.0
#: Largest part of the time budget spent on validations; there are fewer of them where they take long.
_VALIDATION = 0.2


class _Options(Protocol):
    """What the loop reads of `unrolled.options.training.TrainingOptions`, where each is described."""

    @property
    def minutes(self) -> float: ...
    @property
    def epochs(self) -> float: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def warmup_steps(self) -> int: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def clip(self) -> float: ...
    @property
    def evaluations(self) -> int: ...
    @property
    def patience(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def threads(self) -> int: ...


class Step(NamedTuple):
    """One update was made. total: steps planned, 0 while the speed is being measured; loss in nats a token."""

    step: int
    total: int
    epoch: float
    loss: float
    tokens_per_second: float
    seconds: float


class Evaluated(NamedTuple):
    """The model was validated and saved. row: what was appended to metrics.jsonl."""

    row: dict[str, Any]
    best: bool
    preview: str


class Finished(NamedTuple):
    """Training has ended. reason: 'budget', 'patience' or 'interrupted'."""

    reason: str
    best: dict[str, Any]


@dataclass
class _Counters:
    """What is counted while training, all of it JSON: a checkpoint holds it as it stands here."""

    step: int = 0
    total: int = 0
    tokens: int = 0
    window_loss: float = 0.0
    window_tokens: int = 0
    evaluation_seconds: float = 0.0
    evaluations: int = 1
    rate: float = 0.0
    seconds: float = 0.0
    best: dict[str, Any] = field(default_factory=dict)
    row: dict[str, Any] = field(default_factory=dict)
    since_best: int = 0
    metrics_bytes: int = 0
    threads: int = 0


@dataclass
class _Run(_Counters):
    """Everything that changes while training."""

    task: Task = field(kw_only=True)
    options: _Options = field(kw_only=True)
    folder: Path = field(kw_only=True)
    model: nn.Module = field(kw_only=True)
    optimiser: torch.optim.Optimizer = field(kw_only=True)
    clock: float = field(default_factory=lambda: time.perf_counter())
    saved: float = 0.0
    saving: float = 0.0
    state: State | None = None

    def tick(self) -> float:
        """Seconds of training so far, those before an interruption included."""
        now = time.perf_counter()
        self.seconds, self.clock = self.seconds + now - self.clock, now
        return self.seconds


def fit(task: Task, options: _Options, folder: Path, *, resume: bool = False) -> Iterator[Step | Evaluated | Finished]:
    """Train a fresh model of the task into `folder`, or continue from the checkpoint there.

    Ctrl-C and SIGTERM finish the step, save and validate; a second Ctrl-C stops at once.
    """
    torch.set_num_threads(options.threads or torch.get_num_threads())
    torch.manual_seed(options.seed)
    model = task.build()
    run = _Run(task=task, options=options, folder=folder, model=model, optimiser=_optimiser(model, options))
    if resume:
        _restore(run)
    else:
        run.threads = torch.get_num_threads()
        yield _evaluate(run)
        run.evaluation_seconds = run.seconds
        _save(run)
    with _interruptible() as interrupted:
        reason, due = _ended(run), False
        while not reason:
            yield _update(run)
            planned, due = _plan(run), _due(run)
            if due:
                yield _evaluate(run)
            if due or planned or run.tick() - run.saved > max(_SAVE_SECONDS, 50 * run.saving):
                _save(run)
            reason = _ended(run) or ("interrupted" if interrupted.is_set() else "")
        if reason == "interrupted" and not due:
            _save(run)  # before the validation: a resumed run is to be as if there had been none
            yield _evaluate(run)
    yield Finished(reason, run.best)


def _ended(run: _Run) -> str:
    """'patience', 'budget' or nothing: whether the training is over."""
    if run.since_best >= run.options.patience:
        return "patience"
    return "budget" if run.total and run.step >= run.total else ""


def _save(run: _Run) -> None:
    """Write last/: the model as it is now, and all that is needed to go on from here."""
    before = time.perf_counter()
    with new_folder(run.folder / "last") as folder:
        run.task.save(run.model, folder, run.row)
        record = {f.name: getattr(run, f.name) for f in fields(_Counters)}
        write_checkpoint(folder, run.model, run.optimiser, state=run.state, record=record)
    run.saved, run.saving = run.tick(), time.perf_counter() - before


def _restore(run: _Run) -> None:
    """Continue from last/: as if the training had never stopped."""
    run.state, record = read_checkpoint(latest(run.folder / "last"), run.model, run.optimiser)
    for f in fields(_Counters):
        setattr(run, f.name, record[f.name])
    torch.set_num_threads(run.threads)
    with (run.folder / "metrics.jsonl").open("r+b") as file:
        file.truncate(run.metrics_bytes)
    run.clock, run.saved = time.perf_counter(), run.seconds


def _optimiser(model: nn.Module, options: _Options) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() == 2], "weight_decay": options.weight_decay},
        {"params": [p for p in parameters if p.dim() != 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, 0.99))


def _update(run: _Run) -> Step:
    """One step of optimisation."""
    model, options = run.model, run.options
    epoch, k = divmod(run.step, run.task.batches_per_epoch)
    batch = run.task.batch(epoch, k)
    model.train()
    loss = model.loss(batch, run.state)  # type: ignore[operator]
    mean = loss.loss / loss.n_tokens
    if not math.isfinite(mean.item()):
        raise UnrolledError(
            f"The loss became {mean.item()} at step {run.step} (epoch {epoch}, batch {k}). The learning rate may be too "
            f"high: try -s learning_rate={options.learning_rate / 3:.2g}. The last good model is in {run.folder / 'last'}."
        )
    run.optimiser.zero_grad()
    mean.backward()
    nn.utils.clip_grad_norm_(model.parameters(), options.clip)
    run.rate = options.learning_rate * _schedule(run.step, run.total, options.warmup_steps)
    for group in run.optimiser.param_groups:
        group["lr"] = run.rate
    run.optimiser.step()
    run.state = None if loss.state is None else map_state(Tensor.detach, loss.state)
    run.step += 1
    run.tokens += loss.n_tokens
    run.window_loss += float(loss.loss.detach())
    run.window_tokens += loss.n_tokens
    speed = run.tokens / max(run.tick(), 1e-9)
    passes = run.step / run.task.batches_per_epoch
    return Step(run.step, run.total, passes, mean.item(), speed, run.seconds)


def _schedule(step: int, total: int, warmup_steps: int) -> float:
    """Factor of the learning rate: a linear rise over the warm-up, then a straight line down to zero at `total`."""
    warmup_steps = min(warmup_steps, total // 10) if total else warmup_steps
    rise = min(1.0, (step + 1) / (warmup_steps + 1))
    return rise * (1 - step / total) if total else rise


def _plan(run: _Run) -> bool:
    """Turn the minutes into steps, once enough have been timed; True at the step at which it was done."""
    if run.total:
        return False
    budget = run.options.minutes * 60
    most = max(1, math.ceil(run.options.epochs * run.task.batches_per_epoch))
    spent = run.seconds - run.evaluation_seconds
    short = most * spent < 0.5 * budget * run.step  # all epochs fit easily: nothing to measure
    if run.step < min(5, most) or not (short or spent >= min(_CALIBRATION * budget, _CALIBRATION_SECONDS)):
        return False
    left = budget - run.seconds
    affordable = int(_VALIDATION * left / max(run.evaluation_seconds, 1e-9))
    run.evaluations = max(1, min(run.options.evaluations, affordable))
    left -= run.evaluations * run.evaluation_seconds
    run.total = max(run.step, min(most, run.step + int(left * run.step / spent)))
    return True


def _due(run: _Run) -> bool:
    """Whether a validation follows this step."""
    if not run.total:
        return False
    return run.step * run.evaluations // run.total > (run.step - 1) * run.evaluations // run.total


@torch.no_grad()
def _evaluate(run: _Run) -> Evaluated:
    """Validate, save best/ if it is the best so far, append a line to metrics.jsonl. Draws no random numbers."""
    random = torch.get_rng_state()
    run.model.eval()
    metrics = run.task.evaluate(run.model)
    watched = next(iter(metrics), None)  # nothing was held out: the latest is the best
    best = watched is None or not run.best or metrics[watched] < run.best[watched]
    run.tick()
    row: dict[str, Any] = {
        "step": run.step,
        "epoch": round(run.step / run.task.batches_per_epoch, 4),
        "seconds": round(run.seconds, 2),
        "train_loss": run.window_loss / run.window_tokens if run.window_tokens else None,
        **metrics,
        "tokens_per_second": round(run.tokens / max(run.seconds, 1e-9), 1),
        "learning_rate": run.rate,
    }
    run.row, run.window_loss, run.window_tokens = row, 0.0, 0
    run.since_best = 0 if best else run.since_best + 1
    if best:
        run.best = row
        with new_folder(run.folder / "best") as folder:
            run.task.save(run.model, folder, row)
    preview = run.task.preview(run.model)
    with (run.folder / "metrics.jsonl").open("ab") as file:
        file.write((json.dumps(row | {"preview": preview}) + "\n").encode())
        run.metrics_bytes = file.tell()
    torch.set_rng_state(random)
    run.tick()
    return Evaluated(row, best, preview)


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Within this context the first Ctrl-C or SIGTERM sets the event; the second one interrupts as usual."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def first(*_: Any) -> None:
        event.set()
        restore()

    for number in before:
        signal.signal(number, first)
    try:
        yield event
    finally:
        restore()
