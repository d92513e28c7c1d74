"""The training of a language model, from files to a finished run folder."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from unrolled.cells import CELLS
from unrolled.config import resolve, to_toml, with_facts
from unrolled.data.paths import check_valid
from unrolled.data.text import Document, read_documents
from unrolled.errors import DataError, unknown_name
from unrolled.features.tokenizers import TOKENIZERS
from unrolled.folders import check_run, latest, read_rows, run_lock, write_bytes, write_text
from unrolled.options.language_model import FIXED, PRESETS, LanguageModelOptions, preset_for
from unrolled.pictures.report import report_page
from unrolled.pictures.tensorboard import Board
from unrolled.record import accept_changes, read_record, recorded_documents, recorded_options, replanned, write_record
from unrolled.run.fitting import fit_run
from unrolled.run.new import new_run
from unrolled.run.reported import write_curves
from unrolled.tasks.language_model import NAME, LanguageModelTask
from unrolled.tasks.text_codec import TextCodec
from unrolled.tasks.transfer import check_transfer
from unrolled.training.device import device_of
from unrolled.training.loop import Evaluated, Event, Finished, Resumed, Step
from unrolled.training.parallel import Ranks, joined, speaks

__all__ = [
    "bits_of",
    "language_model_options",
    "read_training_texts",
    "restarted",
    "resume_language_model",
    "train_language_model",
]


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
    if preset is not None and preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    tokens = resolve(LanguageModelOptions, file=file, flags=flags, settings=settings, check_effects=False).data.tokens
    if preset is None:
        alphabet = set().union(*(document.facts().alphabet for document in documents)) if tokens == "char" else ()
        preset = preset_for(tokens, len(alphabet))
    options = resolve(
        LanguageModelOptions, preset=PRESETS[preset], presets=PRESETS, file=file, flags=flags, settings=settings
    )
    for name, value, known in (("cell", options.model.cell, CELLS), ("tokens", tokens, TOKENIZERS)):
        if value not in known:
            raise unknown_name(name, value, known)
    return options


def read_training_texts(
    choose: Callable[..., LanguageModelOptions],
    sources: Sequence[str | Path | Document],
    valid: Sequence[str | Path] | None,
    out: str | Path,
    *,
    overwrite: bool,
) -> tuple[LanguageModelOptions, list[Document], list[Document] | None]:
    """Read the texts, once it is known that the run can be made; they take part in the choice of the options.

    `choose` is `language_model_options` with all but the documents given.
    """
    if speaks():
        check_run(Path(out), overwrite=overwrite)
    chosen = choose()
    device_of(chosen.training)  # whether it is there
    check_valid(valid)
    check_transfer(chosen.transfer.vectors)
    encoding = chosen.data.encoding
    documents = read_documents(sources, encoding)
    held_out = read_documents(valid, encoding) if valid else None
    return with_facts(choose(documents=documents), {"valid": bool(valid)}), documents, held_out


def train_language_model(
    options: LanguageModelOptions,
    documents: Sequence[Document],
    out: str | Path,
    *,
    valid: Sequence[Document] | None = None,
    overwrite: bool = False,
) -> Iterator[LanguageModelTask | Event]:
    """Train on the documents into the run folder `out`, yielding what happens.

    The first item is the task, with the data prepared; then come the events of `training.loop.fit`.
    """
    folder, options = Path(out), with_facts(options, {"valid": valid is not None})
    device_of(options.training)  # whether it is there
    with joined(options.training.device) as ranks:
        task = _same_task(ranks, lambda codec: LanguageModelTask(options, documents, valid, codec=codec))
        with new_run(folder, ranks, overwrite=overwrite):
            if ranks.first:
                write_text(
                    folder / "config.toml", f"# unrolled train language-model --config this-file\n{to_toml(options)}"
                )
                write_record(folder, NAME, task.options, {"train": documents, "valid": valid})
            yield task
            yield from _follow(task, options, folder, ranks, resume=False)


def resume_language_model(out: str | Path, *, allow_changes: bool = False) -> Iterator[LanguageModelTask | Event]:
    """Go on with the training in the run folder `out`, as if it had never stopped; yields what `train_language_model` does.

    FolderError, ConfigError or DataError if version, options or data are not those it began with, unless
    `allow_changes`.
    """
    folder = Path(out)
    record = read_record(folder)
    options = recorded_options(folder, record, LanguageModelOptions, fixed=FIXED, allow_changes=allow_changes)
    replan = replanned(record, options.training)
    with joined(options.training.device) as ranks, run_lock(folder) if ranks.first else nullcontext():
        texts = recorded_documents(folder, record, options.data.encoding, allow_changes=allow_changes)
        begun = ranks.share(lambda: latest(folder / "last").exists())  # killed before the first checkpoint: begin anew
        stored = TextCodec.load(folder / "last") if begun else None
        if ranks.first and not begun:
            write_text(folder / "metrics.jsonl", "")
        train, valid = texts["train"] or [], texts["valid"]
        task = _same_task(ranks, lambda codec: LanguageModelTask(options, train, valid, codec=codec or stored))
        if ranks.first and allow_changes:
            accept_changes(folder, record, options, texts)
        yield task
        yield from _follow(task, options, folder, ranks, resume=begun, replan=replan)


def _same_task(ranks: Ranks, build: Callable[[TextCodec | None], LanguageModelTask]) -> LanguageModelTask:
    """The task with one tokenizer and vocabulary in all processes. DataError if they do not read the same text."""
    if ranks.first:
        task = build(None)
        ranks.share(lambda: task.codec)
    else:
        task = build(ranks.share(lambda: None))
    read = ranks.gather(task.fingerprint)
    if len(set(read)) > 1:
        other = next(rank for rank, what in enumerate(read) if what != read[0])
        ranks.fail(
            DataError(f"process {other} of this training reads another text than process 0. Give all the same files.")
        )
    return task


def _follow(
    task: LanguageModelTask,
    options: LanguageModelOptions,
    folder: Path,
    ranks: Ranks,
    *,
    resume: bool,
    replan: bool = False,
) -> Iterator[Event]:
    """The events of the loop; rank 0 keeps the run folder's pages in step with them."""
    board = Board(folder)
    for event in fit_run(task, options.training, folder, resume=resume, replan=replan, ranks=ranks):
        if ranks.first:
            _write_pages(event, board, folder, options)
        yield event


def _write_pages(event: Event, board: Board, folder: Path, options: LanguageModelOptions) -> None:
    """TensorBoard's events, at each validation the report, at the end README and curves."""
    match event:
        case Resumed():
            board.resumed(event.step)
        case Step():
            board.step(event.step, event.loss)
        case Evaluated():
            board.row(event.row, event.preview)
            rows = read_rows(folder)
            if options.data.tokens == "char":
                rows = [row | {"valid_bits_per_character": bits_of(row.get("valid_loss"))} for row in rows]
            write_text(folder / "report.html", report_page(folder.name, rows, to_toml(options)))
        case Finished():
            board.close()
            write_bytes(folder / "README.md", (folder / "best" / "README.md").read_bytes())
            write_curves(folder)


def bits_of(nats: float | None) -> float | None:
    """Return a loss in bits."""
    return None if nats is None else nats / math.log(2)


def restarted(out: str | Path) -> bool:
    """Whether torchrun has started this training once more after a failure, and there is something to go on from."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0 and (Path(out) / "run.json").exists()
