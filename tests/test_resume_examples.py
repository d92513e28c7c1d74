"""Trainings on labelled examples, interrupted, go on as if they had never stopped, and only with the same examples."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import unrolled
from test_cli import run
from unrolled.data.labelled import Labelled
from unrolled.errors import ConfigError, DataError, FolderError
from unrolled.run.classify import classify_options, train_classifier
from unrolled.run.tag import tag_options, train_tagger
from unrolled.training.loop import Step

FLAGS = {"threads": 1, "minutes": 5, "epochs": 3, "hidden_size": 8, "embedding_size": 8, "batch_size": 4, "window": 16}
FLAGS |= {"evaluations": 3}


def write(folder: Path, task: str) -> Path:
    """Examples of the task in a file."""
    if task == "tag":
        path = folder / "words.conll"
        path.write_text("".join(f"w{i % 5} A\nw{i % 3} B\nw{i % 7} A\n\n" for i in range(60)), encoding="utf-8")
    else:
        path = folder / "texts.tsv"
        rows = (f"w{i % 5} w{i % 3} {'good' if i % 2 else 'bad'}\t{'x' if i % 2 else 'y'}\n" for i in range(60))
        path.write_text("text\tlabel\n" + "".join(rows), encoding="utf-8")
    return path


def events(task: str, path: Path, out: Path) -> Iterator[Any]:
    if task == "tag":
        return train_tagger(tag_options(flags=FLAGS), [path], out)
    options = classify_options(preset="rnn", flags=FLAGS | {"average_epochs": 2})
    return train_classifier(options, [path], out)


def interrupted(task: str, path: Path, out: Path, after: int = 7) -> None:
    """Train, pressing Ctrl-C after some steps."""
    for event in events(task, path, out):
        if isinstance(event, Step) and event.step == after:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("task", ["tag", "classify"])
def test_the_same_model_comes_out(task: str, tmp_path: Path) -> None:
    path = write(tmp_path, task)
    for _ in events(task, path, tmp_path / "whole"):
        pass
    interrupted(task, path, tmp_path / "parts")
    weights = [tmp_path / name / "last" / "model.safetensors" for name in ("whole", "parts")]
    assert weights[0].read_bytes() != weights[1].read_bytes()
    _, said = run("train", "--resume", tmp_path / "parts")
    assert "going on from step 8" in said
    assert weights[0].read_bytes() == weights[1].read_bytes()
    best = [(tmp_path / name / "best" / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert best[0] == best[1]
    assert "report.html" in said


@pytest.mark.parametrize("task", ["tag", "classify"])
def test_only_with_the_same_examples_and_options(task: str, tmp_path: Path) -> None:
    path, out = write(tmp_path, task), tmp_path / "run"
    interrupted(task, path, out)
    before = path.read_text()
    path.write_text(before.replace("w1", "aa").replace("w0", "zz"), encoding="utf-8")
    with pytest.raises(DataError, match="are not those that the training in"):
        unrolled.resume(out)
    words = json.loads((out / "last" / "vocabulary.json").read_text())
    found = unrolled.resume(out, allow_changes=True)
    assert json.loads((out / "best" / "vocabulary.json").read_text()) == words  # rows stay where they are
    assert type(found) is type(unrolled.load(out))
    unrolled.resume(out)  # from now on these are the examples it began with
    path.unlink()
    with pytest.raises(DataError, match="no such file"):
        unrolled.resume(out)
    config = out / "config.toml"
    config.write_text(config.read_text().replace("hidden_size = 8", "hidden_size = 9"), encoding="utf-8")
    with pytest.raises(ConfigError, match="hidden_size was 8, is 9"):
        unrolled.resume(out)


def test_killed_before_the_first_checkpoint(tmp_path: Path) -> None:
    path, out = write(tmp_path, "tag"), tmp_path / "run"
    following = events("tag", path, out)
    next(following)
    shutil.copytree(out, tmp_path / "killed")  # what is there if nothing can tidy up any more
    following.close()
    out = tmp_path / "killed"
    (out / "metrics.jsonl").write_text("half a li", encoding="utf-8")
    assert unrolled.resume(out).labels.names == ("A", "B")
    assert json.loads((out / "metrics.jsonl").read_text().splitlines()[0])["step"] == 0


def test_examples_that_came_from_no_file(tmp_path: Path) -> None:
    data = Labelled()
    for i in range(40):
        data.add(f"w{i % 3} {'good' if i % 2 else 'bad'}", ("x" if i % 2 else "y",), 1.0, str(i))
    options = classify_options(preset="rnn", flags=FLAGS | {"epochs": 1, "average_epochs": 1})
    for _ in train_classifier(options, data, tmp_path / "run"):
        pass
    with pytest.raises(FolderError, match="did not come from files"):
        unrolled.resume(tmp_path / "run")
