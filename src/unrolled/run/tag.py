"""The training of a tagger, from files to a finished run folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from unrolled.cells import CELLS
from unrolled.config import preset_named, resolve, to_toml, with_facts
from unrolled.data.paths import check_valid
from unrolled.data.tagged import Tagged, TaggedColumns, read_restorable, read_tagged
from unrolled.data.text import Document
from unrolled.errors import unknown_name
from unrolled.folders import check_run, latest, read_rows, run_lock, write_bytes, write_text
from unrolled.options.tag import FIXED, PRESETS, TagOptions
from unrolled.pictures.report import tagger_page
from unrolled.record import accept_changes, read_record, recorded_options, replanned, write_record
from unrolled.run.examples import examples_again, noted
from unrolled.run.fitting import fit_run
from unrolled.run.new import new_run
from unrolled.run.reported import write_curves
from unrolled.tasks.tag import TagTask
from unrolled.tasks.tagger import NAME, TrainedTagger
from unrolled.tasks.transfer import check_transfer
from unrolled.training.device import device_of
from unrolled.training.loop import Event, Finished
from unrolled.training.parallel import Ranks

__all__ = ["TaggerDone", "read_examples", "resume_tagger", "tag_options", "train_tagger"]


class TaggerDone(NamedTuple):
    """The training has ended and the tagger is saved. reason: budget, patience or interrupted; held: how good it is on the
    validation sentences; usual: how often the most frequent label of each word would be right there.
    """

    reason: str
    held: dict[str, Any]
    usual: float


def tag_options(
    *,
    preset: str | None = None,
    file: dict[str, Any] | None = None,
    flags: dict[str, Any] | None = None,
    settings: Sequence[str] = (),
) -> TagOptions:
    """Options from a preset, a config file's content, flags and `key=value` settings."""
    named = preset_named(preset, PRESETS, "default")
    options = resolve(TagOptions, preset=named, presets=PRESETS, file=file, flags=flags, settings=settings)
    if options.model.cell not in CELLS:
        raise unknown_name("cell", options.model.cell, CELLS)
    return options


def read_examples(
    sources: Sequence[str | Path | Document],
    columns: TaggedColumns,
    encoding: str,
    *,
    restore: bool,
    normalization: str = "nfc",
) -> Tagged:
    """Labelled sentences from files, or from plain text whose capitals and marks are to be restored.

    normalization: of the model that reads them; "none" for models of older versions.
    """
    if restore:
        return read_restorable(sources, encoding, normalization)
    return read_tagged(sources, columns, encoding)


def train_tagger(
    options: TagOptions,
    sources: Sequence[str | Path | Document] | Tagged,
    out: str | Path,
    *,
    valid: Sequence[str | Path | Document] | Tagged | None = None,
    overwrite: bool = False,
) -> Iterator[TagTask | Event | TaggerDone]:
    """Train on labelled sentences into the run folder `out`, yielding what happens: the task first, its data prepared."""
    folder, options = Path(out), with_facts(options, {"valid": bool(valid)})
    check_run(folder, overwrite=overwrite)
    device_of(options.training)  # whether it is there
    check_valid(valid)
    check_transfer(options.transfer.vectors)
    examples = sources if isinstance(sources, Tagged) else _read(options, sources)
    held = valid if isinstance(valid, Tagged) else _read(options, valid) if valid else None
    task = TagTask(options, examples, held)
    if not isinstance(sources, Tagged):
        task.sources = [source.name if isinstance(source, Document) else str(source) for source in sources]
    where = noted(sources, valid, examples, held)
    with new_run(folder, Ranks(), overwrite=overwrite):
        write_text(folder / "config.toml", f"# unrolled train tag --config this-file\n{to_toml(options)}")
        write_record(folder, NAME, task.options, {}, where)
        yield from _train(task, folder, resume=False)


def resume_tagger(out: str | Path, *, allow_changes: bool = False) -> Iterator[TagTask | Event | TaggerDone]:
    """Go on with the training in the run folder `out`, as if it had never stopped.

    FolderError, ConfigError or DataError if version, options or examples are not those it began with, unless
    `allow_changes`.
    """
    folder = Path(out)
    record = read_record(folder)
    options = recorded_options(folder, record, TagOptions, fixed=FIXED, allow_changes=allow_changes)
    with run_lock(folder):
        begun = latest(folder / "last").exists()
        known = TrainedTagger.load(latest(folder / "last")) if begun else None
        read = partial(_read, options, normalization=known.reading.forms.normalization if known else "nfc")
        examples, held = examples_again(folder, record, read, allow_changes=allow_changes)
        task = TagTask(options, examples, held, known)
        task.sources = record["examples"]["train"]
        if not begun:
            write_text(folder / "metrics.jsonl", "")
        if allow_changes:
            accept_changes(folder, record, options, {})
        yield from _train(task, folder, resume=begun, replan=replanned(record, options.training))


def _read(options: TagOptions, sources: Sequence[str | Path | Document], normalization: str = "nfc") -> Tagged:
    data, columns = options.data, TaggedColumns(options.data.word_column, options.data.tag_column)
    return read_examples(sources, columns, data.encoding, restore=data.restore, normalization=normalization)


def _train(task: TagTask, folder: Path, *, resume: bool, replan: bool = False) -> Iterator[TagTask | Event | TaggerDone]:
    """The task, the events of the loop, and how good the best model is."""
    yield task
    reason = "budget"
    for event in fit_run(task, task.options.training, folder, resume=resume, replan=replan):
        if isinstance(event, Finished):
            reason = event.reason
        yield event
    held = TrainedTagger.load(folder).evaluate(task.valid) | {"most_frequent": task.most_frequent}
    rows = read_rows(folder)
    page = tagger_page(folder.name, rows, held | {"usual": task.usual}, task.facts._asdict(), to_toml(task.options))
    write_text(folder / "report.html", page)
    write_bytes(folder / "README.md", (folder / "best" / "README.md").read_bytes())
    write_curves(folder)
    yield TaggerDone(reason, held, task.usual)
