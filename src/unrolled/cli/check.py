"""`unrolled check TASK`: what is wrong with data, before a training."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from unrolled.cli.flags import ConfigFile, Settings, with_options
from unrolled.cli.guard import guarded
from unrolled.cli.progress import Line, say
from unrolled.config import read_toml
from unrolled.options.classify import PRESETS, ClassifyOptions

__all__ = ["app", "classify", "transcribe"]

app = typer.Typer(help="Look for what is wrong with data, before a training.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _tasks() -> None:
    """Look for what is wrong with data, before a training."""


@app.command("classify")
@guarded
@with_options(ClassifyOptions, PRESETS)
def classify(
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

    check_new(out, overwrite=overwrite)
    file = read_toml(config) if config else None
    options = classify_options(file=file, flags=given, settings=settings or ())
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


@app.command("transcribe")
@guarded
def transcribe(
    files: Annotated[list[str], typer.Argument(help="Recordings, as for `unrolled train transcribe`.")],
    audio: Annotated[Path | None, typer.Option(help="Folder of the recordings; unset: that of the table.")] = None,
    model: Annotated[
        Path | None, typer.Option(help="A trained recogniser: also rank the texts that are probably wrong.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="CSV file to write: every fault.")] = None,
    most: Annotated[int, typer.Option(min=0, help="Faults of a kind that are printed.")] = 10,
    encoding: Annotated[str, typer.Option(help="Encoding of the texts.")] = "utf-8",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """What is wrong with recordings and their texts: files that cannot be read, clipping, silence, texts too long for their
    sound, rare characters, repetitions, speakers on both sides of a split; with --model, texts that are probably wrong.

    Example: unrolled check transcribe clips.tsv --audio flac/
    """
    from unrolled.data.recordings import read_recordings
    from unrolled.errors import PartialFailure
    from unrolled.folders import check_new, write_text
    from unrolled.tasks.recognizer import TrainedRecognizer
    from unrolled.tasks.recording_faults import Examined, examine, suspicious

    check_new(out, overwrite=overwrite)
    trained = TrainedRecognizer.load(model) if model is not None else None
    recordings = read_recordings(files, audio, encoding=encoding)
    found = Examined()
    with Line() as line:
        for event in examine(recordings, trained.spoken if trained else None):
            if isinstance(event, Examined):
                found = event
            else:
                line.show(f"{event:,} of {len(recordings):,} recordings looked at")
        for doubtful in suspicious(trained, recordings) if trained else ():
            if isinstance(doubtful, list):
                found.faults += doubtful
            else:
                line.show(f"{doubtful:,} of {len(recordings):,} recordings listened to")
    if out is not None:
        write_text(out, _fault_table(found))
        say(f"wrote {out}")
    print(json.dumps(found.to_json(), ensure_ascii=False) if as_json else "\n".join(_fault_lines(found, most)))
    unread = len(found.of("unread")) + len(found.missing)
    if unread:
        raise PartialFailure(f"{unread} of {len(recordings) + len(found.missing)} recordings could not be read.")


_KINDS = {
    "unread": "cannot be read",
    "clipped": "recorded too loud: clipped",
    "silent": "silent",
    "impossible": "too short for their text",
    "outlier": "much slower or faster than others",
    "rare": "characters in one text only",
    "repeated": "the same sound twice",
    "leak": "speakers on both sides of a split",
    "suspicious": "texts that are probably wrong",
}


def _fault_table(found: Any) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["kind", "file", "place", "what"])
    for kind in _KINDS:
        table.writerows([fault.kind, fault.file, fault.place, fault.what] for fault in found.of(kind))
    return text.getvalue()


def _fault_lines(found: Any, most: int) -> list[str]:
    """What is printed for people."""
    rows = [f"{'recordings':<36}{found.recordings:,}", f"{'minutes':<36}{found.seconds / 60:.1f}"]
    rows += [f"{'samples a second':<36}" + ", ".join(f"{rate:,} ({n:,} files)" for rate, n in found.rates.items())]
    rows += [f"{'speakers':<36}{len(found.speakers):,}"] if found.speakers else []
    rows += [f"{'not there':<36}{len(found.missing):,}"] if found.missing else []
    rows += [f"  {path}" for path in found.missing[:most]]
    rows += [f"{'without a text':<36}{found.empty:,}"] if found.empty else []
    for kind, name in _KINDS.items():
        faults = found.of(kind)
        rows += [f"{name:<36}{len(faults):,}"] if faults else []
        for fault in faults[:most]:
            place = f"{fault.place}: " if fault.place else ""
            file = f"{fault.file}: " if fault.file and fault.file not in fault.what else ""
            rows.append(f"  {place}{file}{fault.what}")
    return rows if found.faults or found.missing else [*rows, "nothing wrong was found"]


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
