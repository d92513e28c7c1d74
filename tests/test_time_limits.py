"""Limits of trainers with a loop of their own, averages and word vectors, on a clock that only their steps move."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unrolled
from unrolled.config import to_toml
from unrolled.models.average import AverageClassifier
from unrolled.models.word2vec import Word2Vec
from unrolled.options.training import DEFAULT_EPOCHS, DEFAULT_MINUTES
from unrolled.run.language_model import language_model_options
from unrolled.training.plan import Budget

Pace = Callable[[float], float]

#: Seconds for a thousand texts, or ten thousand words, at a moment.
PACES: dict[str, Pace] = {
    "steady": lambda _: 0.1,
    "slower": lambda now: 0.1 if now < 6 else 0.4,
    "faster": lambda now: 0.4 if now < 6 else 0.1,
    "an epoch is longer than the limit": lambda _: 6.5,
}
#: The limit in the tests below: 12 s.
MINUTES = 0.2


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """[seconds, pace]: moved on by each step."""
    state: list[Any] = [0.0, PACES["steady"]]
    average, vectors = AverageClassifier.step, Word2Vec.train

    def step(self: Any, bags: Any, targets: Any, order: np.ndarray, **given: Any) -> Any:
        state[0] += len(order) / 1000 * state[1](state[0])
        return average(self, bags, targets, order, **given)

    def train(self: Any, ids: np.ndarray, *given: Any) -> Any:
        state[0] += len(ids) / 10_000 * state[1](state[0])
        return vectors(self, ids, *given)

    monkeypatch.setattr(AverageClassifier, "step", step)
    monkeypatch.setattr(Word2Vec, "train", train)
    monkeypatch.setattr("time.perf_counter", lambda: state[0])
    return state


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 2,200 texts, of which a tenth is held out, and a text of 20,000 words."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(1)
    rows = ["text,label"]
    for i in range(2200):
        words = [f"w{k}" for k in rng.integers(30, size=5)]
        if rng.random() < 0.8:
            words.append(("good", "bad")[i % 2])
        rows.append(f"{' '.join(words)},{('pos', 'neg')[i % 2]}")
    (folder / "texts.csv").write_text("\n".join(rows))
    lines = [" ".join(f"w{k}" for k in rng.integers(40, size=10)) for _ in range(2000)]
    (folder / "corpus.txt").write_text("\n".join(lines))
    return folder


def train(task: str, data: Path, out: Path, **limits: Any) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl of a training."""
    file = data / ("texts.csv" if task == "classify" else "corpus.txt")
    extra = {"vector_size": 8, "min_count": 1} if task == "word-vectors" else {}
    unrolled.train(task, [file], out, options={"threads": 1} | extra | limits)
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("task", ["classify", "word-vectors"])
@pytest.mark.parametrize("pace", PACES)
def test_a_time_limit_is_kept(data: Path, tmp_path: Path, clock: list[Any], task: str, pace: str) -> None:
    clock[1] = PACES[pace]
    rows = train(task, data, tmp_path / "r", minutes=MINUTES)
    assert rows[-1]["seconds"] == pytest.approx(12, abs=max(0.6, clock[1](12)))
    corrections = [correction for row in rows for correction in row.get("corrections", ())]
    assert len(corrections) <= 20
    assert rows[-1]["epoch"] == pytest.approx(corrections[-1]["end"], abs=0.01)
    if pace == "steady":
        assert len(corrections) <= 3


@pytest.mark.parametrize(("task", "steps_per_epoch"), [("classify", 1980 / 500), ("word-vectors", 2)])
@pytest.mark.parametrize(
    ("limits", "epochs"),
    [
        ({"epochs": 3}, lambda _: 3),
        ({"epochs": 1}, lambda _: 1),
        ({"max_steps": 7}, lambda per_epoch: 7 / per_epoch),
        ({"max_steps": 1}, lambda per_epoch: 1 / per_epoch),
        ({"epochs": 2, "max_steps": 100}, lambda _: 2),
        ({"epochs": 2, "minutes": 60}, lambda _: 2),
    ],
)
def test_epochs_and_steps_are_exact(
    data: Path, tmp_path: Path, task: str, steps_per_epoch: float, limits: dict[str, Any], epochs: Callable[[float], float]
) -> None:
    rows = train(task, data, tmp_path / "r", **limits)
    assert rows[-1]["epoch"] == pytest.approx(epochs(steps_per_epoch), abs=1e-4)
    if "minutes" not in limits:
        assert not any("corrections" in row for row in rows)


@pytest.mark.parametrize("task", ["classify", "word-vectors"])
@pytest.mark.parametrize("limits", [{"epochs": 2}, {"max_steps": 3}])
def test_deterministic_trainings_give_the_same_bits(data: Path, tmp_path: Path, task: str, limits: dict[str, Any]) -> None:
    found = []
    for name in "ab":
        train(task, data, tmp_path / name, threads=2, deterministic=True, **limits)
        arrays = [path.read_bytes() for path in sorted((tmp_path / name / "best").rglob("*.safetensors"))]
        assert arrays
        found.append(arrays)
    assert found[0] == found[1]


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("limits", [{"epochs": 30}, {"minutes": MINUTES}])
def test_an_average_with_a_time_limit_keeps_the_best_by_validation(
    data: Path, tmp_path: Path, limits: dict[str, Any]
) -> None:
    """Validation becomes worse here, since the few words of a text are learned by heart; epochs are exact."""
    rows = train("classify", data, tmp_path / "r", average_rate=5.0, **limits)
    last, best = rows[-1]["valid_accuracy"], max(row["valid_accuracy"] for row in rows)
    assert last < best
    kept = unrolled.load(tmp_path / "r").metrics["valid_accuracy"]
    assert kept == pytest.approx(best if "minutes" in limits else last)


@pytest.mark.parametrize(
    ("layers", "variables", "limits"),
    [
        ({"flags": {"epochs": 2}}, {}, (None, 2, None)),
        ({"flags": {"minutes": 5}}, {}, (5, None, None)),
        ({"flags": {"max_steps": 9}}, {}, (None, None, 9)),
        ({"flags": {"minutes": 5, "epochs": 2}}, {}, (5, 2, None)),
        ({"settings": ["epochs=2"]}, {}, (None, 2, None)),
        ({"settings": ["epochs=2"], "flags": {"minutes": 5}}, {}, (5, 2, None)),
        ({"file": {"training": {"epochs": 2}}}, {}, (None, 2, None)),
        ({"file": {"training": {"epochs": 2, "minutes": 5}}}, {}, (5, 2, None)),
        ({"file": {"training": {"epochs": 2}}, "flags": {"minutes": 5}}, {}, (5, None, None)),
        ({"file": {"training": {"epochs": 2}}, "flags": {"max_steps": 9}}, {}, (None, None, 9)),
        ({"file": {"training": {"epochs": 2, "minutes": 5}}, "flags": {"epochs": 7}}, {}, (None, 7, None)),
        ({"file": {"training": {"minutes": 5}}}, {"UNROLLED_EPOCHS": "4"}, (None, 4, None)),
        ({"flags": {"minutes": 5}}, {"UNROLLED_EPOCHS": "4"}, (5, 4, None)),
        ({"flags": {"learning_rate": 0.1}, "file": {"training": {"epochs": 2}}}, {}, (None, 2, None)),
    ],
)
@pytest.mark.parametrize("preset", ["tiny", "char"])
def test_a_limit_that_is_given_replaces_those_of_presets_and_files(
    monkeypatch: pytest.MonkeyPatch,
    preset: str,
    layers: dict[str, Any],
    variables: dict[str, str],
    limits: tuple[float | None, float | None, int | None],
) -> None:
    """Limits given together, by flags, settings and environment, all count; they replace those of a file or a preset."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    training = language_model_options(preset=preset, **layers).training
    assert (training.minutes, training.epochs, training.max_steps) == limits


@pytest.mark.parametrize("preset", ["tiny", "char"])
def test_limits_that_a_run_writes_are_read_again(preset: str) -> None:
    for flags in ({}, {"epochs": 2}, {"minutes": 5, "max_steps": 9}):
        options = language_model_options(preset=preset, flags=flags)
        again = language_model_options(preset="tiny", file=tomllib.loads(to_toml(options)))
        assert again.training == options.training


def test_without_any_limit_there_are_defaults() -> None:
    training = language_model_options(preset="tiny", flags={"epochs": 2}).training.model_copy(update={"epochs": None})
    budget = Budget.of(training, 10, 5)
    assert (budget.seconds, budget.most) == (60 * DEFAULT_MINUTES, 10 * DEFAULT_EPOCHS)
