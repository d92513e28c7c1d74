"""`unrolled check TASK`: what is wrong with data, before a training."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from unrolled.cli.advice import AdvisedGroup
from unrolled.cli.effects import Rule, given_flags, overwrite_rule, refuse_idle
from unrolled.cli.flags import AsJson, ConfigFile, Settings, with_options
from unrolled.cli.guard import guarded
from unrolled.cli.progress import Line, say
from unrolled.config import read_toml, with_facts
from unrolled.options.classify import PRESETS, ClassifyOptions

__all__ = ["app", "caption", "classify", "tag", "transcribe", "translate"]

app = typer.Typer(
    cls=AdvisedGroup,
    help="Look for what is wrong with data, before a training.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _tasks() -> None:
    """Look for what is wrong with data, before a training."""


@app.command("classify")
@guarded
@with_options(ClassifyOptions, PRESETS)
def classify(
    context: typer.Context,
    files: Annotated[list[str], typer.Argument(help="Labelled texts, as for `unrolled train classify`.")],
    out: Annotated[
        Path | None, typer.Option(help="CSV file to write: every doubtful label, the worst first, and what it might be.")
    ] = None,
    folds: Annotated[int, typer.Option(help="Parts, each judged by a classifier trained on the others.")] = 5,
    most: Annotated[int, typer.Option(min=0, help="Doubtful labels that are printed.")] = 20,
    config: ConfigFile = None,
    settings: Settings = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
    *,
    given: dict[str, Any],
) -> None:
    """Which labels are most likely wrong: each text is judged by a classifier that has not seen it.

    Example: unrolled check classify reviews.csv --text review --label sentiment --out doubtful.csv
    """
    from unrolled.data.labelled import read_labelled
    from unrolled.folders import check_new, write_text
    from unrolled.run.classify import classify_options
    from unrolled.run.cores import cores
    from unrolled.tasks.classify import columns_of
    from unrolled.tasks.label_noise import Checked, check_labels

    _refuse(context, out, as_json=as_json)
    check_new(out, overwrite=overwrite)
    file = read_toml(config) if config else None
    options = with_facts(classify_options(file=file, flags=given, settings=settings or ()), {"check": True})
    examples = read_labelled(files, columns_of(options.data), options.data.encoding)
    found: Any = None
    with Line() as line:
        for event in check_labels(options, examples, folds=folds, threads=options.training.threads or cores()):
            if isinstance(event, Checked):
                found = event
            else:
                line.show(f"{event} of {folds} parts judged")
    if out is not None:
        write_text(out, _table(found))
        say(f"wrote {out}")
    if as_json:
        print(json.dumps(found.to_json(), ensure_ascii=False))
        return
    print("\n".join(_lines(found, most)))


Out = Annotated[Path | None, typer.Option(help="CSV file to write: every fault.")]
Most = Annotated[int, typer.Option(min=0, help="Faults of a kind that are printed.")]
Encoding = Annotated[str, typer.Option(help="Encoding of the files.")]
Replace = Annotated[bool, typer.Option("--overwrite", help="Replace --out if it exists.")]


@app.command("translate")
@guarded
def translate(
    context: typer.Context,
    files: Annotated[list[str], typer.Argument(help="Pairs of sentences, as for `unrolled train translate`.")],
    out: Out = None,
    most: Most = 10,
    encoding: Encoding = "utf-8",
    overwrite: Replace = False,
    as_json: AsJson = False,
) -> None:
    """What is wrong with pairs of sentences: copies, repetitions, one side much longer than usual.

    Example: unrolled check translate train.de train.en
    """
    from unrolled.data.pairs import read_pairs
    from unrolled.tasks.text_faults import examine_pairs

    _refuse(context, out, as_json=as_json)
    _told([examine_pairs(read_pairs(files, encoding))], out, most, overwrite=overwrite, as_json=as_json)


@app.command("tag")
@guarded
def tag(
    context: typer.Context,
    files: Annotated[list[str], typer.Argument(help="Labelled words, as for `unrolled train tag`.")],
    word_column: Annotated[int | None, typer.Option(help="Column of the word, from 1, or from the end.")] = None,
    tag_column: Annotated[int | None, typer.Option(help="Column of the label.")] = None,
    out: Out = None,
    most: Most = 10,
    encoding: Encoding = "utf-8",
    overwrite: Replace = False,
    as_json: AsJson = False,
) -> None:
    """What is wrong with labelled words: other labels for the same sentence, entities without a beginning, rare labels.

    Example: unrolled check tag sentences.conll
    """
    from unrolled.data.tagged import TaggedColumns, read_tagged
    from unrolled.tasks.text_faults import examine_tagged

    _refuse(context, out, as_json=as_json)
    examples = read_tagged(files, TaggedColumns(word_column, tag_column), encoding)
    _told([examine_tagged(examples)], out, most, overwrite=overwrite, as_json=as_json)


@app.command("caption")
@guarded
def caption(
    context: typer.Context,
    files: Annotated[list[str], typer.Argument(help="Captions, as for `unrolled train caption`.")],
    images: Annotated[Path | None, typer.Option(help="Folder of the images; unset: that of the captions.")] = None,
    out: Out = None,
    most: Most = 10,
    encoding: Encoding = "utf-8",
    overwrite: Replace = False,
    as_json: AsJson = False,
) -> None:
    """What is wrong with images and their captions: files that cannot be read, repetitions, captions that say nothing.

    Example: unrolled check caption captions.tsv --images photos/
    """
    from unrolled.data.captions import read_captions
    from unrolled.tasks.text_faults import examine_captions

    _refuse(context, out, as_json=as_json)
    events = examine_captions(read_captions(files, images, encoding=encoding))
    _told(events, out, most, overwrite=overwrite, as_json=as_json)


@app.command("transcribe")
@guarded
def transcribe(
    context: typer.Context,
    files: Annotated[list[str], typer.Argument(help="Recordings, as for `unrolled train transcribe`.")],
    audio: Annotated[Path | None, typer.Option(help="Folder of the recordings; unset: that of the table.")] = None,
    model: Annotated[
        Path | None, typer.Option(help="A trained recogniser: also rank the texts that are probably wrong.")
    ] = None,
    out: Out = None,
    most: Most = 10,
    encoding: Encoding = "utf-8",
    overwrite: Replace = False,
    as_json: AsJson = False,
) -> None:
    """What is wrong with recordings and their texts: files that cannot be read, clipping, silence, texts too long for their
    sound, rare characters, repetitions, speakers on both sides of a split; with --model, texts that are probably wrong.

    Example: unrolled check transcribe clips.tsv --audio flac/
    """
    from unrolled.data.recordings import read_recordings
    from unrolled.tasks.recognizer import TrainedRecognizer
    from unrolled.tasks.recording_faults import examine, suspicious

    _refuse(context, out, as_json=as_json)
    trained = TrainedRecognizer.load(model) if model is not None else None
    recordings = read_recordings(files, audio, encoding=encoding)
    events: Iterator[Any] = examine(recordings, trained.spoken if trained else None)
    if trained is not None:
        events = chain(events, suspicious(trained, recordings))
    _told(events, out, most, overwrite=overwrite, as_json=as_json)


def _refuse(context: typer.Context, out: Path | None, *, as_json: bool) -> None:
    """UsageError for options without effect: --overwrite without --out, --most with --json, which has all."""
    refuse_idle(given_flags(context), [overwrite_rule(out), Rule(as_json, "most", "with --json, which has all")])


def _told(events: Iterable[Any], out: Path | None, most: int, *, overwrite: bool, as_json: bool) -> None:
    """Print what was found; events: numbers of what has been looked at, findings, and faults that come later.

    PartialFailure where files could not be read.
    """
    from unrolled.errors import PartialFailure
    from unrolled.folders import check_new, write_text
    from unrolled.tasks.faults import Findings

    check_new(out, overwrite=overwrite)
    found = Findings({})
    with Line() as line:
        for event in events:
            match event:
                case Findings():
                    found = event
                case list():
                    found.faults += event
                case _:
                    line.show(f"{event:,} looked at")
    if out is not None:
        write_text(out, found.table())
        say(f"wrote {out}")
    print(json.dumps(found.to_json(), ensure_ascii=False) if as_json else "\n".join(found.lines(most)))
    unread = len(found.of("unread"))
    if unread:
        raise PartialFailure(f"{unread} files could not be read.")


def _table(found: Any) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["place", "given", "suggested", "p_given", "p_suggested", "text"])
    for doubt in found.doubts:
        labels = ",".join(doubt.given), ",".join(doubt.suggested)
        table.writerow([doubt.place, *labels, f"{doubt.p_given:.4f}", f"{doubt.p_suggested:.4f}", doubt.text])
    return text.getvalue()


def _lines(found: Any, most: int) -> list[str]:
    """What is printed for people."""
    rows = [f"{'texts judged':<36}{found.judged}", f"{'answered as labelled, unseen':<36}{100 * found.accuracy:.2f} %"]
    for n, what in (
        (found.empty, "without text, left out"),
        (found.too_rare, "of labels too rare to judge"),
        (found.repeated, "repeated"),
        (found.contradictory, "texts with different labels"),
    ):
        rows += [f"{what:<36}{n}"] if n else []
    rows.append(f"{'labels in doubt':<36}{len(found.doubts)} ({100 * len(found.doubts) / found.judged:.2f} %)")
    for doubt in found.doubts[:most]:
        given, suggested = ",".join(doubt.given) or "(none)", ",".join(doubt.suggested) or "(none)"
        rows.append(f"\n{doubt.place}: {given} ({doubt.p_given:.3f}), rather {suggested} ({doubt.p_suggested:.3f})")
        rows.append(f"  {' '.join(doubt.text.split())[:160]}")
    return rows
