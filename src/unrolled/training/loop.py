"""The training loop of every task: a generator that trains as it is read and reports what happens.

    for event in fit(task, options, folder):
        ...                                     # a Step after each update, an Evaluated after each validation

The order of the data is a function of (seed, epoch, batch); `minutes` becomes a number of steps as soon as the speed is
known, so that the schedule depends on steps only. `best/` and `last/` are always whole, and `last/` holds a checkpoint: a
training that is killed at any moment and resumed ends with the weights, bit for bit, of one that was not. With several
`Ranks` every process runs this loop on its rows of each batch, and all of them take the same steps.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unrolled.clock import now
from unrolled.errors import ConfigError, UnrolledError
from unrolled.folders import latest, new_folder, read_rows
from unrolled.options.training import TrainingOptions
from unrolled.training.checkpoint import read_checkpoint, write_checkpoint
from unrolled.training.device import device_of
from unrolled.training.interrupt import interruptible
from unrolled.training.optimisation import (
    Average,
    clip_and_scale,
    make_optimiser,
    no_longer_improves,
    schedule,
    set_rates,
)
from unrolled.training.parallel import Ranks
from unrolled.types import State, Task, map_state

__all__ = ["Evaluated", "Event", "Finished", "Resumed", "Step", "fit"]

#: Part of the time budget spent on measuring the speed, and the most seconds for it.
_CALIBRATION, _CALIBRATION_SECONDS = 0.05, 15.0
#: Seconds between two checkpoints, more where saving takes long.
_SAVE_SECONDS = 30.0
#: Largest part of the time budget spent on validations; there are fewer of them where they take long.
_VALIDATION = 0.2


class Resumed(NamedTuple):
    """The training goes on from this step. total: steps planned, 0 while the speed is being measured."""

    step: int
    total: int


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


Event = Resumed | Step | Evaluated | Finished


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
    rate_factor: float = 1.0
    averaged: int = 0
    seconds: float = 0.0
    best: dict[str, Any] = field(default_factory=dict)
    row: dict[str, Any] = field(default_factory=dict)
    history: list[float] = field(default_factory=list)
    since_best: int = 0
    metrics_bytes: int = 0
    threads: int = 0


@dataclass
class _Run(_Counters):
    """Everything that changes while training."""

    task: Task = field(kw_only=True)
    options: TrainingOptions = field(kw_only=True)
    folder: Path = field(kw_only=True)
    ranks: Ranks = field(kw_only=True)
    model: nn.Module = field(kw_only=True)
    optimiser: torch.optim.Optimizer = field(kw_only=True)
    average: Average | None = None
    clock: float = field(default_factory=now)
    saved: float = 0.0
    saving: float = 0.0
    state: State | None = None
    interrupted: threading.Event = field(default_factory=threading.Event)
    stop: bool = False
    save: bool = False

    @property
    def steps_per_epoch(self) -> float:
        """Updates in one pass over the data."""
        return self.task.batches_per_epoch / self.options.accumulate

    def tick(self) -> float:
        """Seconds of training so far: those before an interruption count, those in which kernels are compiled do not."""
        before, self.clock = self.clock, now()
        self.seconds += self.clock - before
        return self.seconds

    def mean_weights(self) -> Any:
        """The context in which the model is validated and saved: with its averaged weights, if there are any."""
        return self.average.in_place() if self.average else nullcontext()


def fit(
    task: Task,
    options: TrainingOptions,
    folder: Path,
    *,
    resume: bool = False,
    replan: bool = False,
    ranks: Ranks | None = None,
) -> Iterator[Event]:
    """Train a fresh model of the task into `folder`, or continue from the checkpoint there.

    replan: minutes or epochs are not those of the beginning, so the number of steps is worked out once more.

    Ctrl-C and SIGTERM finish the step, save and validate; a second Ctrl-C stops at once.
    """
    if options.accumulate > task.batches_per_epoch:
        raise ConfigError(
            f"accumulate is {options.accumulate}, but the text has {task.batches_per_epoch} batches: give more text, "
            "smaller batches, or a smaller -s accumulate"
        )
    torch.set_num_threads(options.threads or torch.get_num_threads())
    torch.use_deterministic_algorithms(options.deterministic)
    torch.manual_seed(options.seed)
    model = task.build().to(device_of(options))
    run = _Run(
        task=task,
        options=options,
        folder=folder,
        ranks=ranks or Ranks(),
        model=model,
        optimiser=make_optimiser(task.stages(model), options),
    )
    if options.average_decay:
        run.average = Average(model, options.average_decay)
    if resume:
        _restore(run)
        run.total = 0 if replan else run.total
        yield Resumed(run.step, run.total)
    else:
        run.threads = torch.get_num_threads()
        run.ranks.seed(options.seed)
        yield _evaluate(run)
        run.evaluation_seconds = run.seconds
        _save(run)
    with interruptible() as run.interrupted:
        reason, due = _ended(run), False
        while not reason:
            yield _update(run)
            planned, due = _plan(run), _due(run)
            if due:
                yield _evaluate(run)
            if due or planned or run.save:
                _save(run)
            reason = _ended(run) or ("interrupted" if run.stop else "")
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
    state = None if run.state is None else map_state(Tensor.cpu, run.state)
    states, random = run.ranks.gather(state), run.ranks.gather(torch.get_rng_state())
    if run.ranks.first:
        run.averaged = run.average.n if run.average else 0
        with new_folder(run.folder / "last") as folder:
            with run.mean_weights():
                run.task.save(run.model, folder, run.row)
            record = {f.name: getattr(run, f.name) for f in fields(_Counters)}
            mean = run.average.mean if run.average else []
            write_checkpoint(folder, run.model, run.optimiser, states=states, random=random, mean=mean, record=record)
    run.saved, run.saving = run.tick(), time.perf_counter() - before


def _restore(run: _Run) -> None:
    """Continue from last/: as if the training had never stopped."""
    found = read_checkpoint(latest(run.folder / "last"), run.model, run.optimiser, run.ranks.rank, run.ranks.size)
    for f in fields(_Counters):
        setattr(run, f.name, found.record[f.name])
    device = next(run.model.parameters()).device
    run.state = None if found.state is None else map_state(lambda s: s.to(device), found.state)
    if run.averaged and (run.average or run.options.average_after):
        run.average = run.average or Average(run.model)
        run.average.n = run.averaged
        for mean, stored in zip(run.average.mean, found.mean, strict=True):
            mean.copy_(stored)
    if not found.same_ranks:
        run.ranks.seed(run.options.seed, run.step)
    torch.set_num_threads(run.threads)
    if run.ranks.first:
        with (run.folder / "metrics.jsonl").open("r+b") as file:
            file.truncate(run.metrics_bytes)
        costs = (run.task.criteria[0].cost(row) for row in read_rows(run.folder))
        run.history = [cost for cost in costs if cost < math.inf]
    run.clock, run.saved = now(), run.seconds


def _update(run: _Run) -> Step:
    """One step of optimisation: gradients of loss sums, of all batches and ranks, over the number of their tokens."""
    run.optimiser.zero_grad()
    loss, n_tokens = _backward(run)
    parameters = [p for group in run.optimiser.param_groups for p in group["params"]]
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    save = run.tick() - run.saved > max(_SAVE_SECONDS, 50 * run.saving)
    wishes = [float(run.interrupted.is_set()), float(save and run.ranks.first)]
    loss, tokens, stop, save = run.ranks.sum(gradients, [loss, n_tokens, *wishes])
    run.stop, run.save, n_tokens = stop > 0, save > 0, int(tokens)
    for p, gradient in zip(parameters, gradients, strict=True):
        p.grad = gradient
    norm = clip_and_scale(gradients, 1 / n_tokens, run.options.clip)
    if not math.isfinite(loss) or not math.isfinite(norm):
        _diverged(run, loss / n_tokens, norm)
    run.rate = run.options.learning_rate * run.rate_factor * schedule(run.options, run.step, run.total)
    set_rates(run.optimiser, run.rate, run.step / run.total if run.total else 0.0)
    run.optimiser.step()
    if run.average:
        run.average.add()
    run.step += 1
    run.tokens += n_tokens
    run.window_loss += loss
    run.window_tokens += n_tokens
    speed = run.tokens / max(run.tick(), 1e-9)
    return Step(run.step, run.total, run.step / run.steps_per_epoch, loss / n_tokens, speed, run.seconds)


def _backward(run: _Run) -> tuple[float, int]:
    """Add up the gradients of this rank's rows of the batches of a step; their loss sum and number of tokens."""
    run.model.train()
    total, n_tokens = 0.0, 0
    for i in range(run.options.accumulate):
        epoch, k = divmod(run.step * run.options.accumulate + i, run.task.batches_per_epoch)
        batch = run.task.batch(epoch, k)
        if run.ranks.size > 1:
            batch = batch.shard(run.ranks.rank, run.ranks.size)
        with torch.autocast(run.options.device, torch.bfloat16, enabled=run.options.precision == "bfloat16"):
            found = run.model.loss(batch, run.state)  # type: ignore[operator]
        (found.loss if found.penalty is None else found.loss + found.n_tokens * found.penalty).backward()
        run.state = None if found.state is None else map_state(Tensor.detach, found.state)
        total, n_tokens = total + float(found.loss.detach()), n_tokens + found.n_tokens
    return total, n_tokens


def _diverged(run: _Run, loss: float, norm: float) -> None:
    """End the training, in all processes, over a loss or a gradient that is no number."""
    epoch, k = divmod(run.step * run.options.accumulate, run.task.batches_per_epoch)
    what = f"The loss became {loss}" if not math.isfinite(loss) else f"The gradient's norm became {norm}"
    lower, config = f"learning_rate={run.options.learning_rate / 3:.2g}", run.folder / "config.toml"
    run.ranks.fail(
        UnrolledError(
            f"{what} at step {run.step} (epoch {epoch}, batch {k}). The learning rate may be too high: begin anew with "
            f"-s {lower}, or set it in {config} and go on with --resume {run.folder} --allow-changes. The last good "
            f"model is in {run.folder / 'last'}."
        )
    )


def _plan(run: _Run) -> bool:
    """Turn the minutes into steps, once enough have been timed; True at the step at which it was done."""
    if run.total:
        return False
    run.total, run.evaluations = run.ranks.share(lambda: _affordable(run))
    return run.total > 0


def _affordable(run: _Run) -> tuple[int, int]:
    """Steps and validations that the budget allows; no steps while it is not known."""
    budget = math.inf if run.options.minutes is None else run.options.minutes * 60
    epochs = math.inf if run.options.epochs is None else run.options.epochs * run.steps_per_epoch
    most = max(1, math.ceil(min(epochs, run.options.max_steps or math.inf, 1e15)))
    steps, spent = run.step, run.seconds - run.evaluation_seconds
    short = most * spent < 0.5 * budget * steps  # all epochs fit easily: nothing to measure
    if run.step < min(5, most) or not (short or spent >= min(_CALIBRATION * budget, _CALIBRATION_SECONDS)):
        return 0, run.evaluations
    left = budget - run.seconds
    affordable = int(min(_VALIDATION * left / max(run.evaluation_seconds, 1e-9), 1e9))
    evaluations = max(1, min(run.options.evaluations, affordable))
    left -= evaluations * run.evaluation_seconds
    return max(run.step, min(most, run.step + int(min(left * steps / spent, 1e15)))), evaluations


def _due(run: _Run) -> bool:
    """Whether a validation follows this step."""
    if not run.total:
        return False
    return run.step * run.evaluations // run.total > (run.step - 1) * run.evaluations // run.total


def _evaluate(run: _Run) -> Evaluated:
    """Validate on rank 0, save best/ if it is the best so far, append a line to metrics.jsonl; react to the result."""
    random = torch.get_rng_state()
    run.model.eval()
    found = run.ranks.share(lambda: _validated(run))
    run.row, run.window_loss, run.window_tokens = found.row, 0.0, 0
    run.since_best = 0 if found.best else run.since_best + 1
    if found.best:
        run.best = found.row
    cost = run.task.criteria[0].cost(found.row)
    if cost < math.inf:
        run.history.append(cost)
    options = run.options
    if options.schedule == "plateau" and run.since_best and run.since_best % options.plateau_patience == 0:
        run.rate_factor *= options.plateau_factor
    if options.average_after and not run.average and no_longer_improves(run.history, options.average_after):
        run.average = Average(run.model)
        run.average.add()
    torch.set_rng_state(random)
    run.tick()
    return found


@torch.no_grad()
def _validated(run: _Run) -> Evaluated:
    """What rank 0 does of a validation: everything that is computed or written."""
    with run.mean_weights():
        metrics = run.task.evaluate(run.model)
        best = not metrics or not run.best or _costs(run.task, metrics) < _costs(run.task, run.best)
        run.tick()
        row: dict[str, Any] = {
            "step": run.step,
            "epoch": round(run.step / run.steps_per_epoch, 4),
            "seconds": round(run.seconds, 2),
            "train_loss": run.window_loss / run.window_tokens if run.window_tokens else None,
            **metrics,
            "tokens_per_second": round(run.tokens / max(run.seconds, 1e-9), 1),
            "learning_rate": run.rate,
        }
        if best:
            with new_folder(run.folder / "best") as folder:
                run.task.save(run.model, folder, row)
        preview = run.task.preview(run.model)
    with (run.folder / "metrics.jsonl").open("ab") as file:
        file.write((json.dumps(row | {"preview": preview}) + "\n").encode())
        run.metrics_bytes = file.tell()
    return Evaluated(row, best, preview)


def _costs(task: Task, metrics: dict[str, Any]) -> tuple[float, ...]:
    """Return the metrics that models are selected by, each as a number to minimize, the most important first."""
    return tuple(criterion.cost(metrics) for criterion in task.criteria)
