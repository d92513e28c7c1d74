"""One training from files to a finished run folder: what the command line and `unrolled.train` share."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from unrolled.cells import CELLS
from unrolled.config import parse_assignment, resolve, to_toml
from unrolled.data.text import Document, read_documents
from unrolled.errors import ConfigError, unknown_name
from unrolled.features.tokenizers import TOKENIZERS
from unrolled.folders import check_run, prepare_run, settle_run, write_bytes, write_text
from unrolled.options.language_model import PRESETS, LanguageModelOptions, preset_for
from unrolled.pictures.report import report_page
from unrolled.tasks.language_model import LanguageModelTask, TrainedLanguageModel
from unrolled.training.loop import Evaluated, Finished, Step, fit

__all__ = ["language_model_options", "read_training_texts", "train", "train_language_model"]


def language_model_options(
    *,
    preset: str | None = None,
    file: dict[str, Any] | None = None,
    flags: dict[str, Any] | None = None,
    settings: Sequence[str] = (),
    documents: Sequence[Document] = (),
) -> LanguageModelOptions:
    """Options from a preset, a config file's content, flags and `key=value` settings.

    Without a preset the tokens choose it, and for characters the size of the text's alphabet.
    """
    given = dict(parse_assignment(setting) for setting in settings) | (flags or {})
    if preset is not None and preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    tokens = resolve(LanguageModelOptions, file=file, flags=given).data.tokens
    if preset is None:
        alphabet = set().union(*(document.text for document in documents)) if tokens == "char" else ()
        preset = preset_for(tokens, len(alphabet))
    options = resolve(LanguageModelOptions, preset=PRESETS[preset], file=file, flags=given)
    for name, value, known in (("cell", options.model.cell, CELLS), ("tokens", tokens, TOKENIZERS)):
        if value not in known:
            raise unknown_name(name, value, known)
    return options


def read_training_texts(
    choose: Callable[..., LanguageModelOptions],
    sources: Sequence[str | Path],
    valid: Sequence[str | Path] | None,
    out: str | Path,
    *,
    overwrite: bool,
) -> tuple[LanguageModelOptions, list[Document], list[Document] | None]:
    """Read the texts, once it is known that the run can be made; they take part in the choice of the options.

    `choose` is `language_model_options` with all but the documents given.
    """
    check_run(Path(out), overwrite=overwrite)
    encoding = choose().data.encoding
    documents = read_documents(sources, encoding)
    held_out = read_documents(valid, encoding) if valid else None
    return choose(documents=documents), documents, held_out


def train_language_model(
    options: LanguageModelOptions,
    documents: Sequence[Document],
    out: str | Path,
    *,
    valid: Sequence[Document] | None = None,
    overwrite: bool = False,
) -> Iterator[LanguageModelTask | Step | Evaluated | Finished]:
    """Train on the documents into the run folder `out`, yielding what happens.

    The first item is the task, with the data prepared; then come the events of `training.loop.fit`.
    """
    folder = Path(out)
    task = LanguageModelTask(options, documents, valid)
    prepare_run(folder, overwrite=overwrite)
    write_text(folder / "config.toml", f"# unrolled train language-model --config this-file\n{to_toml(options)}")
    yield task
    try:
        yield from _follow(task, options, folder)
    finally:
        settle_run(folder)


def _follow(task: LanguageModelTask, options: LanguageModelOptions, folder: Path) -> Iterator[Step | Evaluated | Finished]:
    """The events of the loop; at each validation the report is written anew."""
    rows: list[dict[str, Any]] = []
    samples: list[tuple[int, str]] = []
    for event in fit(task, options.training, folder):
        if isinstance(event, Evaluated):
            rows.append(event.row)
            samples.append((event.row["step"], event.preview))
            write_text(folder / "report.html", report_page(folder.name, rows, samples, to_toml(options)))
        if isinstance(event, Finished):
            write_bytes(folder / "README.md", (folder / "best" / "README.md").read_bytes())
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
    """Train on files from Python and return the best model. `options`: any option by its name, as {"minutes": 10}."""
    if task != "language-model":
        raise ConfigError(f"unknown task '{task}'; known: language-model")
    choose = partial(language_model_options, preset=preset, flags=options)
    resolved, documents, held_out = read_training_texts(choose, sources, valid, out, overwrite=overwrite)
    for _ in train_language_model(resolved, documents, out, valid=held_out, overwrite=overwrite):
        pass
    return TrainedLanguageModel.load(out)
