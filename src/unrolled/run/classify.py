"""The training of a text classifier, from files to a finished run folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from unrolled.config import parse_assignment, resolve, to_toml
from unrolled.data.labelled import Columns, Labelled, read_labelled
from unrolled.errors import ConfigError, unknown_name
from unrolled.folders import check_run, new_folder, write_bytes, write_text
from unrolled.options.classify import PRESETS, ClassifyOptions
from unrolled.pictures.report import classifier_page
from unrolled.record import write_record
from unrolled.run.cores import cores
from unrolled.run.new import new_run
from unrolled.tasks.classifier import NAME, TrainedClassifier
from unrolled.tasks.classify import ClassifyTask, Epoch
from unrolled.training.interrupt import interruptible
from unrolled.training.parallel import Ranks

__all__ = ["Done", "classify_options", "columns_of", "train_classifier"]


class Done(NamedTuple):
    """The training has ended and the classifier is saved. reason: budget or interrupted; held: how good it is on the
    validation texts.
    """

    reason: str
    held: dict[str, Any]


def classify_options(
    *,
    preset: str | None = None,
    file: dict[str, Any] | None = None,
    flags: dict[str, Any] | None = None,
    settings: Sequence[str] = (),
) -> ClassifyOptions:
    """Options from a preset, a config file's content, flags and `key=value` settings."""
    given = dict(parse_assignment(setting) for setting in settings) | (flags or {})
    if preset is not None and preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    options = resolve(ClassifyOptions, preset=PRESETS[preset or "average"], file=file, flags=given)
    data, decision = options.data, options.decision
    if data.order is not None and data.labels != "ordered":
        raise ConfigError("--order is for --labels ordered")
    if decision.target == "f1" and data.labels != "many":
        raise ConfigError("--target f1 is for --labels many; with one label an answer there is the likeliest label")
    return options


def columns_of(options: ClassifyOptions) -> Columns:
    """Where text, label and weight stand in the files."""
    data = options.data
    return Columns(data.text, data.label, data.weight, data.separator if data.labels == "many" else None)


def train_classifier(
    options: ClassifyOptions,
    sources: Sequence[str | Path] | Labelled,
    out: str | Path,
    *,
    valid: Sequence[str | Path] | None = None,
    overwrite: bool = False,
) -> Iterator[ClassifyTask | Epoch | Done]:
    """Train on labelled texts into the run folder `out`, yielding what happens: the task first, with its texts read."""
    folder = Path(out)
    check_run(folder, overwrite=overwrite)
    columns, encoding = columns_of(options), options.data.encoding
    examples = sources if isinstance(sources, Labelled) else read_labelled(sources, columns, encoding)
    held = read_labelled(valid, columns, encoding) if valid else None
    task = ClassifyTask(options, examples, held, threads=options.training.threads or cores())
    names = ["examples"] if isinstance(sources, Labelled) else [str(source) for source in sources]
    with new_run(folder, Ranks(), overwrite=overwrite):
        write_text(folder / "config.toml", f"# unrolled train classify --config this-file\n{to_toml(options)}")
        write_record(folder, NAME, options, {})
        yield task
        reason = "budget"
        with interruptible() as stop:
            for event in task.train():
                write_text(folder / "metrics.jsonl", "".join(f"{json.dumps(row)}\n" for row in task.rows))
                yield event
                if stop.is_set() and event.row["epoch"] < task.epochs:
                    reason = "interrupted"
                    break
        trained = task.trained()
        held_out = trained.evaluate(task.valid_examples)
        _save(trained, task, names, folder)
        page = classifier_page(folder.name, task.rows, held_out, task.facts._asdict(), to_toml(options))
        write_text(folder / "report.html", page)
        yield Done(reason, held_out)


def _save(trained: TrainedClassifier, task: ClassifyTask, sources: list[str], folder: Path) -> None:
    data = {"sources": sources, **task.facts._asdict()}
    options = task.options.model_dump(exclude_none=True)
    with new_folder(folder / "best") as temporary:
        trained.save(temporary, {"data": data, "options": options})
    write_bytes(folder / "README.md", (folder / "best" / "README.md").read_bytes())
