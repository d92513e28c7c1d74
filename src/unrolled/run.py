"""One training from files to a finished run folder: what the command line and `unrolled.train` share."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from unrolled.config import parse_assignment, resolve, to_toml
from unrolled.data.samples import english
from unrolled.data.text import Document, read_documents
from unrolled.errors import ConfigError, nearest
from unrolled.folders import prepare_run, read_config, write_bytes
from unrolled.options.language_model import PRESETS, LanguageModelOptions, preset_for
from unrolled.pictures.report import report_page
from unrolled.tasks.language_model import LanguageModelTask, TrainedLanguageModel
from unrolled.training.loop import Evaluated, Finished, Step, fit

__all__ = ["language_model_options", "train", "train_language_model"]


def language_model_options(
    *,
    preset: str | None = None,
    file: dict[str, Any] | None = None,
    flags: dict[str, Any] | None = None,
    settings: Sequence[str] = (),
) -> LanguageModelOptions:
    """Options from a preset (chosen by the tokens if None), a config file's content, flags and `key=value` settings."""
    given = dict(parse_assignment(setting) for setting in settings) | (flags or {})
    if preset is not None and preset not in PRESETS:
        raise ConfigError(f"unknown preset '{preset}'; known: {', '.join(PRESETS)}.{nearest(preset, PRESETS)}")
    tokens = resolve(LanguageModelOptions, file=file, flags=given).data.tokens
    return resolve(LanguageModelOptions, preset=PRESETS[preset or preset_for(tokens)], file=file, flags=given)


def train_language_model(
    options: LanguageModelOptions,
    sources: Sequence[str | Path] | None,
    out: str | Path,
    *,
    valid: Sequence[str | Path] | None = None,
    overwrite: bool = False,
) -> Iterator[LanguageModelTask | Step | Evaluated | Finished]:
    """Train on `sources` (None: the English that Python ships) into the run folder `out`, yielding what happens.

    The first item is the task, with the data read; then come the events of `training.loop.fit`.
    """
    folder = Path(out)
    prepare_run(folder, overwrite=overwrite)
    try:
        encoding = options.data.encoding
        documents: list[Document] = [english()] if sources is None else read_documents(sources, encoding)
        held_out = read_documents(valid, encoding) if valid else None
        task = LanguageModelTask(options, documents, held_out)
    except BaseException:
        folder.rmdir()  # nothing was written yet
        raise
    write_bytes(folder / "config.toml", f"# unrolled train language-model --config this-file\n{to_toml(options)}".encode())
    yield task
    rows: list[dict[str, Any]] = []
    samples: list[tuple[int, str]] = []
    for event in fit(task, options.training, folder):
        if isinstance(event, Evaluated):
            rows.append(event.row)
            samples.append((event.row["step"], event.preview))
            write_bytes(folder / "report.html", report_page(folder.name, rows, samples, to_toml(options)).encode())
        if isinstance(event, Finished):
            best = read_config(folder / "best")
            write_bytes(folder / "README.md", (folder / "best" / "README.md").read_bytes())
            assert best["task"] == "language-model"
            if importlib.util.find_spec("matplotlib"):
                importlib.import_module("unrolled.pictures.png").curves(rows, folder / "curves.png")
        yield event


def train(
    task: str,
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    valid: Sequence[str | Path] | None = None,
    preset: str | None = None,
    overwrite: bool = False,
    options: dict[str, Any] | None = None,
) -> TrainedLanguageModel:
    """Train from Python and return the best model.

    >>> model = unrolled.train("language-model", ["corpus.txt"], "runs/books", options={"minutes": 1})  # doctest: +SKIP
    """
    if task != "language-model":
        raise ConfigError(f"unknown task '{task}'; known: language-model")
    resolved = language_model_options(preset=preset, flags=options)
    for _ in train_language_model(resolved, sources, out, valid=valid, overwrite=overwrite):
        pass
    return TrainedLanguageModel.load(out)
