"""The tasks by name. A new task is a model, options, a file here and one line below."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any, NamedTuple

from unrolled.aliases import task_advice
from unrolled.data.paths import type_name
from unrolled.errors import ConfigError, FolderError, nearest
from unrolled.folders import model_folder, read_config

__all__ = ["TASKS", "TaskEntry", "load", "unknown_task"]


class TaskEntry(NamedTuple):
    """Where a task's parts live; nothing is imported before it is used."""

    summary: str
    module: str
    trained: str


TASKS: dict[str, TaskEntry] = {
    "language-model": TaskEntry(
        "Predict the next symbol of text; write text.", "unrolled.tasks.language_model", "TrainedLanguageModel"
    ),
    "word-vectors": TaskEntry(
        "Learn a vector for each word from text.", "unrolled.tasks.trained_vectors", "TrainedWordVectors"
    ),
    "classify": TaskEntry("Sort texts by labels.", "unrolled.tasks.classifier", "TrainedClassifier"),
    "translate": TaskEntry("Translate sentences.", "unrolled.tasks.translator", "TrainedTranslator"),
    "caption": TaskEntry("Say in words what images show.", "unrolled.tasks.captioner", "TrainedCaptioner"),
    "transcribe": TaskEntry("Write down what recordings say.", "unrolled.tasks.recognizer", "TrainedRecognizer"),
    "tag": TaskEntry("Give every word a label; restore capitals and marks.", "unrolled.tasks.tagger", "TrainedTagger"),
}


def unknown_task(name: object) -> ConfigError:
    """The error for a task that does not exist; it names ours for the names of other tools."""
    return ConfigError(f"unknown task {name!r}; known: {', '.join(TASKS)}.{task_advice(str(name), TASKS)}")


def load(path: str | Path, *, errors: str = "strict") -> Any:
    """Open a trained model: a model folder, a run folder (its best model), or a file of word vectors.

    errors: for a file of word vectors, what becomes of bytes in words that are not UTF-8: "strict", "replace", "ignore".

    FolderError or DataError if it cannot be used.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"load: got {type_name(path)}, expected the path of a run or model folder (str or Path).")
    if Path(path).is_file():
        return importlib.import_module("unrolled.tasks.vectors").Vectors.from_file(path, errors)
    if errors != "strict":
        raise ConfigError(f"{path}: is no file of word vectors: --unicode-errors (errors={errors!r}) has no effect on it")
    folder = model_folder(path)
    name = read_config(folder).get("task")
    if name not in TASKS:
        raise FolderError(
            f"{folder}: is a model for the task {name!r}, which this version does not know.{nearest(str(name), TASKS)}"
        )
    entry = TASKS[name]
    return getattr(importlib.import_module(entry.module), entry.trained).load(folder)
