"""Trainings from files to a finished run folder, one file a task: what the command line and `unrolled.train` share."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec

from unrolled.data.captions import Captioned
from unrolled.data.labelled import Labelled
from unrolled.data.pairs import Pairs
from unrolled.data.paths import check_paths, list_sources, type_name
from unrolled.data.recordings import Recordings
from unrolled.data.tagged import Tagged
from unrolled.data.text import Document
from unrolled.errors import ConfigError, DataError, FolderError
from unrolled.record import read_record
from unrolled.run.caption import caption_options, resume_captioner, train_captioner
from unrolled.run.classify import classify_options, resume_classifier, train_classifier
from unrolled.run.language_model import (
    language_model_options,
    read_training_texts,
    resume_language_model,
    train_language_model,
)
from unrolled.run.tag import resume_tagger, tag_options, train_tagger
from unrolled.run.transcribe import resume_recognizer, train_recognizer, transcribe_options
from unrolled.run.translate import resume_translator, train_translator, translate_options
from unrolled.run.word_vectors import train_word_vectors, word_vectors_options
from unrolled.tasks import TASKS, load, unknown_task
from unrolled.tasks.inputs import source_advice
from unrolled.tasks.trained_vectors import TrainedWordVectors

__all__ = ["resume", "resuming", "train"]


#: Tasks whose texts may come from memory, as documents of `unrolled.lines`.
_TAKES_LINES = ("language-model", "word-vectors", "tag", "translate")
Arguments = ParamSpec("Arguments")
#: One path or document, or several.
Sources = str | Path | Document | Iterable[str | Path | Document]


def _telling_options(function: Callable[Arguments, Any]) -> Callable[Arguments, Any]:
    """Make options that are passed as arguments a TypeError that says how they are passed."""
    known = inspect.signature(function).parameters

    @functools.wraps(function)
    def run(*args: Arguments.args, **values: Arguments.kwargs) -> Any:
        others = {name: value for name, value in values.items() if name not in known}
        if others:
            raise TypeError(
                f"{function.__name__}() has no argument {', '.join(map(repr, others))}; options of a task are passed in a "
                f"dict. Fix: options={others!r}"
            )
        return function(*args, **values)

    return run


@_telling_options
def train(
    task: str,
    sources: Sources,
    out: str | Path,
    *,
    valid: Sources | None = None,
    preset: str | None = None,
    overwrite: bool = False,
    options: dict[str, Any] | None = None,
    start: str | Path | None = None,
) -> Any:
    """Train on files, or on `unrolled.lines(...)`, and return the best model. `options`: any by its name: {"minutes": 10}.

    sources: a path or a document of `unrolled.lines`, or an iterable of these. A str is always a path.
    valid: data to validate on, in the same form; for word vectors, tests (pairs or analogies) made after each epoch.
    start: word vectors to learn on from, a run or model folder.
    Raises TypeError for other types, DataError for a path that does not exist.
    """
    if task not in TASKS:
        raise unknown_task(task)
    _check_arguments(out, preset, options)
    files = _listed("sources", sources, task, lines=task in _TAKES_LINES)
    lines = task in _TAKES_LINES and task != "word-vectors"
    held = None if valid is None else _listed("valid", valid, task, lines=lines)
    if task == "word-vectors":
        if preset is not None:
            raise ConfigError("word vectors have no presets")
        before = TrainedWordVectors.load(start) if start else None
        resolved: Any = word_vectors_options(flags=options, start=before)
        events: Any = train_word_vectors(resolved, files, out, probes=held or (), start=before, overwrite=overwrite)
    elif start is not None:
        raise ConfigError("start is for word vectors; a language model's training goes on with unrolled.resume")
    elif task == "classify":
        resolved = classify_options(preset=preset, flags=options)
        events = train_classifier(resolved, files, out, valid=held, overwrite=overwrite)
    elif task == "translate":
        resolved = translate_options(preset=preset, flags=options)
        events = train_translator(resolved, files, out, valid=held, overwrite=overwrite)
    elif task == "caption":
        resolved = caption_options(preset=preset, flags=options)
        events = train_captioner(resolved, files, out, valid=held, overwrite=overwrite)
    elif task == "transcribe":
        resolved = transcribe_options(preset=preset, flags=options)
        events = train_recognizer(resolved, files, out, valid=held, overwrite=overwrite)
    elif task == "tag":
        resolved = tag_options(preset=preset, flags=options)
        events = train_tagger(resolved, files, out, valid=held, overwrite=overwrite)
    else:
        choose = partial(language_model_options, preset=preset, flags=options)
        resolved, documents, texts = read_training_texts(choose, files, held, out, overwrite=overwrite)
        events = train_language_model(resolved, documents, out, valid=texts, overwrite=overwrite)
    for _ in events:
        pass
    return load(out)


def _listed(name: str, sources: Any, task: str, *, lines: bool) -> Any:
    """The paths and documents as a list, checked; examples that a task has read already stay as they are."""
    if isinstance(sources, (Labelled, Tagged, Pairs, Captioned, Recordings)):
        return sources
    try:
        listed = list_sources(sources, *([Document] if lines else []))
    except TypeError as error:
        raise TypeError(f"{name}: {error} {'' if lines else source_advice(task)}".rstrip()) from None
    if not listed:
        raise DataError(f"{name}: the list is empty, expected at least one path.")
    check_paths(listed, source_advice(task) if lines else source_advice("file"))
    return listed


def _check_arguments(out: Any, preset: Any, options: Any) -> None:
    """TypeError for arguments of the wrong type, before any data are read."""
    if not isinstance(out, (str, os.PathLike)):
        raise TypeError(f"out: got {type_name(out)}, expected the path of the run folder to make (str or Path).")
    if not isinstance(preset, (str, type(None))):
        raise TypeError(f"preset: got {type_name(preset)}, expected its name (str).")
    if not isinstance(options, (Mapping, type(None))) or any(not isinstance(name, str) for name in options or ()):
        raise TypeError(f"options: got {type_name(options)}, expected a dict by option name, such as {{'minutes': 10}}.")


def resuming(out: str | Path, *, allow_changes: bool = False) -> tuple[str, Iterator[Any]]:
    """The task and the events of an interrupted training that goes on. FolderError if it cannot."""
    folder = Path(out)
    record = read_record(folder)
    task = record.get("task")
    if task == "word-vectors":
        raise FolderError(
            f"{out}: word vectors are not resumed in the middle; they are trained in minutes. Train anew with --overwrite, "
            "or learn on from what was saved: unrolled train word-vectors FILES --from RUN --out NEW"
        )
    if task == "classify":
        if record["options"]["model"]["network"] == "average":
            raise FolderError(f"{out}: an average is trained in seconds and not resumed. Train anew with --overwrite.")
        return task, resume_classifier(out, allow_changes=allow_changes)
    if task == "translate":
        return task, resume_translator(out, allow_changes=allow_changes)
    if task == "caption":
        return task, resume_captioner(out, allow_changes=allow_changes)
    if task == "transcribe":
        return task, resume_recognizer(out, allow_changes=allow_changes)
    if task == "tag":
        return task, resume_tagger(out, allow_changes=allow_changes)
    return "language-model", resume_language_model(out, allow_changes=allow_changes)


def resume(out: str | Path, *, allow_changes: bool = False) -> Any:
    """Go on with an interrupted training from Python and return the best model; see `resume_language_model`."""
    _, events = resuming(out, allow_changes=allow_changes)
    for _ in events:
        pass
    return load(out)
