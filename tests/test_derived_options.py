"""Options that are "auto": derived from the data, recorded, and the same when a run is resumed."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

import unrolled
from test_cli import run
from test_resume_examples import events, interrupted, write
from unrolled.errors import ConfigError
from unrolled.options.batches import take_batch
from unrolled.options.caption import LARGEST as MOST_IMAGES
from unrolled.options.classify import LARGEST as MOST_TEXTS
from unrolled.options.tag import LARGEST as MOST_SENTENCES
from unrolled.options.tag import PRESETS, TagOptions
from unrolled.run.tag import tag_options, train_tagger
from unrolled.tasks.tag import TagTask

AUTO = {"batch_size": "auto", "window": "auto"}


def taken(flags: dict[str, Any], largest: tuple[int, int], examples: int, tokens: int) -> tuple[int, int]:
    return take_batch(tag_options(flags=flags), examples=examples, tokens=tokens, largest=largest).training.batch_shape()


@pytest.mark.parametrize("largest", [MOST_TEXTS, MOST_SENTENCES, MOST_IMAGES])
@pytest.mark.parametrize("length", [1, 3, 9.5, 40, 280])
@pytest.mark.parametrize("examples", [1, 7, 399, 400, 401, 2_500, 13_084, 10**6])
def test_a_derived_batch_is_small_enough_for_50_updates_per_epoch(
    largest: tuple[int, int], length: float, examples: int
) -> None:
    tokens = examples if largest[1] == 1 else int(examples * length)  # images are counted as they are
    size = float(taken(AUTO, largest, examples, tokens)[0] * taken(AUTO, largest, examples, tokens)[1])
    assert 1 <= size <= largest[0] * largest[1]
    if examples >= 400:
        assert tokens / size >= 50
    elif tokens >= 8:
        assert size <= max(8 * tokens / examples, 1)
    if tokens > 51 * largest[0] * largest[1]:
        assert size > 0.9 * largest[0] * largest[1]


def test_a_batch_that_is_named_is_kept() -> None:
    assert taken({"batch_size": 7, "window": 5}, MOST_TEXTS, 10**6, 10**7) == (7, 5)
    assert taken({"batch_size": 7}, MOST_TEXTS, 400, 4000) == (7, 256)
    assert taken({"window": 5}, MOST_TEXTS, 400, 4000) == (16, 5)  # 80 words: 50 batches
    halved = taken({"accumulate": 2}, MOST_TEXTS, 4000, 40_000)
    assert halved[0] * halved[1] == 400  # two batches are one update


@pytest.mark.parametrize("value", ["0", "many", "2.5"])
def test_a_batch_size_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match=r"^batch-size: ") as caught:
        tag_options(flags={"batch_size": value})
    assert "\n" not in str(caught.value)


def test_flags_environment_and_settings_take_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tag_options(flags={"batch_size": "12"}).training.batch_size == 12
    assert tag_options(settings=["batch_size=auto"]).training.batch_size == "auto"
    monkeypatch.setenv("UNROLLED_BATCH_SIZE", "3")
    assert tag_options().training.batch_size == 3
    out, _ = run("train", "tag", "x", "--out", "y", "--print-config", "--batch-size", "auto", "--window", "9")
    assert tomllib.loads(out)["training"]["batch_size"] == "auto"
    assert tomllib.loads(out)["training"]["window"] == 9


@pytest.mark.parametrize("task", ["tag", "classify"])
def test_what_was_derived_is_recorded_and_resumed(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test_resume_examples.FLAGS", {**_small(), "batch_size": "auto", "window": "auto"})
    path = write(tmp_path, task)
    for _ in events(task, path, tmp_path / "whole"):
        pass
    interrupted(task, path, tmp_path / "parts", after=3)
    unrolled.resume(tmp_path / "parts")
    weights = [(tmp_path / name / "last" / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]
    out = tmp_path / "parts"
    config = tomllib.loads((out / "config.toml").read_text())["training"]
    assert (config["batch_size"], config["window"]) == ("auto", "auto")
    recorded = json.loads((out / "run.json").read_text())["options"]["training"]
    assert (recorded["batch_size"], recorded["window"]) == (1, 24)  # 8 examples of 3 words: 60 are less than 400
    model = json.loads((out / "best" / "config.json").read_text())["options"]["training"]
    assert (model["batch_size"], model["window"]) == (1, 24)


def _small() -> dict[str, Any]:
    return {"threads": 1, "minutes": 5, "epochs": 3, "hidden_size": 8, "embedding_size": 8, "evaluations": 3}


ENTITIES = "".join(f"Anna{i} B-PER\nmet O\nBen B-PER\n\nOslo B-LOC\nis O\ncold{i} O\n\n" for i in range(30))


@pytest.mark.parametrize(
    ("text", "flags", "metrics"),
    [
        (ENTITIES, {}, ["valid_entity_f1", "valid_loss"]),
        (ENTITIES.replace("B-", "B_"), {}, ["valid_accuracy", "valid_loss"]),
        (ENTITIES, {"select": "accuracy"}, ["valid_accuracy", "valid_loss"]),
        (ENTITIES, {"select": "loss"}, ["valid_loss"]),
    ],
)
def test_taggers_are_selected_by_entities_where_labels_mark_some(
    text: str, flags: dict[str, Any], metrics: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "words.conll"
    path.write_text(text, encoding="utf-8")
    items = iter(train_tagger(tag_options(flags=_small() | flags), [path], tmp_path / "run"))
    task = next(items)
    assert isinstance(task, TagTask)
    assert [criterion.metric for criterion in task.criteria] == metrics
    assert task.options.selection.select == (flags.get("select") or metrics[0].removeprefix("valid_").replace("_", "-"))


def test_a_run_from_before_the_option_goes_on_as_it_began(tmp_path: Path) -> None:
    """Runs recorded before taggers had `select` were selected by loss, in batches that were written as numbers."""
    path, out = tmp_path / "words.conll", tmp_path / "run"
    path.write_text(ENTITIES, encoding="utf-8")
    for _ in train_tagger(tag_options(flags=_small() | {"batch_size": 4, "window": 8, "select": "loss"}), [path], out):
        pass
    record = json.loads((out / "run.json").read_text())
    del record["options"]["selection"]
    (out / "run.json").write_text(json.dumps(record))
    config = tomllib.loads((out / "config.toml").read_text())
    del config["selection"]
    (out / "config.toml").write_text(unrolled.config.tomli_w.dumps(config))
    unrolled.resume(out, allow_changes=False)
    unrolled.resume(out, allow_changes=True)
    assert json.loads((out / "run.json").read_text())["options"]["selection"]["select"] == "loss"


def test_defaults_are_derived() -> None:
    assert PRESETS["default"]["batch_size"] == "auto"
    assert TagOptions().selection.select == "auto"
