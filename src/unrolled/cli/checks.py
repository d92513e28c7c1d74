"""Checks of paths and models that verbs are given, before anything large is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from unrolled.errors import ConfigError, DataError, FolderError
from unrolled.folders import check_new, model_folder, read_config

__all__ = ["check_helpers", "check_report", "check_run_of", "type_of", "verb_advice"]

#: What a model of each class answers, as commands.
_VERBS = {
    "TrainedLanguageModel": 'unrolled sample {0}, or unrolled predict {0} "some text"',
    "Vectors": "unrolled neighbors {0} WORD, or unrolled analogy {0} A B C",
    "TrainedWordVectors": "unrolled neighbors {0} WORD, or unrolled analogy {0} A B C",
    "TrainedClassifier": 'unrolled predict {0} "some text"',
    "TrainedTagger": 'unrolled predict {0} "some text"',
    "TrainedTranslator": 'unrolled predict {0} "a sentence"',
    "TrainedCaptioner": "unrolled predict {0} photo.jpg",
    "TrainedRecognizer": "unrolled predict {0} talk.wav",
}


def type_of(trained: Any) -> str:
    """Return what was loaded, as messages name it."""
    names = {"TrainedLanguageModel": "a language model", "TrainedWordVectors": "word vectors", "Vectors": "word vectors"}
    name = type(trained).__name__
    return names.get(name, f"a {name.removeprefix('Trained').lower()}")


def verb_advice(trained: Any, path: str) -> str:
    """Return the commands that a model answers, with a space before them."""
    return f" Fix: {_VERBS[type(trained).__name__].format(path)}."


def check_helpers(
    ensemble: Sequence[str] | None,
    language_model: str | None,
    hotwords: Path | None,
    phrases: Path | None,
    folders: Mapping[str, Path | None] | None = None,
) -> None:
    """Check what is read beside a model: runs of the right task, and files and folders that exist.

    Raises FolderError, ConfigError or DataError that names the option.
    """
    for path in ensemble or ():
        check_run_of("--ensemble", path, "translate")
    if language_model is not None and not language_model.lower().removesuffix(".gz").endswith(".arpa"):
        check_run_of("--language-model", language_model, "language-model")
    elif language_model is not None and not Path(language_model).is_file():
        raise DataError(f"--language-model {language_model}: no such file.")
    for flag, file in (("--hotwords", hotwords), ("--phrases", phrases)):
        if file is not None and not file.is_file():
            problem = "is a folder" if file.is_dir() else "no such file"
            raise DataError(f"{flag} {file}: {problem}; a file with one phrase per line is expected.")
    for flag, folder in (folders or {}).items():
        if folder is not None and not folder.is_dir():
            raise DataError(
                f"{flag} {folder}: {'is a file' if folder.exists() else 'no such folder'}; a folder is expected."
            )


def check_run_of(flag: str, path: str | Path, task: str) -> None:
    """FolderError unless a path is a run or model folder; ConfigError unless its model is of the task."""
    try:
        found = read_config(model_folder(path)).get("task")
    except FolderError as error:
        raise FolderError(f"{flag} {error}") from None
    if found != task:
        raise ConfigError(f"{flag} {path}: holds a model of the task {found!r}, expected one of {task!r}.")


def check_report(out: Path | None, files: Sequence[str], *, overwrite: bool) -> None:
    """Check --out of `evaluate`: a new HTML page, in a folder that exists, and none of the files that are read."""
    if out is None:
        return
    if out.suffix.lower() not in (".html", ".htm"):
        raise typer.BadParameter(f"--out {out}: got the suffix {out.suffix!r}, expected .html.")
    from unrolled.cli.inputs import check_output

    check_output(out, files)
    check_new(out, overwrite=overwrite)
