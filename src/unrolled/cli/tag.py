"""`train tag`, and what `evaluate` and `predict` print of taggers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from unrolled.cli.classify import show_classes, show_unknown_labels
from unrolled.cli.flags import ConfigFile, Out, Overwrite, PrintConfig, Quiet, Settings, with_options
from unrolled.cli.guard import guarded
from unrolled.cli.progress import Progress, left_out, rare_labels, say, what_next, why_ended
from unrolled.cli.speaker import Speaker, needed
from unrolled.config import read_toml, to_toml
from unrolled.options.tag import PRESETS, TagOptions
from unrolled.options.training import describe_limits

__all__ = ["SPEAKER", "answer", "follow_tagger", "run_tagger", "tag"]


@guarded
@with_options(TagOptions, PRESETS)
def tag(
    files: Annotated[
        list[str],
        typer.Argument(help="Labelled words: a word a line, columns between tabs or blanks (CoNLL); with --restore, text."),
    ],
    out: Out,
    valid: Annotated[
        list[str] | None, typer.Option(help="Sentences to validate on, instead of a part of the training sentences.")
    ] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
    print_config: PrintConfig = False,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures on the validation words as JSON.")] = False,
    *,
    given: dict[str, Any],
) -> None:
    """Learn a label for every word: names, parts of speech, or the capitals and marks of a text.

    Examples:

    unrolled train tag sentences.conll --out runs/tags

    unrolled train tag train.conllu --valid dev.conllu --vectors runs/vec --out runs/tags

    unrolled train tag books/ --restore --out runs/restore
    """
    from unrolled.run.tag import tag_options

    file = read_toml(config) if config else None
    options = tag_options(file=file, flags=given, settings=settings or ())
    if print_config:
        print(to_toml(options), end="")
        return
    run_tagger(options, files, out, valid=valid, overwrite=overwrite, quiet=quiet, as_json=as_json)


def run_tagger(
    options: TagOptions,
    files: Any,
    out: Path,
    *,
    valid: Sequence[str] | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    as_json: bool = False,
) -> None:
    """Train, showing progress. Raises KeyboardInterrupt at the end if Ctrl-C was pressed."""
    from unrolled.run.tag import train_tagger

    events = train_tagger(options, files, out, valid=valid, overwrite=overwrite)
    follow_tagger(events, out, quiet=quiet, as_json=as_json)


def follow_tagger(events: Iterator[Any], out: Path, *, quiet: bool = False, as_json: bool = False) -> None:
    """Show the events of a training, and print the figures on the validation words if `as_json`."""
    from unrolled.run.tag import TaggerDone
    from unrolled.tasks.tag import TagTask

    done, task = None, None
    with Progress(quiet=quiet) as progress:
        for event in events:
            if task is not None and task.transferred is not None:
                progress.say(str(task.transferred))
                task = None
            match event:
                case TagTask():
                    task = event
                    progress.say(_facts(event.facts, event.options.training))
                    progress.warn(event)
                case TaggerDone():
                    done = event
                case _:
                    progress.shown(event, what="words")
        assert done is not None
        why = why_ended(done.reason)
        entity = done.held.get("entity_f1")
        shown = "" if entity is None else f", F1 of whole entities {entity:.4f}"
        progress.say(
            f"{why}. On the validation sentences {100 * done.held['accuracy']:.2f} % of the labels are right{shown}; with "
            f"the most frequent label of each word {100 * done.usual:.2f} % would be."
        )
        progress.compare(done.held["accuracy"], done.held["most_frequent"])
        progress.say(what_next(out, f'unrolled predict {out} "some text"', resumable=done.reason == "interrupted"))
    if done.reason == "interrupted":
        raise KeyboardInterrupt
    if as_json:
        print(json.dumps(done.held | {"usual": done.usual}, ensure_ascii=False))


def _facts(facts: Any, training: Any) -> str:
    """What was found in the files."""
    most = sorted(facts.labels.items(), key=lambda pair: -pair[1])
    shown = ", ".join(f"{name} {n:,}" for name, n in most[:8]) + (f" and {len(most) - 8} more" if len(most) > 8 else "")
    lines = [
        f"{facts.train:,} sentences of {facts.train_words:,} words to train on, {facts.valid:,} of {facts.valid_words:,} "
        f"to validate on; labels: {shown}; {describe_limits(training)}"
    ]
    counted = (
        (facts.cut, "sentences have more than 1,000 words and were cut: is the blank line between sentences missing?"),
        (facts.contradictory, "sentences stand there more than once with different labels"),
        (facts.overlap, "of the validation sentences stand among the training sentences too"),
        *rare_labels({}, facts.unknown_labels, "sentences"),
    )
    return "\n".join([*lines, *left_out(counted)])


def _evaluate(trained: Any, files: Sequence[str], given: dict[str, Any]) -> None:
    """Print accuracy, F1 by label and of whole entities on labelled sentences."""
    from unrolled.folders import write_text
    from unrolled.pictures.page import page
    from unrolled.pictures.report import judged
    from unrolled.run.tag import read_examples

    out = given["out"]
    reading = trained.reading
    examples = read_examples(
        files, trained.columns, given["encoding"], restore=reading.restores, normalization=reading.forms.normalization
    )
    trained.check_labels(examples, ", ".join(files))
    found = trained.evaluate(examples, batch_size=given["batch_size"])
    if out is not None:
        write_text(out, page(f"On {', '.join(files)}", {"blocks": judged(found, "these sentences")}))
        say(f"wrote {out}")
    if given["as_json"]:
        print(json.dumps(found, ensure_ascii=False))
        return
    for key, name in (("sentences", "sentences"), ("tokens", "words"), ("seen_in_training", "seen in training")):
        print(f"{name:<24}{found[key]}")
    show_unknown_labels(found["unknown_labels"])
    for key, name in (("accuracy", "accuracy"), ("accuracy_unknown_words", "  on unknown words")):
        if found[key] is not None:
            print(f"{name:<24}{100 * found[key]:.2f} %")
    for key in ("entity_f1", "macro_f1", "calibration_error"):
        if found.get(key) is not None:
            print(f"{key.replace('_', ' '):<24}{found[key]:.4f}")
    if "entities" in found:
        show_classes(found["entities"], first="entity", last="entities")
    show_classes(found["classes"], last="words")


def answer(found: Any, problem: str | None, *, as_json: bool) -> str:
    """The lines of one text: a word and its label each, tab between, then an empty line; or the text as restored."""
    if problem is not None:
        return json.dumps({"error": problem}) if as_json else ("-" if found.restored is not None else "-\t-\n")
    if as_json:
        return json.dumps(found.to_json(), ensure_ascii=False)
    if found.restored is not None:
        return found.restored
    return "".join(f"{word}\t{label}\n" for word, label in zip(found.words, found.labels, strict=True))


def _predict(trained: Any, texts: Iterable[str], _: dict[str, Any], batch_size: int | None) -> Iterable[Any]:
    return trained.predictions(texts, batch_size=batch_size or 256)


def _read(trained: Any, column: str | None) -> Any:
    """Read texts, or sentences of files with a word a line, as those of training."""
    from unrolled.data.inputs import read_sentences

    return lambda name, encoding: read_sentences(name, [column or "text"], trained.columns, encoding)


def _explain(trained: Any, name: str, text: str | None, _: dict[str, Any]) -> tuple[str, Any]:
    text = needed(text)
    (explained,) = trained.explain([text])
    return f"How {name} labels: {' '.join(explained['tokens'])[:60]}", explained


SPEAKER = Speaker("a tagger", frozenset({"out"}), _evaluate, _explain, _predict, answer, read=_read)
