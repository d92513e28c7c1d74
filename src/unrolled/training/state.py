"""Everything that changes while the loop trains, written to last/ and read back."""

from __future__ import annotations

import json
import math
import threading
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unrolled.clock import now
from unrolled.folders import latest, new_folder, read_rows
from unrolled.options.training import TrainingOptions
from unrolled.training.checkpoint import read_checkpoint, write_checkpoint
from unrolled.training.optimisation import Average, warmup
from unrolled.training.parallel import Ranks
from unrolled.training.plan import Budget, Plan
from unrolled.types import State, Task, map_state

__all__ = ["Counters", "Run", "plan_again", "restore", "save"]


@dataclass
class Counters:
    """What is counted while training, all of it JSON: a checkpoint holds it as it stands here, with budget and warm-up."""

    step: int = 0
    total: int = 0
    tokens: int = 0
    window_loss: float = 0.0
    window_tokens: int = 0
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
    threads_pace: float = 0.0
    threads_tried: float = 0.0


@dataclass
class Run(Counters):
    """Everything that changes while training.

    repeats: corrections that were recorded behind the checkpoint, the last at step `repeat_until`.
    """

    task: Task = field(kw_only=True)
    options: TrainingOptions = field(kw_only=True)
    folder: Path = field(kw_only=True)
    ranks: Ranks = field(kw_only=True)
    model: nn.Module = field(kw_only=True)
    optimiser: torch.optim.Optimizer = field(kw_only=True)
    budget: Budget = field(kw_only=True)
    rise: Plan = field(kw_only=True)
    average: Average | None = None
    clock: float = field(default_factory=now)
    timed: float = 0.0
    saved: float = 0.0
    saving: float = 0.0
    state: State | None = None
    interrupted: threading.Event = field(default_factory=threading.Event)
    stop: bool = False
    save: bool = False
    replan: bool = False
    repeats: list[dict[str, Any]] = field(default_factory=list)
    repeat_until: int = 0

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


def save(run: Run) -> None:
    """Write last/: the model as it is now, and all that is needed to go on from here."""
    before = time.perf_counter()
    state = None if run.state is None else map_state(Tensor.cpu, run.state)
    states, random = run.ranks.gather(state), run.ranks.gather(torch.get_rng_state())
    if run.ranks.first:
        run.averaged = run.average.n if run.average else 0
        run.total = int(run.budget.plan.end)
        with new_folder(run.folder / "last") as folder:
            with run.mean_weights():
                run.task.save(run.model, folder, run.row)
            record = {f.name: getattr(run, f.name) for f in fields(Counters)}
            record |= {"budget": run.budget.state(), "rise": asdict(run.rise)}
            mean = run.average.mean if run.average else []
            write_checkpoint(folder, run.model, run.optimiser, states=states, random=random, mean=mean, record=record)
    run.saved, run.saving = run.tick(), time.perf_counter() - before


def restore(run: Run) -> None:
    """Continue from last/: as if the training had never stopped."""
    checkpoint = read_checkpoint(latest(run.folder / "last"), run.model, run.optimiser, run.ranks.rank, run.ranks.size)
    record = checkpoint.record
    for f in fields(Counters):
        setattr(run, f.name, record.get(f.name, getattr(run, f.name)))
    device = next(run.model.parameters()).device
    run.state = None if checkpoint.state is None else map_state(lambda s: s.to(device), checkpoint.state)
    if run.averaged and (run.average or run.options.average_after):
        run.average = run.average or Average(run.model)
        run.average.n = run.averaged
        for mean, stored in zip(run.average.mean, checkpoint.mean, strict=True):
            mean.copy_(stored)
    if not checkpoint.same_ranks:
        run.ranks.seed(run.options.seed, run.step)
    if "budget" in record:
        run.budget.restore(record["budget"])
        run.rise = Plan(**record["rise"])
    elif run.total:  # version 0.1.0 planned once: such a run keeps its plan
        run.budget = Budget(math.inf, run.total, record["evaluations"])
        run.rise = warmup(run.options, run.total)
    torch.set_num_threads(run.options.threads or run.threads)
    behind = run.ranks.share(lambda: _cut_metrics(run))
    run.repeat_until = max((row["step"] for row in behind), default=0)
    run.repeats = [c for row in behind for c in row.get("corrections", ()) if c["position"] >= run.step]
    if run.ranks.first:
        costs = (run.task.criteria[0].cost(row) for row in read_rows(run.folder))
        run.history = [cost for cost in costs if cost < math.inf]
    run.clock, run.saved, run.timed = now(), run.seconds, run.seconds


def _cut_metrics(run: Run) -> list[dict[str, Any]]:
    """Cut metrics.jsonl back to the checkpoint and return the rows that were behind it."""
    with (run.folder / "metrics.jsonl").open("r+b") as file:
        file.seek(run.metrics_bytes)
        lines = file.read().splitlines(keepends=True)
        file.truncate(run.metrics_bytes)
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def plan_again(run: Run) -> None:
    """Plan by limits that are not those of the beginning, from where the run is."""
    evaluations = run.options.evaluations
    budget = Budget.of(run.options, run.steps_per_epoch, evaluations)
    budget.validation, budget.overhead = run.budget.validation, run.budget.overhead
    if budget.timed and run.step:
        by_time = math.ceil(run.step * budget.seconds / max(run.seconds, 1e-9))
        budget.plan = Plan(end=max(run.step, min(budget.most, by_time)))
    elif budget.most < run.step:
        budget.plan = Plan(end=run.step)
    run.budget, run.rise = budget, warmup(run.options, budget.plan.end)
