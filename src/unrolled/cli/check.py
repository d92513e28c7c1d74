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

__all__ = ["app", "classify"]

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
