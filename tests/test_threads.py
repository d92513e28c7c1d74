"""The number of threads: chosen by measuring where nobody has given it, recorded, and kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import unrolled
from unrolled.options.training import TrainingOptions
from unrolled.run import fitting
from unrolled.training import loop, threads
from unrolled.training.threads import candidates, choose_threads, fastest


@pytest.fixture(autouse=True)
def four_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process of four threads in which nothing was chosen before."""
    before = torch.get_num_threads()
    monkeypatch.setattr(threads, "_chosen", [0, 0])
    for name in ("OMP_NUM_THREADS", "UNROLLED_THREADS"):
        monkeypatch.delenv(name, raising=False)
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def timed(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], first: float = 0.0
) -> tuple[Callable[[], None], list[int]]:
    """A step that takes so many seconds by number of threads, the first one more, and the numbers it was made with."""
    clock, asked = [0.0], list[int]()
    monkeypatch.setattr(threads, "now", lambda: clock[0])

    def step() -> None:
        n = torch.get_num_threads()
        clock[0] += seconds[n] + (0 if asked else first)
        asked.append(n)

    return step, asked


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({1: 1.0, 2: 3.0, 4: 90.0}, 1),
        ({1: 4.0, 2: 2.0, 4: 1.0}, 4),
        ({1: 4.0, 2: 1.0, 4: 2.0}, 2),
        ({1: 1.0, 2: 1.0, 4: 1.0}, 1),
        ({1: 1.04, 2: 1.0, 4: 1.02}, 1),
        ({1: 1.5, 2: 1.0, 4: 0.97}, 2),
    ],
)
def test_the_fastest_is_chosen_and_of_equals_the_fewest(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], chosen: int
) -> None:
    assert fastest(seconds) == chosen
    step, asked = timed(monkeypatch, seconds, first=1000.0)  # compiling is nobody's fault
    means = choose_threads([1, 2, 4], step, 1e9)
    assert means == pytest.approx(seconds)
    assert torch.get_num_threads() == chosen
    assert asked[1:] == [1, 2, 4] * 5


def test_measuring_ends_with_its_time_after_one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    step, asked = timed(monkeypatch, {1: 1.0, 2: 1.0, 4: 90.0})
    choose_threads([1, 2, 4], step, 0.5)
    assert asked == [1, 1, 2, 4]


def test_a_later_training_of_the_process_chooses_among_all_again(monkeypatch: pytest.MonkeyPatch) -> None:
    step, _ = timed(monkeypatch, {1: 1.0, 2: 3.0, 4: 9.0})
    assert candidates(TrainingOptions()) == [1, 2, 4]
    choose_threads([1, 2, 4], step, 1.0)
    assert torch.get_num_threads() == 1
    assert candidates(TrainingOptions()) == [1, 2, 4]


def test_nothing_is_chosen_where_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert candidates(TrainingOptions(threads=3)) == [3]
    assert candidates(TrainingOptions(deterministic=True)) == [4]
    assert candidates(TrainingOptions(device="cuda")) == [4]
    torch.set_num_threads(1)
    assert candidates(TrainingOptions()) == [1]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    torch.set_num_threads(2)
    assert candidates(TrainingOptions()) == [2]


SMALL: dict[str, Any] = {"hidden_size": 8, "embedding_size": 4, "batch_size": 4, "window": 8, "evaluations": 2}


def test_the_choice_is_recorded_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """run.json has it; a run that goes on takes it, and measures nothing."""
    text = unrolled.lines(["the cat sat on the mat and the dog on the log"] * 40)
    folder, measured = tmp_path / "r", list[list[int]]()

    def choose(_: Any, numbers: list[int]) -> tuple[int, dict[int, float]]:
        measured.append(numbers)
        torch.set_num_threads(2)
        return 2, {1: 2.0, 2: 1.0, 4: 3.0}

    monkeypatch.setattr(loop, "_choose_threads", choose)
    unrolled.train("language-model", [text], folder, options=SMALL | {"max_steps": 4})
    assert measured == [[1, 2, 4]]
    assert json.loads((folder / "run.json").read_text())["chosen"] == {"threads": 2}
    assert fitting.chosen_threads(folder) == 2
    torch.set_num_threads(4)
    monkeypatch.setattr(threads, "_chosen", [0, 0])
    unrolled.resume(folder)
    assert len(measured) == 1
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("flags", "variable"), [({"threads": 3}, ""), ({"deterministic": True}, ""), ({}, "3")])
def test_a_run_with_given_threads_records_no_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any], variable: str
) -> None:
    if variable:
        monkeypatch.setenv("UNROLLED_THREADS", variable)
    text = unrolled.lines(["the cat sat on the mat and the dog on the log"] * 40)
    unrolled.train("language-model", [text], tmp_path / "r", options=SMALL | {"max_steps": 2} | flags)
    assert torch.get_num_threads() == (4 if "deterministic" in flags else 3)
    assert "chosen" not in json.loads((tmp_path / "r" / "run.json").read_text())
    torch.use_deterministic_algorithms(False)
