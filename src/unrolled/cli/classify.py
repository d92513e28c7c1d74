"""`train classify`, and what `evaluate` and `predict` print of classifiers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from unrolled.cli.flags import ConfigFile, Out, Overwrite, PrintConfig, Quiet, Settings, with_options
from unrolled.cli.guard import guarded
from unrolled.cli.progress import Progress, count, left_out, rare_labels, say, what_next, why_ended
from unrolled.cli.speaker import Speaker, needed, text_reader
from unrolled.config import read_toml, to_toml
from unrolled.options.classify import PRESETS, ClassifyOptions
from unrolled.options.training import describe_limits

__all__ = ["SPEAKER", "answer", "classify", "follow_classifier", "run_classifier", "show_classes", "show_unknown_labels"]


@guarded
@with_options(ClassifyOptions, PRESETS)
def classify(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Labelled texts: .csv, .tsv, .jsonl, .txt with __label__, or a folder with one folder a label."
        ),
    ],
    out: Out,
    valid: Annotated[
        list[str] | None, typer.Option(help="Labelled texts to validate on, instead of a part of the training texts.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="average: the mean of word and n-gram vectors; rnn: a recurrent network, the average beside it; transfer: "
            "the same upon a language model, --encoder."
        ),
    ] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
    print_config: PrintConfig = False,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures on the validation texts as JSON.")] = False,
    *,
    given: dict[str, Any],
) -> None:
    """Learn to sort texts by labels.

    Examples:

    unrolled train classify reviews.csv --text review --label sentiment --out runs/sentiment

    unrolled train classify toots.jsonl --labels many --target f1 --out runs/topics

    unrolled train classify reviews/ --valid held-out/ --preset rnn --vectors runs/vec --out runs/sentiment

    unrolled train classify reviews.csv --preset transfer --encoder runs/books --out runs/sentiment
    """
    from unrolled.run.classify import classify_options

    file = read_toml(config) if config else None
    options = classify_options(preset=preset, file=file, flags=given, settings=settings or ())
    if print_config:
        print(to_toml(options), end="")
        return
    run_classifier(options, files, out, valid=valid, overwrite=overwrite, quiet=quiet, as_json=as_json)


def run_classifier(
    options: ClassifyOptions,
    files: Any,
    out: Path,
    *,
    valid: Sequence[str] | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    as_json: bool = False,
) -> None:
    """Train, showing progress. Raises KeyboardInterrupt at the end if Ctrl-C was pressed."""
    from unrolled.run.classify import train_classifier

    events = train_classifier(options, files, out, valid=valid, overwrite=overwrite)
    follow_classifier(events, out, quiet=quiet, as_json=as_json)


def follow_classifier(events: Iterator[Any], out: Path, *, quiet: bool = False, as_json: bool = False) -> None:
    """Show the events of a training, and print the figures on the validation texts if `as_json`."""
    from unrolled.run.classify import Done
    from unrolled.tasks.classify import AverageTraining, Epoch, Split
    from unrolled.tasks.recurrent_classify import RecurrentTask

    done, tenth = None, 0
    with Progress(quiet=quiet, previews=False) as progress:
        for event in events:
            match event:
                case Split():
                    progress.say(_facts(event.facts))
                case AverageTraining():
                    progress.warn(event)
                    if event.transferred is not None:
                        progress.say(str(event.transferred))
                    if event.options.model.network != "average":
                        progress.say("first the average, to compare with:")
                case Epoch():
                    tenth, before = int(10 * event.progress), tenth
                    (progress.say if tenth > before else progress.show)(_epoch(event.row))
                case RecurrentTask():
                    progress.say(f"then the recurrent network, {describe_limits(event.options.training)}:")
                case Done():
                    done = event
                case _:
                    progress.shown(event, what="texts")
        assert done is not None
        why = why_ended(done.reason)
        progress.say(f"{why}. On the validation texts: {_figures(done.held)}")
        progress.compare(done.held.get("accuracy", done.held.get("exact", 1.0)), done.held["most_frequent"])
        if done.beside is not None:
            progress.say(_beside(done.beside))
        resumable = done.reason == "interrupted" and done.beside is not None
        progress.say(what_next(out, f'unrolled predict {out} "some text"', resumable=resumable))
    if done.reason == "interrupted":
        raise KeyboardInterrupt
    if as_json:
        print(json.dumps(done.held | ({} if done.beside is None else {"beside": done.beside}), ensure_ascii=False))


def _epoch(row: dict[str, Any]) -> str:
    return (
        f"[{row['seconds']:6.1f} s] epoch {row['epoch']:.5g}  loss {row['train_loss']:.4f}  validation "
        f"{row['valid_loss']:.4f}, {100 * row['valid_accuracy']:.2f} % right"
    )


def _beside(found: dict[str, Any]) -> str:
    low, high = (100 * x for x in found["interval"])
    return (
        f"the average: {100 * found['average']:.2f} % in {found['average_seconds']:.0f} s; this network: "
        f"{100 * found['network']:.2f} % in {found['seconds']:.0f} s: {100 * found['gain']:+.2f} (95 of 100 resamples lie "
        f"between {low:+.2f} and {high:+.2f})"
    )


def _facts(facts: Any) -> str:
    """What was found in the examples."""
    shown = ", ".join(f"{name} {n:,}" for name, n in sorted(facts.labels.items(), key=lambda pair: -pair[1])[:8])
    more = f" and {len(facts.labels) - 8} more" if len(facts.labels) > 8 else ""
    lines = [f"{facts.train:,} texts to train on, {facts.valid:,} to validate on; labels: {shown}{more}"]
    counted = (
        (facts.empty, "had no text and were left out"),
        (facts.contradictory, "stand there more than once with different labels"),
        (facts.overlap, "of the validation texts stand among the training texts too"),
        *rare_labels(facts.labels, facts.unknown_labels, "texts"),
    )
    return "\n".join([*lines, *left_out(counted)])


def _figures(found: dict[str, Any]) -> str:
    first = "accuracy" if "accuracy" in found else "exact"
    figures = [f"{first} {100 * found[first]:.2f} %"]
    for key in ("macro_f1", "calibration_error"):
        if found.get(key) is not None:
            figures.append(f"{key.replace('_', ' ')} {found[key]:.4f}")
    if "answered" in found:
        figures.append(f"answers {_answered(**found['answered'])}")
    return ", ".join(figures)


def _answered(part: float, accuracy: float | None) -> str:
    return f"{100 * part:.1f} %" + ("" if accuracy is None else f", {100 * accuracy:.2f} % of these right")


def _evaluate(trained: Any, files: Sequence[str], given: dict[str, Any]) -> None:
    """Print accuracy, F1 by label, confusion and calibration on labelled texts."""
    from unrolled.data.labelled import read_labelled
    from unrolled.folders import write_text
    from unrolled.pictures.page import page
    from unrolled.pictures.report import judged

    columns, out = trained.columns, given["out"]
    columns = columns._replace(text=given["text"] or columns.text, label=given["label"] or columns.label, weight=None)
    examples = read_labelled(files, columns, given["encoding"])
    trained.check_labels(examples, ", ".join(files))
    found = trained.evaluate(examples, given["threshold"], batch_size=given["batch_size"])
    if out is not None:
        write_text(out, page(f"On {', '.join(files)}", {"blocks": judged(found, "these texts")}))
        say(f"wrote {out}")
    if given["as_json"]:
        print(json.dumps(found, ensure_ascii=False))
        return
    for key, name in (("examples", "texts"), ("empty", "without text, left out"), ("seen_in_training", "seen in training")):
        if found[key] or key == "examples":
            print(f"{name:<24}{found[key]}")
    show_unknown_labels(found["unknown_labels"])
    if "accuracy" in found:
        low, high = found["accuracy_interval"]
        print(f"{'accuracy':<24}{100 * found['accuracy']:.2f} %  (95 % interval {100 * low:.2f} to {100 * high:.2f})")
    for key, unit in (("exact", 100), ("micro_f1", 1), ("macro_f1", 1), ("mean_distance", 1), ("log_loss", 1)):
        if found.get(key) is not None:
            print(f"{key.replace('_', ' '):<24}{unit * found[key]:.4f}{' %' if unit == 100 else ''}")
    print(f"{'calibration error':<24}{found['calibration_error']:.4f}  (15 bins)")
    if "answered" in found:
        print(f"{'answered':<24}{_answered(**found['answered'])}")
    for key, value in found.get("without_seen", {}).items():
        print(f"{'  without those seen':<24}{key.replace('_', ' ')} {value:.4f}")
    show_classes(found["classes"])
    _show_confusion(found)


def show_unknown_labels(unknown: dict[str, int], shown: int = 10) -> None:
    """Print the most frequent labels that the model does not know, cut, and how many there are."""
    for name, n in list(unknown.items())[:shown]:
        cut = name if len(name) <= 40 else f"{name[:40]}..."
        print(f"{'label not in training':<24}{cut} ({count(n, 'time')})")
    if len(unknown) > shown:
        rest = sum(list(unknown.values())[shown:])
        print(f"{'':<24}and {count(len(unknown) - shown, 'other label')} ({count(rest, 'time')})")


def show_classes(classes: dict[str, dict[str, Any]], first: str = "label", last: str = "texts") -> None:
    """A table of precision, recall, F1 and support."""
    width = max(len(first), *(len(name) for name in classes)) + 2
    print(f"\n{first:<{width}}{'precision':>10}{'recall':>10}{'f1':>10}{last:>10}")
    for name, row in classes.items():
        cells = "".join(f"{'-' if row[k] is None else format(row[k], '.4f'):>10}" for k in ("precision", "recall", "f1"))
        print(f"{name:<{width}}{cells}{row['support']:>10}")


def _show_confusion(found: dict[str, Any]) -> None:
    width = max(len("label"), *(len(name) for name in found["classes"])) + 2
    if "confusion" in found and len(found["classes"]) <= 12:
        print(f"\n{'given, answered:':<{max(width, 18)}}" + "".join(f"{name[:10]:>11}" for name in found["classes"]))
        for name, row in zip(found["classes"], found["confusion"], strict=True):
            print(f"{name:<{max(width, 18)}}" + "".join(f"{n:>11}" for n in row))


def answer(prediction: Any, problem: str | None, *, as_json: bool) -> str:
    """The output line of one text: label and probability, tab between; a line that could not be read keeps its place."""
    if problem is not None:
        return json.dumps({"error": problem}) if as_json else "-\t-"
    if as_json:
        return json.dumps(prediction.to_json(), ensure_ascii=False)
    if not prediction.labels:
        return f"-\t{max(prediction.probabilities.values()):.4f}"
    return "\t".join(f"{label}\t{prediction.probabilities[label]:.4f}" for label in prediction.labels)


def _predict(trained: Any, texts: Iterable[str], given: dict[str, Any], batch_size: int | None) -> Iterable[Any]:
    return trained.predictions(texts, given["threshold"], batch_size=batch_size or 1024)


def _read(trained: Any, column: str | None) -> Any:
    """Read texts of tables by the column of training."""
    return text_reader(trained, column or trained.columns.text)


def _explain(trained: Any, name: str, text: str | None, _: dict[str, Any]) -> tuple[str, Any]:
    text = needed(text)
    return f"Why {name} answers: {text[:60]}", trained.explain(text)


SPEAKER = Speaker(
    "a classifier", frozenset({"text", "label", "threshold", "out"}), _evaluate, _explain, _predict, answer, read=_read
)
