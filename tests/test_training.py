"""The training loop: budget, schedule, best and last, interruption, failure; folders that survive a crash."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unrolled import folders
from unrolled.errors import ConfigError, FolderError, UnrolledError
from unrolled.folders import new_folder, prepare_run, tensor_shapes, write_bytes
from unrolled.options.training import TrainingOptions
from unrolled.training.loop import Evaluated, Finished, Step, fit
from unrolled.training.optimisation import clip_and_scale, no_longer_improves, schedule, warmup
from unrolled.training.plan import Plan
from unrolled.training.weights import load_weights, save_weights
from unrolled.types import Criterion, LossSum, Stage, State


class Line(nn.Module):
    """y = w x, to be learned from y = 3 x."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1, 1))
        self.states: list[Any] = []

    def loss(self, batch: Tensor, state: State | None = None) -> LossSum:
        self.states.append(state)
        return LossSum((((self.w - 3) * batch) ** 2).sum(), len(batch), batch[:1].view(1, 1) * self.w)


class LineTask:
    """Implements `types.Task`; `valid` scripts the validation losses."""

    batches_per_epoch = 7
    criteria: tuple[Criterion, ...] = (Criterion("valid_loss"),)

    def __init__(self, valid: list[float] | None = None, *, broken_at: int | None = None) -> None:
        self.valid, self.broken_at = valid, broken_at
        self.asked: list[tuple[int, int]] = []
        self.model = Line()

    def build(self) -> Line:
        return self.model

    def stages(self, model: nn.Module) -> list[Stage]:
        return [Stage(list(model.parameters()))]

    def batch(self, epoch: int, k: int) -> Tensor:
        self.asked.append((epoch, k))
        return torch.full((2,), float("nan") if len(self.asked) == self.broken_at else 1.0)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        assert not model.training
        assert not torch.is_grad_enabled()
        loss = (self.model.w - 3).abs().item() if self.valid is None else self.valid.pop(0)
        return {"valid_loss": loss}

    def preview(self, model: nn.Module) -> str:
        return f"w = {self.model.w.item():.2f}"

    def save(self, model: nn.Module, folder: Path, metrics: dict[str, Any]) -> None:
        (folder / "w").write_text(str(self.model.w.item()))


def options(**changes: Any) -> TrainingOptions:
    return TrainingOptions(
        **({"minutes": 10, "epochs": 10, "learning_rate": 0.1, "evaluations": 5, "warmup_steps": 3, "threads": 1} | changes)
    )


def events(task: LineTask, folder: Path, **changes: Any) -> Iterator[Step | Evaluated | Finished]:
    folder.mkdir(exist_ok=True)
    return fit(task, options(**changes), folder)  # type: ignore[arg-type]


def test_it_trains_in_the_order_of_epochs_and_batches(tmp_path: Path) -> None:
    task = LineTask()
    seen = list(events(task, tmp_path / "r"))
    assert task.asked == [divmod(i, 7) for i in range(70)]
    assert task.model.w.item() == pytest.approx(3, abs=0.1)
    steps = [e for e in seen if isinstance(e, Step)]
    assert [s.step for s in steps] == list(range(1, 71))
    assert steps[-1].total == 70
    rows = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 14, 28, 42, 56, 70]
    assert rows[0]["train_loss"] is None
    for n, row in enumerate(rows[1:]):
        between = [s.loss for s in steps[14 * n : 14 * n + 14]]
        assert row["train_loss"] == pytest.approx(sum(between) / 14, rel=1e-5, abs=1e-12)
    assert isinstance(seen[-1], Finished)
    assert seen[-1].reason == "budget"
    assert (tmp_path / "r" / "best" / "w").exists()


def test_with_nothing_held_out_the_last_model_is_the_best(tmp_path: Path) -> None:
    class NothingHeldOut(LineTask):
        def evaluate(self, model: nn.Module) -> dict[str, float]:
            return {}

    task = NothingHeldOut()
    seen = list(events(task, tmp_path / "r", patience=1))
    assert all(e.best for e in seen if isinstance(e, Evaluated))
    assert seen[-1] == Finished("budget", seen[-2].row, "epochs")  # type: ignore[union-attr]
    assert float((tmp_path / "r" / "best" / "w").read_text()) == task.model.w.item()


class ScoredTask(LineTask):
    """Validations score F1, which is to be high; `scripted`: (F1, loss) of each."""

    criteria = (Criterion("valid_f1", maximize=True), Criterion("valid_loss"))

    def __init__(self, *scripted: tuple[float | None, float]) -> None:
        super().__init__()
        self.scripted = list(scripted)

    def evaluate(self, model: nn.Module) -> dict[str, Any]:
        f1, loss = self.scripted.pop(0)
        return {"valid_loss": loss, "valid_f1": f1}


@pytest.mark.parametrize(
    ("scripted", "best"),
    [
        ([(0.1, 1.0), (0.3, 2.0), (0.2, 0.5), (0.3, 3.0), (0.1, 0.1), (0.3, 2.0)], 1),  # F1 first, though losses rise
        ([(0.0, 3.0), (0.0, 2.0), (0.0, 1.0), (0.0, 1.5), (0.0, 1.0), (0.0, 9.0)], 2),  # equal F1: least loss
        ([(None, 1.0), (0.1, 9.0), (None, 0.5), (float("nan"), 0.1), (0.1, 8.0), (0.0, 0.0)], 4),  # a missing F1 is worst
        ([(None, 3.0), (None, 1.0), (None, 2.0), (None, 1.0), (None, 1.5), (None, 4.0)], 1),
    ],
)
def test_the_best_is_selected_by_the_criteria_of_the_task(
    tmp_path: Path, scripted: list[tuple[float | None, float]], best: int
) -> None:
    seen = list(events(ScoredTask(*scripted), tmp_path / "r", patience=9))
    rows = [event.row for event in seen if isinstance(event, Evaluated)]
    assert len(rows) == len(scripted)
    assert isinstance(seen[-1], Finished)
    assert seen[-1].best == rows[best]


def test_patience_counts_validations_that_are_not_better_by_the_criteria(tmp_path: Path) -> None:
    seen = list(events(ScoredTask((0.1, 1.0), (0.3, 2.0), (0.3, 3.0), (0.2, 0.1), (0.9, 0.1)), tmp_path / "r", patience=2))
    assert seen[-1] == Finished("patience", [event.row for event in seen if isinstance(event, Evaluated)][1])


def test_state_is_carried_without_its_gradient(tmp_path: Path) -> None:
    task = LineTask()
    list(events(task, tmp_path / "r", epochs=1))
    assert task.model.states[0] is None
    assert all(isinstance(s, Tensor) and not s.requires_grad for s in task.model.states[1:])


def test_best_is_the_best_and_last_the_last(tmp_path: Path) -> None:
    task = LineTask([9, 5, 4, 6, 4.5, 7])
    seen = list(events(task, tmp_path / "r"))
    flags = [e.best for e in seen if isinstance(e, Evaluated)]
    assert flags == [True, True, True, False, False, False]
    best, last = (float((tmp_path / "r" / name / "w").read_text()) for name in ("best", "last"))
    assert last == task.model.w.item() != best
    assert isinstance(seen[-1], Finished)
    assert seen[-1].best["step"] == 28


def test_patience_stops(tmp_path: Path) -> None:
    seen = list(events(LineTask([9, 1, 2, 3, 4, 5]), tmp_path / "r", patience=2))
    assert isinstance(seen[-1], Finished)
    assert seen[-1].reason == "patience"
    assert max(e.step for e in seen if isinstance(e, Step)) == 42


class ChangingTask(LineTask):
    """On the clock `now` a batch takes `pace(now)` seconds, and a validation as many times that as it is told."""

    def __init__(self, pace: Callable[[float], float], *, validation_steps: float) -> None:
        super().__init__()
        self.now, self.pace, self.validation_steps = 0.0, pace, validation_steps

    def batch(self, epoch: int, k: int) -> Tensor:
        self.now += self.pace(self.now)
        return super().batch(epoch, k)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        self.now += self.pace(self.now) * self.validation_steps
        return super().evaluate(model)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


PACES: dict[str, Callable[[float], float]] = {
    "steady": lambda _: 0.5,
    "long steps": lambda _: 7.0,
    "slower in the middle": lambda now: 0.5 if now < 300 else 2.0,
    "faster in the middle": lambda now: 2.0 if now < 300 else 0.4,
    "slower near the end": lambda now: 0.5 if now < 560 else 5.0,
    "faster near the end": lambda now: 2.0 if now < 520 else 0.25,
    "slow at first": lambda now: 6.0 if now < 40 else 0.3,
    "to and fro": lambda now: 0.3 if int(now / 45) % 2 else 1.5,
}


@pytest.mark.parametrize("evaluations", [1, 5, 25])
@pytest.mark.parametrize("pace", PACES)
def test_a_run_ends_when_its_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pace: str, evaluations: int
) -> None:
    """From the first step to the last validation: 600 s, 5 % more or less; the rate never rises again, and ends low."""
    task = ChangingTask(PACES[pace], validation_steps=4)
    monkeypatch.setattr("time.perf_counter", lambda: task.now)
    changes = {"minutes": 10, "epochs": None, "evaluations": evaluations, "warmup_steps": 3, "patience": 99}
    list(events(task, tmp_path / "r", **changes))
    rows = rows_of(tmp_path / "r")
    assert rows[0]["seconds"] == 0
    assert 570 <= rows[-1]["seconds"] <= 630
    learned = [row["learning_rate"] for row in rows[2:]]
    assert learned == sorted(learned, reverse=True)
    assert rows[-1]["learning_rate"] <= 0.1 * 0.12
    assert len(rows) <= 1.2 * evaluations + 2
    corrections = [correction for row in rows for correction in row.get("corrections", ())]
    assert corrections
    assert rows[-1]["step"] == corrections[-1]["end"]
    if pace in ("steady", "long steps"):
        assert len(corrections) <= 3


@pytest.mark.parametrize(
    ("validation_steps", "minutes", "message"),
    [
        (50, 0.5, "one validation takes 50.0 s of the 30 s of the time limit, so that the run will take longer"),
        (5, 0.5, "one validation takes 5.0 s of the 30 s of the time limit. Fix: "),
        (2, 0.5, ""),
        (50, None, ""),
    ],
)
def test_a_validation_that_is_long_for_the_time_limit_is_warned_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, validation_steps: float, minutes: float | None, message: str
) -> None:
    task = ChangingTask(lambda _: 1.0, validation_steps=validation_steps)
    monkeypatch.setattr("time.perf_counter", lambda: task.now)
    limits = {"minutes": minutes, "epochs": None, "max_steps": None if minutes else 7, "evaluations": 2}
    first, *others = [event for event in events(task, tmp_path / "r", **limits) if isinstance(event, Evaluated)]
    assert (message in first.warning) if message else not first.warning
    assert not any(event.warning for event in others)


def test_recorded_corrections_are_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after a line of metrics.jsonl and before its checkpoint, and resumed on a machine of another speed."""
    task = ChangingTask(PACES["to and fro"], validation_steps=4)
    monkeypatch.setattr("time.perf_counter", lambda: task.now)
    changes = {"minutes": 10, "epochs": None, "evaluations": 5, "warmup_steps": 3, "patience": 99}
    folder, kept = tmp_path / "r", tmp_path / "kept"
    whole: list[Any] = []
    for event in events(task, folder, **changes):
        if isinstance(event, Evaluated):
            whole.append(event.row | {"w": task.model.w.item()})
            if len(whole) == 3:
                shutil.copytree(folder / "last", kept)  # of the validation before
    written = (folder / "metrics.jsonl").read_bytes().splitlines(keepends=True)[:4]
    assert sum(b"corrections" in line for line in written) >= 2
    for name in ("last", "last.old"):
        shutil.rmtree(folder / name, ignore_errors=True)
    kept.rename(folder / "last")
    (folder / "metrics.jsonl").write_bytes(b"".join(written))
    other = ChangingTask(lambda _: 0.6, validation_steps=4)
    monkeypatch.setattr("time.perf_counter", lambda: other.now)
    resumed = []
    for event in fit(other, options(**changes), folder, resume=True):  # type: ignore[arg-type]
        if isinstance(event, Evaluated):
            resumed.append(event.row | {"w": other.model.w.item()})
    for before, after in zip(whole[2:4], resumed, strict=False):
        assert [before[name] for name in ("step", "w", "learning_rate")] == [
            after[name] for name in ("step", "w", "learning_rate")
        ]
    rows = rows_of(folder)
    assert [row.get("corrections") for row in rows[:4]] == [json.loads(line).get("corrections") for line in written]
    assert 570 <= rows[-1]["seconds"] <= 630


def test_the_first_limit_ends_a_run_with_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for minutes, epochs, max_steps, step, limit in (
        (10, 10, None, 70, "epochs"),
        (10, None, 33, 33, "max_steps"),
        (10, 10, 33, 33, "max_steps"),
        (0.5, 1e6, None, 28, "minutes"),
        (None, 2, 1000, 14, "epochs"),
        (None, None, 11, 11, "max_steps"),
    ):
        task = ChangingTask(lambda _: 1.0, validation_steps=1)
        monkeypatch.setattr("time.perf_counter", lambda task=task: task.now)
        limits = {"minutes": minutes, "epochs": epochs, "max_steps": max_steps, "evaluations": 2}
        seen = list(events(task, tmp_path / f"{minutes}-{epochs}-{max_steps}", **limits))
        assert isinstance(seen[-1], Finished)
        assert seen[-1].limit == limit
        assert max(e.step for e in seen if isinstance(e, Step)) == pytest.approx(step, abs=1 if limit == "minutes" else 0)


def test_a_run_of_few_steps_says_so(tmp_path: Path) -> None:
    ended = list(events(LineTask(), tmp_path / "r", max_steps=5, minutes=None, epochs=None))[-1]
    assert ended.warning == "the model has hardly been trained: 5 steps"  # type: ignore[union-attr]
    worse = list(events(LineTask([1, 2, 3, 4, 5, 6]), tmp_path / "s"))[-1]
    assert "learned nothing" in worse.warning  # type: ignore[union-attr]
    assert not list(events(LineTask(), tmp_path / "t"))[-1].warning  # type: ignore[union-attr]


def factor(chosen: TrainingOptions, step: int, total: int) -> float:
    """Factor of the learning rate in a run of `total` steps that are known from the beginning."""
    return schedule(chosen, step, Plan(end=total), warmup(chosen, total))


def test_schedule_rises_and_falls_to_zero() -> None:
    rates = [factor(options(warmup_steps=100), step, 1000) for step in range(1001)]
    assert rates[0] < 0.02
    assert max(rates) == pytest.approx(0.9, abs=0.02)
    assert rates[-1] == 0
    assert rates.index(max(rates)) in (99, 100, 101)
    assert factor(options(warmup_steps=100), 50, 0) == pytest.approx(51 / 101)
    assert factor(options(warmup_steps=100), 1, 10) > 0.4  # the warm-up of a short training is short


@pytest.mark.parametrize(
    ("kind", "at", "expected"),
    [("linear", 550, 0.45), ("cosine", 550, 0.4218), ("cosine", 1000, 0), ("constant", 999, 1), ("plateau", 999, 1)],
)
def test_schedules(kind: str, at: int, expected: float) -> None:
    chosen = options(warmup_steps=100, schedule=kind)
    assert factor(chosen, at, 1000) == pytest.approx(expected, abs=1e-3)
    assert factor(chosen, 0, 1000) == pytest.approx(1 / 101, rel=1e-3)


def test_the_rate_falls_when_validation_stagnates(tmp_path: Path) -> None:
    changes = {"schedule": "plateau", "plateau_patience": 2, "plateau_factor": 0.5, "warmup_steps": 0, "evaluations": 10}
    seen = list(events(LineTask([9, 5, 6, 6, 7, 7, 4, 5, 5, 5, 5]), tmp_path / "r", **changes))
    rates = [e.row["learning_rate"] for e in seen if isinstance(e, Evaluated)][1:]
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.025, 0.0125, 0.0125])


@pytest.mark.parametrize(
    ("history", "worse"),
    [
        ([5, 4, 3, 2], False),
        ([5, 4, 3, 4], False),
        ([5, 4, 4.5, 4.2, 4.1], True),
        ([4, 4.5, 4.2, 3.9], False),
        ([4, 5], False),
    ],
)
def test_averaging_begins_when_validation_is_worse_than_long_ago(history: list[float], worse: bool) -> None:
    assert no_longer_improves(history, 2) == worse


def test_averaged_weights_are_the_mean_since_averaging_began(tmp_path: Path) -> None:
    """Validations get worse at once, so that averaging begins at step 28: with the weights there and after each step."""
    task = LineTask([5, 6, 7, 1, 2, 3])
    weights, shown = [], []
    changes = {"average_after": 2, "optimiser": "sgd", "schedule": "constant", "learning_rate": 0.01, "clip": 0.5}
    for event in events(task, tmp_path / "r", **changes):
        weights += [task.model.w.item()] if isinstance(event, Step) else []
        shown += [event] if isinstance(event, Evaluated) else []
    assert [e.row["step"] for e in shown] == [0, 14, 28, 42, 56, 70]
    mean = sum(weights[27:42]) / 15
    assert float((tmp_path / "r" / "best" / "w").read_text()) == pytest.approx(mean, rel=1e-5)  # step 42 is the best
    assert shown[3].preview == f"w = {mean:.2f}"
    assert float((tmp_path / "r" / "last" / "w").read_text()) == pytest.approx(sum(weights[27:70]) / 43, rel=1e-5)
    assert task.model.w.item() == weights[-1] != mean


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    task, twice = LineTask(), LineTask()
    list(events(task, tmp_path / "a", epochs=4))
    seen = [e for e in events(twice, tmp_path / "b", epochs=4, accumulate=2) if isinstance(e, Step)]
    assert twice.asked == task.asked
    assert len(seen) == 14
    assert seen[-1].epoch == 4
    assert all(isinstance(s, Tensor) for s in twice.model.states[1:])


def test_more_than_an_epoch_is_not_accumulated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="accumulate is 8, but the text has 7 batches"):
        list(events(LineTask(), tmp_path / "r", accumulate=8))


def test_gradients_are_clipped_by_their_common_norm() -> None:
    gradients = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    assert clip_and_scale(gradients, 0.1, 10) == pytest.approx(0.5)
    torch.testing.assert_close(gradients[0], torch.tensor([0.3, 0]))
    assert clip_and_scale(gradients, 1, 0.05) == pytest.approx(0.5)
    assert torch.cat([g.flatten() for g in gradients]).norm() == pytest.approx(0.05, rel=1e-4)


def test_a_gradient_that_is_no_number_stops_with_advice(tmp_path: Path) -> None:
    class Cliff(LineTask):
        def batch(self, epoch: int, k: int) -> Tensor:
            self.model.w.register_hook(lambda g: g * math.inf) if (epoch, k) == (1, 2) else None
            return super().batch(epoch, k)

    with pytest.raises(UnrolledError, match=r"gradient's norm became inf at step 9 \(epoch 1, batch 2\)"):
        list(events(Cliff(), tmp_path / "r"))


def test_bfloat16_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*_: object) -> None:
        raise RuntimeError("could not create a primitive descriptor")

    list(events(LineTask(), tmp_path / "r", epochs=1, precision="float32"))
    monkeypatch.setattr(nn.LSTM, "forward", without)
    with pytest.raises(ConfigError, match=r"no bfloat16.*precision=float32"):
        list(events(LineTask(), tmp_path / "s", precision="bfloat16"))


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ConfigError, match=r"no CUDA device.*device=cpu"):
        list(events(LineTask(), tmp_path / "r", device="cuda"))


def test_deterministic_is_asked_of_torch(tmp_path: Path) -> None:
    try:
        list(events(LineTask(), tmp_path / "r", epochs=1, deterministic=True))
        assert torch.are_deterministic_algorithms_enabled()
        list(events(LineTask(), tmp_path / "s", epochs=1))
        assert not torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_ctrl_c_finishes_the_step_and_saves(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []
    for event in events(LineTask(), tmp_path / "r"):
        seen.append(event)
        if isinstance(event, Step) and event.step == 10:
            os.kill(os.getpid(), signal.SIGINT)
    assert isinstance(seen[-1], Finished)
    assert seen[-1].reason == "interrupted"
    assert max(e.step for e in seen if isinstance(e, Step)) in (10, 11)
    assert isinstance(seen[-2], Evaluated)
    assert seen[-2].row["step"] in (10, 11)
    assert signal.getsignal(signal.SIGINT) == before


def test_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    def press_twice() -> None:
        for event in events(LineTask(), tmp_path / "r"):
            if isinstance(event, Step) and event.step == 10:
                os.kill(os.getpid(), signal.SIGINT)
                while signal.getsignal(signal.SIGINT) != signal.default_int_handler:  # two signals that wait are one
                    time.sleep(0.001)
                os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            press_twice()
    finally:
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / "r" / "last" / "w").exists()


def test_a_loss_that_is_no_number_stops_with_advice(tmp_path: Path) -> None:
    with pytest.raises(UnrolledError, match=r"nan at step 15 \(epoch 2, batch 1\).*learning_rate=0.033.*last"):
        list(events(LineTask(broken_at=16), tmp_path / "r"))
    assert (tmp_path / "r" / "last" / "w").exists()


def test_same_seed_same_weights(english_file: Path, tmp_path: Path) -> None:
    import unrolled

    flags = {
        "minutes": 5,
        "epochs": 1,
        "hidden_size": 8,
        "embedding_size": 8,
        "window": 30,
        "threads": 1,
        "dropout_output": 0.3,
    }
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        unrolled.train("language-model", [english_file], tmp_path / name, preset="tiny", options=flags | {"seed": seed})
        weights.append((tmp_path / name / "last" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_new_folder_is_all_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "best"
    with new_folder(target) as folder:
        (folder / "a").write_text("old")
    with pytest.raises(RuntimeError, match="crash"), new_folder(target) as folder:
        (folder / "a").write_text("new")
        raise RuntimeError("crash")
    assert (target / "a").read_text() == "old"
    with pytest.raises(FolderError, match="No space left"), new_folder(target) as folder:
        raise OSError(28, "No space left on device")
    assert (target / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["best"]
    with new_folder(target) as folder:
        (folder / "b").write_text("new")
    assert [p.name for p in target.iterdir()] == ["b"]


def test_a_crash_between_the_renames_leaves_a_model_to_load(run_folder: Path, tmp_path: Path) -> None:
    import shutil

    import unrolled

    run = tmp_path / "run"
    shutil.copytree(run_folder / "best", run / ".best.old")
    assert unrolled.load(run).sample(length=3)


def test_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"older")
    with path.open("rb") as reader:
        write_bytes(path, b"old")
        assert reader.read() == b"older"  # another file took its place; this one was never touched
    assert [p.name for p in tmp_path.iterdir()] == ["file"]

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folders.os, "fsync", full)
    with pytest.raises(FolderError, match=r"file: cannot be written \(No space"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_nothing_of_the_users_is_overwritten(tmp_path: Path) -> None:
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "chapter.txt").write_text("years of work")
    (mine / "config.toml").write_text("mine too")
    for overwrite in (False, True):
        with pytest.raises(FolderError, match="nothing is overwritten"):
            prepare_run(mine, overwrite=overwrite)
    with pytest.raises(FolderError, match="is a file"):
        prepare_run(mine / "chapter.txt", overwrite=True)
    assert (mine / "chapter.txt").read_text() == "years of work"
    run = tmp_path / "run"
    prepare_run(run, overwrite=False)
    (run / "config.toml").write_text("")
    (run / "best").mkdir()
    with pytest.raises(FolderError, match="--overwrite"):
        prepare_run(run, overwrite=False)
    (run / "notes.txt").write_text("by hand")
    with pytest.raises(FolderError, match=r"notes\.txt, which no run has"):
        prepare_run(run, overwrite=True)
    (run / "notes.txt").unlink()
    prepare_run(run, overwrite=True)
    assert [p.name for p in run.iterdir()] == ["metrics.jsonl"]
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FolderError, match="leads nowhere"):
        prepare_run(tmp_path / "link", overwrite=False)


def test_overwrite_keeps_the_old_run_until_the_new_data_is_read(run_folder: Path, tmp_path: Path) -> None:
    import shutil

    import unrolled
    from unrolled.errors import DataError

    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    with pytest.raises(DataError, match="no such file"):
        unrolled.train("language-model", [tmp_path / "typo.txt"], run, preset="tiny", overwrite=True)
    assert unrolled.load(run).sample(length=3)
    mine = tmp_path / "project"
    mine.mkdir()
    (mine / "README.md").write_text("mine")
    with pytest.raises(FolderError, match="nothing is overwritten"):
        unrolled.load(run).save(mine)
    assert (mine / "README.md").read_text() == "mine"


def test_a_training_that_ends_before_a_model_leaves_what_was_there(
    run_folder: Path, english_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    import unrolled
    from unrolled.tasks.language_model import LanguageModelTask

    def crash(*_: Any) -> None:
        raise RuntimeError("power cut")

    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(run_folder, old)
    with monkeypatch.context() as patch:
        patch.setattr(LanguageModelTask, "evaluate", crash)
        for folder in (old, new):
            with pytest.raises(RuntimeError, match="power cut"):
                unrolled.train("language-model", [english_file], folder, preset="tiny", overwrite=True)
    assert unrolled.load(old).sample(length=3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old"]
    small = {"minutes": 5, "epochs": 1, "hidden_size": 8, "embedding_size": 8, "threads": 1}
    unrolled.train("language-model", [english_file], old, preset="tiny", overwrite=True, options=small)
    assert unrolled.load(old).model.config.hidden_size == 8
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old"]


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight[0, 0] = torch.nan
    save_weights(layer, tmp_path / "w.safetensors")
    with pytest.raises(FolderError, match="'weight' holds values that are no numbers"):
        load_weights(nn.Linear(2, 2), tmp_path / "w.safetensors")


def test_slow_validation_does_not_eat_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = ChangingTask(lambda _: 1.0, validation_steps=30)
    monkeypatch.setattr("time.perf_counter", lambda: task.now)
    seen = list(events(task, tmp_path / "r", minutes=10, epochs=1e6, evaluations=25))
    assert max(e.step for e in seen if isinstance(e, Step)) > 400
    assert 2 <= sum(isinstance(e, Evaluated) for e in seen) <= 5
    assert rows_of(tmp_path / "r")[-1]["seconds"] <= 610


def test_unwritable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", deny)
    with pytest.raises(FolderError, match=r"cannot be written \(Permission denied"):
        prepare_run(tmp_path / "x" / "y", overwrite=False)


def test_weights_round_trip_tied_once_and_shapes_in_the_header(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(3, 4)
            self.b = nn.Linear(3, 4)
            self.b.weight = self.a.weight

    first, second = Tied(), Tied()
    save_weights(first, tmp_path / "w.safetensors")
    assert tensor_shapes(tmp_path / "w.safetensors") == {"a.weight": (4, 3), "a.bias": (4,), "b.bias": (4,)}
    load_weights(second, tmp_path / "w.safetensors")
    assert torch.equal(second.b.weight, first.a.weight)
    with pytest.raises(FolderError, match="does not ask for"):
        load_weights(nn.Linear(3, 4), tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes(b"nonsense")
    with pytest.raises(FolderError, match="damaged"):
        load_weights(second, tmp_path / "w.safetensors")
    with pytest.raises(FolderError, match="not a whole safetensors"):
        tensor_shapes(tmp_path / "w.safetensors")


def test_tensorboard_gets_every_step_once(english_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the package: what is written, and that a resumed run takes back what it repeats."""
    import unrolled

    written: list[tuple[str, float, int]] = []

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int | None) -> None:
            assert folder == str(tmp_path / "r" / "events")
            written[:] = [entry for entry in written if purge_step is None or entry[2] < purge_step]

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def add_text(self, name: str, text: str, step: int) -> None:
            assert name == "what it wrote"

        def flush(self) -> None: ...
        def close(self) -> None: ...

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=SummaryWriter))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "tensorboard")
    flags = {"epochs": 1, "hidden_size": 8, "embedding_size": 8, "threads": 1, "minutes": 5}
    unrolled.train("language-model", [english_file], tmp_path / "r", preset="tiny", options=flags)
    whole = list(written)
    steps = [step for name, _, step in whole if name == "train/loss"]
    assert steps == list(range(1, steps[-1] + 1))
    assert any(name == "run/valid_loss" and step == steps[-1] for name, _, step in whole)
    unrolled.resume(tmp_path / "r")
    assert written == whole
