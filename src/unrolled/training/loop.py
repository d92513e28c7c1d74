"""The training loop of every task: a generator that trains as it is read and reports what happens.

    for event in fit(task, options, folder):
        ...                                     # a Step after each update, an Evaluated after each validation

The order of the data is a function of (seed, epoch, batch). A time limit becomes a number of steps, which is corrected at
validations, and between them where the speed has changed; schedules follow the plan's progress. Corrections are recorded.
`best/` and `last/` are always whole, and `last/` holds a checkpoint: a training that is killed at any moment and resumed
ends with the weights, bit for bit, of one that was not (with a time limit: repeats what was recorded). With
several `Ranks` every process runs this loop on its rows of each batch, and all of them take the same steps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unrolled.clock import now
from unrolled.errors import ConfigError, UnrolledError
from unrolled.folders import new_folder
from unrolled.options.training import TrainingOptions
from unrolled.training.device import device_of
from unrolled.training.events import Evaluated, Event, Finished, Resumed, Step, ThreadsChosen
from unrolled.training.interrupt import interruptible
from unrolled.training.optimisation import (
    Average,
    clip_and_scale,
    make_optimiser,
    no_longer_improves,
    schedule,
    set_rates,
    shorten_warmup,
    warmup,
)
from unrolled.training.parallel import Ranks
from unrolled.training.plan import Budget, validations_passed
from unrolled.training.state import Run, plan_again, restore, save
from unrolled.training.threads import candidates, choose_threads, fastest
from unrolled.types import State, Task, map_state

__all__ = ["Evaluated", "Event", "Finished", "Resumed", "Step", "ThreadsChosen", "fit"]

#: Seconds between two checkpoints, more where saving takes long.
_SAVE_SECONDS = 30.0
#: Largest part of the time budget spent on measuring threads, and the most seconds for it.
_MEASURING, _MEASURING_SECONDS = 0.01, 2.0
#: Threads are chosen again where steps take this many times as long as then, or so many times less, but not before this
#: part of the budget has passed.
_CHANGED, _NEXT_CHOICE = 1.5, 0.05
#: A run of fewer steps has hardly trained.
_FEW_STEPS = 20


def fit(
    task: Task,
    options: TrainingOptions,
    folder: Path,
    *,
    resume: bool = False,
    replan: bool = False,
    ranks: Ranks | None = None,
    threads: int = 0,
) -> Iterator[Event]:
    """Train a fresh model of the task into `folder`, or continue from the checkpoint there.

    replan: the limits are not those of the beginning. threads: as chosen before the first checkpoint was written.

    Ctrl-C and SIGTERM finish the step, save and validate; a second Ctrl-C stops at once.
    """
    if options.accumulate > task.batches_per_epoch:
        raise ConfigError(
            f"accumulate is {options.accumulate}, but the text has {task.batches_per_epoch} batches: give more text, "
            "smaller batches, or a smaller -s accumulate"
        )
    torch.use_deterministic_algorithms(options.deterministic)
    torch.manual_seed(options.seed)
    model = task.build().to(device_of(options))
    budget = Budget.of(options, task.batches_per_epoch / options.accumulate, options.evaluations)
    run = Run(
        task=task,
        options=options,
        folder=folder,
        ranks=ranks or Ranks(),
        model=model,
        optimiser=make_optimiser(task.stages(model), options),
        budget=budget,
        rise=warmup(options, budget.plan.end),
    )
    if options.average_decay:
        run.average = Average(model, options.average_decay)
    if resume:
        restore(run)
        if replan:
            plan_again(run)
        yield Resumed(run.step, int(run.budget.plan.end))
    else:
        numbers = [threads] if threads else candidates(options)
        if len(set(run.ranks.gather(tuple(numbers)))) > 1:  # machines that differ
            numbers = numbers[:1]
        torch.set_num_threads(numbers[-1])
        if len(numbers) > 1:
            yield ThreadsChosen(*_choose_threads(run, numbers))
        run.threads = torch.get_num_threads()
        run.ranks.seed(options.seed)
        yield from _evaluate(run)
        run.seconds, run.timed, run.clock = 0.0, 0.0, now()
        run.saved = 0.0
    with interruptible() as run.interrupted:
        reason, due = _ended(run), False
        while not reason:
            yield _update(run)
            due = _due(run)
            if due:
                yield from _evaluate(run)
            elif run.save:
                save(run)
            reason = _ended(run) or ("interrupted" if run.stop else "")
        if reason == "interrupted" and not due:
            save(run)  # before the validation: a resumed run is to be as if there had been none
            yield from _evaluate(run, interrupted=True)
    yield Finished(reason, run.best, _limit(run) if reason == "budget" else "", _warning(run))


def _ended(run: Run) -> str:
    """'patience', 'budget' or nothing: whether the training is over."""
    if run.since_best >= run.options.patience:
        return "patience"
    return "budget" if run.budget.plan.end and run.step >= run.budget.plan.end else ""


def _limit(run: Run) -> str:
    """The limit that has ended the run."""
    if run.budget.timed and run.step < run.budget.most:
        return "minutes"
    return "max_steps" if run.options.max_steps == run.step else "epochs"


def _warning(run: Run) -> str:
    """Why the best model is probably of no use, or nothing."""
    if run.step and run.history and run.best.get("step") == 0:
        return f"no validation was better than that before the first of {run.step:,} steps: the model has learned nothing"
    if run.step < _FEW_STEPS:
        return f"the model has hardly been trained: {run.step} step{'' if run.step == 1 else 's'}"
    return ""


def _choose_threads(run: Run, numbers: list[int]) -> tuple[int, dict[int, float]]:
    """Measure forward and backward passes of the next batches, which leave no trace, and take the fastest number.

    The number and mean seconds by number, the same in all ranks.
    """
    random = torch.get_rng_state()
    buffers = [(buffer, buffer.clone()) for buffer in run.model.buffers()]
    epoch, first = divmod(run.step * run.options.accumulate, run.task.batches_per_epoch)
    done = [0]

    def step() -> None:
        batch = run.task.batch(epoch, (first + done[0] // len(numbers)) % run.task.batches_per_epoch)
        done[0] += 1
        _add_gradients(run, batch)

    seconds = min(_MEASURING_SECONDS, _MEASURING * run.budget.seconds)
    means = choose_threads(numbers, step, seconds)
    if run.ranks.size > 1:
        shared = run.ranks.gather(means)
        means = {n: sum(found[n] for found in shared) / len(shared) for n in means}
        torch.set_num_threads(fastest(means))
    run.optimiser.zero_grad()
    for buffer, before in buffers:
        buffer.copy_(before)
    torch.set_rng_state(random)
    return torch.get_num_threads(), means


def _update(run: Run) -> Step:
    """One step of optimisation: gradients of loss sums, of all batches and ranks, over the number of their tokens."""
    run.optimiser.zero_grad()
    loss, n_tokens = _backward(run)
    parameters = [p for group in run.optimiser.param_groups for p in group["params"]]
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    wants_save = run.tick() - run.saved > max(_SAVE_SECONDS, 50 * run.saving)
    flags = [float(run.interrupted.is_set()), float(wants_save and run.ranks.first)]
    flags.append(float(run.ranks.first and run.budget.is_off(run.step + 1, run.seconds)))
    loss, tokens, *flags = run.ranks.sum(gradients, [loss, n_tokens, *flags])
    run.stop, run.save, run.replan = (flag > 0 for flag in flags)
    n_tokens = int(tokens)
    for p, gradient in zip(parameters, gradients, strict=True):
        p.grad = gradient
    norm = clip_and_scale(gradients, 1 / n_tokens, run.options.clip)
    if not math.isfinite(loss) or not math.isfinite(norm):
        _diverged(run, loss / n_tokens, norm)
    plan = run.budget.plan
    run.rate = run.options.learning_rate * run.rate_factor * schedule(run.options, run.step, plan, run.rise)
    set_rates(run.optimiser, run.rate, plan.progress(run.step))
    run.optimiser.step()
    if run.average:
        run.average.add()
    run.step += 1
    run.tokens += n_tokens
    run.window_loss += loss
    run.window_tokens += n_tokens
    speed = run.tokens / max(run.tick(), 1e-9)
    run.budget.pace.add(1, run.seconds - run.timed)
    run.timed, left = run.seconds, run.budget.left(run.step, run.seconds)
    total = int(run.budget.plan.end)
    return Step(run.step, total, run.step / run.steps_per_epoch, loss / n_tokens, speed, run.seconds, left)


def _backward(run: Run) -> tuple[float, int]:
    """Add up the gradients of this rank's rows of the batches of a step; their loss sum and number of tokens."""
    total, n_tokens = 0.0, 0
    for i in range(run.options.accumulate):
        epoch, k = divmod(run.step * run.options.accumulate + i, run.task.batches_per_epoch)
        loss, n, run.state = _add_gradients(run, run.task.batch(epoch, k))
        total, n_tokens = total + loss, n_tokens + n
    return total, n_tokens


def _add_gradients(run: Run, batch: Any) -> tuple[float, int, State | None]:
    """Add the gradients of this rank's rows of a batch; loss sum, number of tokens and the state after it."""
    run.model.train()
    if run.ranks.size > 1:
        batch = batch.shard(run.ranks.rank, run.ranks.size)
    with torch.autocast(run.options.device, torch.bfloat16, enabled=run.options.precision == "bfloat16"):
        result = run.model.loss(batch, run.state)  # type: ignore[operator]
    (result.loss if result.penalty is None else result.loss + result.n_tokens * result.penalty).backward()
    state = None if result.state is None else map_state(Tensor.detach, result.state)
    return float(result.loss.detach()), result.n_tokens, state


def _diverged(run: Run, loss: float, norm: float) -> None:
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


def _due(run: Run) -> bool:
    """Correct the plan if it is off; whether a validation follows this step."""
    budget, before = run.budget, run.budget.plan.progress(run.step - 1)
    if run.step <= run.repeat_until:
        _repeat(run, validated=False)
    elif run.replan if run.ranks.size > 1 else budget.is_off(run.step, run.seconds):
        correction = run.ranks.share(partial(_correct, run, validated=False))
        if correction and not run.ranks.first:
            _apply(run, correction)
    after = budget.plan.progress(run.step)
    return validations_passed(after, budget.evaluations) > validations_passed(before, budget.evaluations) or (
        bool(budget.plan.end) and run.step >= budget.plan.end
    )


def _correct(run: Run, *, validated: bool) -> dict[str, Any] | None:
    """What rank 0 does about a plan that the measured speed has overtaken: plan again, and choose threads again."""
    known = run.budget.pace.steps > 0
    threads = _reconsider_threads(run) if known else 0
    correction = run.budget.correct(run.step, run.tick(), validated=validated)
    if threads:
        run.budget.pace.forget()
        correction = (correction or {"position": run.step}) | {"threads": threads}
    if correction:
        correction |= {"validated": validated}
        run.budget.corrections.append(correction)
        shorten_warmup(run.rise, run.options, run.step, run.budget.plan.end)
    return correction


def _reconsider_threads(run: Run) -> int:
    """Choose the number of threads again where steps take much longer, or shorter, than when it was chosen. The number, if
    it has changed, else 0.
    """
    pace, numbers = run.budget.pace.value, candidates(run.options)
    if not run.budget.timed or len(numbers) == 1 or run.ranks.size > 1 or run.budget.pace.steps < 3:
        return 0
    run.threads_pace = run.threads_pace or pace
    if 1 / _CHANGED < pace / run.threads_pace < _CHANGED:
        return 0
    if run.seconds - run.threads_tried < _NEXT_CHOICE * run.budget.seconds:
        return 0
    before = run.threads
    run.threads, _ = _choose_threads(run, numbers)
    run.threads_tried, run.threads_pace = run.tick(), pace if run.threads == before else 0.0
    return 0 if run.threads == before else run.threads


def _repeat(run: Run, *, validated: bool) -> None:
    """Make the corrections again that were recorded at this step."""
    for correction in run.repeats:
        if correction["position"] == run.step and correction["validated"] == validated:
            _apply(run, correction)
            run.budget.corrections.append(correction)


def _apply(run: Run, correction: dict[str, Any]) -> None:
    """Take over a correction that was computed before, or by rank 0."""
    if "end" in correction:
        run.budget.repeat(correction)
    if "threads" in correction:
        run.threads = correction["threads"]
        torch.set_num_threads(run.threads)
    shorten_warmup(run.rise, run.options, run.step, run.budget.plan.end)


def _evaluate(run: Run, *, interrupted: bool = False) -> Iterator[Evaluated]:
    """Validate on rank 0, save best/ if it is the best so far, append a line to metrics.jsonl; react to the result; save.

    interrupted: the validation leaves no trace in what follows a resumption.
    """
    random, began = torch.get_rng_state(), run.tick()
    run.model.eval()
    event, correction = run.ranks.share(partial(_validated, run, planning=bool(run.step) and not interrupted))
    if correction and not run.ranks.first:
        _apply(run, correction)
    run.budget.corrections = []
    run.row, run.window_loss, run.window_tokens = event.row, 0.0, 0
    run.since_best = 0 if event.best else run.since_best + 1
    if event.best:
        run.best = event.row
    cost = run.task.criteria[0].cost(event.row)
    if cost < math.inf:
        run.history.append(cost)
    options = run.options
    if options.schedule == "plateau" and run.since_best and run.since_best % options.plateau_patience == 0:
        run.rate_factor *= options.plateau_factor
    if options.average_after and not run.average and no_longer_improves(run.history, options.average_after):
        run.average = Average(run.model)
        run.average.add()
    torch.set_rng_state(random)
    yield event
    if not interrupted:
        save(run)
    run.timed = run.tick()
    run.budget.overhead = run.timed - began


@torch.no_grad()
def _validated(run: Run, *, planning: bool) -> tuple[Evaluated, dict[str, Any] | None]:
    """What rank 0 does of a validation: everything that is computed or written. Also the correction of the plan, if any."""
    began, correction = run.seconds, None
    with run.mean_weights():
        metrics = run.task.evaluate(run.model)
        best = not metrics or not run.best or _costs(run.task, metrics) < _costs(run.task, run.best)
        run.budget.validated(run.tick() - began)
        row: dict[str, Any] = {
            "step": run.step,
            "epoch": round(run.step / run.steps_per_epoch, 4),
            "seconds": round(run.seconds, 2) if run.step else 0.0,
            "train_loss": run.window_loss / run.window_tokens if run.window_tokens else None,
            **metrics,
            "tokens_per_second": round(run.tokens / max(run.seconds, 1e-9), 1),
            "learning_rate": run.rate,
        }
        if best:
            with new_folder(run.folder / "best") as folder:
                run.task.save(run.model, folder, row)
        preview = run.task.preview(run.model)
    if planning and run.step <= run.repeat_until:
        _repeat(run, validated=True)
    elif planning:
        with torch.enable_grad():
            correction = _correct(run, validated=True)
    line = row | {"preview": preview} | ({"corrections": run.budget.corrections} if run.budget.corrections else {})
    with (run.folder / "metrics.jsonl").open("ab") as file:
        file.write((json.dumps(line) + "\n").encode())
        run.metrics_bytes = file.tell()
    return Evaluated(row, best, preview, "" if run.step else run.budget.warning), correction


def _costs(task: Task, metrics: dict[str, Any]) -> tuple[float, ...]:
    """Return the metrics that models are selected by, each as a number to minimize, the most important first."""
    return tuple(criterion.cost(metrics) for criterion in task.criteria)
