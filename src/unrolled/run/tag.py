"""The training of a tagger, from files to a finished run folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from unrolled.cells import CELLS
from unrolled.config import parse_assignment, resolve, to_toml
from unrolled.data.tagged import Tagged, TaggedColumns, read_restorable, read_tagged
from unrolled.data.text import Document
from unrolled.errors import unknown_name
from unrolled.folders import check_run, write_bytes, write_text
from unrolled.options.tag import PRESETS, TagOptions
from unrolled.pictures.report import tagger_page
from unrolled.record import write_record
from unrolled.run.new import new_run
from unrolled.tasks.tag import TagTask
from unrolled.tasks.tagger import NAME, TrainedTagger
from unrolled.training.loop import Event, Finished, fit
from unrolled.training.parallel import Ranks

__all__ = ["Tagged", "TaggerDone", "read_examples", "tag_options", "train_tagger"]


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
    given = dict(parse_assignment(setting) for setting in settings) | (flags or {})
    if preset is not None and preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    options = resolve(TagOptions, preset=PRESETS[preset or "default"], file=file, flags=given)
    if options.model.cell not in CELLS:
        raise unknown_name("cell", options.model.cell, CELLS)
    return options


def read_examples(
    sources: Sequence[str | Path | Document], columns: TaggedColumns, encoding: str, *, restore: bool
) -> Tagged:
    """Labelled sentences from files, or from plain text whose capitals and marks are to be restored."""
    if restore:
        return read_restorable(sources, encoding)
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
    folder, data = Path(out), options.data
    check_run(folder, overwrite=overwrite)

    def examples(given: Sequence[str | Path | Document] | Tagged) -> Tagged:
        columns = TaggedColumns(data.word_column, data.tag_column)
        return given if isinstance(given, Tagged) else read_examples(given, columns, data.encoding, restore=data.restore)

    task = TagTask(options, examples(sources), examples(valid) if valid else None)
    if not isinstance(sources, Tagged):
        task.sources = [source.name if isinstance(source, Document) else str(source) for source in sources]
    with new_run(folder, Ranks(), overwrite=overwrite):
        write_text(folder / "config.toml", f"# unrolled train tag --config this-file\n{to_toml(options)}")
        write_record(folder, NAME, options, {})
        yield task
        reason = "budget"
        for event in fit(task, options.training, folder):
            if isinstance(event, Finished):
                reason = event.reason
            yield event
        trained = TrainedTagger.load(folder)
        held_out = trained.evaluate(task.valid)
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        page = tagger_page(folder.name, rows, held_out | {"usual": task.usual}, task.facts._asdict(), to_toml(options))
        write_text(folder / "report.html", page)
        write_bytes(folder / "README.md", (folder / "best" / "README.md").read_bytes())
        yield TaggerDone(reason, held_out, task.usual)
