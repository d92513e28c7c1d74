"""Trainings from files to a finished run folder, one file a task: what the command line and `unrolled.train` share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from unrolled.data.text import Document
from unrolled.errors import ConfigError, FolderError, unknown_name
from unrolled.record import read_record
from unrolled.run.classify import classify_options, train_classifier
from unrolled.run.language_model import (
    language_model_options,
    read_training_texts,
    resume_language_model,
    train_language_model,
)
from unrolled.run.tag import tag_options, train_tagger
from unrolled.run.word_vectors import train_word_vectors, word_vectors_options
from unrolled.tasks import TASKS, load
from unrolled.tasks.trained_vectors import TrainedWordVectors

__all__ = ["check_resumable", "resume", "train"]


def train(
    task: str,
    sources: Sequence[str | Path | Document],
    out: str | Path,
    *,
    valid: Sequence[str | Path] | None = None,
    preset: str | None = None,
    overwrite: bool = False,
    options: dict[str, Any] | None = None,
    start: str | Path | None = None,
) -> Any:
    """Train on files, or on `unrolled.lines(...)`, and return the best model. `options`: any by its name: {"minutes": 10}.

    valid: for a language model, a classifier or a tagger, texts to validate on; for word vectors, tests (pairs or
    analogies) made after each epoch.
    start: word vectors to learn on from, a run or model folder.
    """
    if task not in TASKS:
        raise unknown_name("task", task, TASKS)
    if task == "word-vectors":
        if preset is not None:
            raise ConfigError("word vectors have no presets")
        before = TrainedWordVectors.load(start) if start else None
        resolved: Any = word_vectors_options(flags=options, start=before)
        events: Any = train_word_vectors(resolved, sources, out, probes=valid or (), start=before, overwrite=overwrite)
    elif start is not None:
        raise ConfigError("start is for word vectors; a language model's training goes on with unrolled.resume")
    elif task == "classify":
        resolved = classify_options(preset=preset, flags=options)
        events = train_classifier(resolved, sources, out, valid=valid, overwrite=overwrite)  # type: ignore[arg-type]
    elif task == "tag":
        resolved = tag_options(preset=preset, flags=options)
        events = train_tagger(resolved, sources, out, valid=valid, overwrite=overwrite)
    else:
        choose = partial(language_model_options, preset=preset, flags=options)
        resolved, documents, held_out = read_training_texts(choose, sources, valid, out, overwrite=overwrite)
        events = train_language_model(resolved, documents, out, valid=held_out, overwrite=overwrite)
    for _ in events:
        pass
    return load(out)


def check_resumable(out: str | Path) -> None:
    """FolderError unless the run folder holds a training that can go on."""
    task = read_record(Path(out)).get("task")
    if task in ("classify", "tag"):
        raise FolderError(f"{out}: this training takes minutes and is not resumed. Train anew with --overwrite.")
    if task == "word-vectors":
        raise FolderError(
            f"{out}: word vectors are not resumed in the middle; they are trained in minutes. Train anew with --overwrite, "
            "or learn on from what was saved: unrolled train word-vectors FILES --from RUN --out NEW"
        )


def resume(out: str | Path, *, allow_changes: bool = False) -> Any:
    """Go on with an interrupted training from Python and return the best model; see `resume_language_model`."""
    check_resumable(out)
    for _ in resume_language_model(out, allow_changes=allow_changes):
        pass
    return load(out)
