"""`unrolled train TASK`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unrolled.cli.advice import AdvisedGroup
from unrolled.cli.caption import caption, follow_captioner
from unrolled.cli.classify import classify, follow_classifier
from unrolled.cli.flags import ConfigFile, Files, Out, Overwrite, PrintConfig, Quiet, Settings, with_options
from unrolled.cli.guard import guarded
from unrolled.cli.progress import Progress, say, say_tables, validation, what_next, why_ended
from unrolled.cli.tag import follow_tagger, tag
from unrolled.cli.transcribe import follow_recognizer, transcribe
from unrolled.cli.translate import follow_translator, translate
from unrolled.cli.word_vectors import word_vectors
from unrolled.config import read_toml, to_toml
from unrolled.options.language_model import PRESETS, LanguageModelOptions
from unrolled.options.training import describe_limits

if TYPE_CHECKING:
    from unrolled.data.text import Document

__all__ = ["app", "follow", "language_model", "run_training"]

app = typer.Typer(cls=AdvisedGroup, help="Train a model.", no_args_is_help=True, rich_markup_mode=None)
app.command("word-vectors")(word_vectors)
app.command("classify")(classify)
app.command("tag")(tag)
app.command("translate")(translate)
app.command("caption")(caption)
app.command("transcribe")(transcribe)


@app.callback(invoke_without_command=True)
@guarded
def _tasks(
    context: typer.Context,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the interrupted training in this run folder; no TASK, no other option.")
    ] = None,
    allow_changes: Annotated[
        bool, typer.Option("--allow-changes", help="Resume although version, options or data have changed.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="With --resume: no progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --resume: print the best validation as JSON.")] = False,
) -> None:
    """Train a model: unrolled train TASK FILES --out FOLDER. After an interruption: unrolled train --resume FOLDER."""
    if resume is None:
        if context.invoked_subcommand is None or allow_changes or quiet or as_json:
            raise typer.BadParameter("name a task, then its options, or --resume FOLDER.")
        return
    if context.invoked_subcommand is not None:
        raise typer.BadParameter("--resume takes the task and all options from the run folder: name nothing else.")
    from unrolled.run import resuming

    task, events = resuming(resume, allow_changes=allow_changes)
    following = {"classify": follow_classifier, "tag": follow_tagger, "translate": follow_translator}
    shown = (following | {"caption": follow_captioner, "transcribe": follow_recognizer}).get(task, follow)
    shown(events, resume, quiet=quiet, as_json=as_json)


@app.command("language-model")
@guarded
@with_options(LanguageModelOptions, PRESETS)
def language_model(
    files: Files,
    out: Out,
    valid: Annotated[
        list[str] | None, typer.Option(help="Validation text instead of the end of the training text.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="tiny, char, han or word; chosen by --tokens and the alphabet if not given.")
    ] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
    print_config: PrintConfig = False,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the best validation as JSON.")] = False,
    *,
    given: dict[str, Any],
) -> None:
    """Train a language model on text.

    Examples:

    unrolled train language-model corpus.txt --out runs/books

    unrolled train language-model books/ --tokens words --minutes 60 --out runs/words

    unrolled train language-model ptb.train.txt --valid ptb.valid.txt --tokens whitespace --out runs/ptb
    """
    from unrolled.run.language_model import (
        language_model_options,
        read_training_texts,
        restarted,
        resume_language_model,
    )

    if not print_config and restarted(out):
        follow(resume_language_model(out), out, quiet=quiet, as_json=as_json)
        return
    file = read_toml(config) if config else None
    choose = partial(language_model_options, preset=preset, file=file, flags=given, settings=settings or ())
    if print_config:
        print(to_toml(choose()), end="")
        return
    _announce(files, quiet=quiet)
    options, documents, held_out = read_training_texts(choose, files, valid, out, overwrite=overwrite)
    run_training(options, documents, out, valid=held_out, overwrite=overwrite, quiet=quiet, as_json=as_json)


def _announce(files: Sequence[str], *, quiet: bool) -> None:
    """Say that reading will take a while, where it will."""
    from unrolled.data.text import size_on_disk

    if not quiet:
        say_tables(files)
    size = size_on_disk(files)
    if size >= 50_000_000 and not quiet:
        say(f"reading {size / 1e6:,.0f} MB; the first time its tokens are counted and kept, which takes a while ...")


def run_training(
    options: LanguageModelOptions,
    documents: Sequence[Document],
    out: Path,
    *,
    valid: Sequence[Document] | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    as_json: bool = False,
) -> None:
    """Train, showing progress. Raises KeyboardInterrupt at the end if Ctrl-C was pressed."""
    from unrolled.run.language_model import train_language_model

    events = train_language_model(options, documents, out, valid=valid, overwrite=overwrite)
    follow(events, out, quiet=quiet, as_json=as_json)


def follow(events: Iterator[Any], out: Path, *, quiet: bool = False, as_json: bool = False) -> None:
    """Show the events of a training, and print its best validation if `as_json`."""
    from unrolled.tasks.language_model import LanguageModelTask
    from unrolled.training.loop import Finished
    from unrolled.training.parallel import speaks

    best: dict[str, Any] = {}
    reason, task = "", None
    first = speaks()
    quiet = quiet or not first
    with Progress(quiet=quiet) as progress:
        for event in events:
            if task is not None and task.transferred is not None:
                say(str(task.transferred))
                task = None
            match event:
                case LanguageModelTask() if not quiet:
                    task = event
                    say(
                        f"{event.train_tokens:,} {event.codec.tokenizer.unit} to train on, {event.valid_tokens:,} to "
                        f"validate on; {len(event.codec.vocabulary):,} symbols; "
                        f"{describe_limits(event.options.training)}"
                    )
                    progress.warn(event)
                case _:
                    progress.shown(event)
            if isinstance(event, Finished):
                best, reason = event.best, event.reason
    if not quiet:
        why = why_ended(reason)
        say(f"{why}. {'Best' if validation(best) else 'Last'} model: step {best['step']}{validation(best)}")
        say(what_next(out, f"unrolled sample {out}", resumable=reason == "interrupted"))
    if reason == "interrupted":
        raise KeyboardInterrupt
    if as_json and first:
        print(json.dumps(best))
