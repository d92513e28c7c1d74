"""The training of a translator, from files to a finished run folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from unrolled.cells import CELLS
from unrolled.config import preset_named, resolve, to_toml, with_facts
from unrolled.data.pairs import Pairs, read_pairs
from unrolled.data.paths import check_valid
from unrolled.errors import unknown_name
from unrolled.features.pair_codec import PairCodec
from unrolled.folders import check_run, latest, run_lock, write_text
from unrolled.options.translate import FIXED, PRESETS, TranslateOptions
from unrolled.record import accept_changes, read_record, recorded_options, replanned, write_record
from unrolled.run.examples import examples_again, noted
from unrolled.run.new import new_run
from unrolled.run.reported import reported
from unrolled.tasks.translate import TranslateTask
from unrolled.tasks.translator import NAME
from unrolled.training.device import device_of
from unrolled.training.loop import Event
from unrolled.training.parallel import Ranks

__all__ = ["resume_translator", "train_translator", "translate_options"]


def translate_options(
    *,
    preset: str | None = None,
    file: dict[str, Any] | None = None,
    flags: dict[str, Any] | None = None,
    settings: Sequence[str] = (),
) -> TranslateOptions:
    """Options from a preset, a config file's content, flags and `key=value` settings."""
    named = preset_named(preset, PRESETS, "default")
    options = resolve(TranslateOptions, preset=named, presets=PRESETS, file=file, flags=flags, settings=settings)
    if options.model.cell not in CELLS:
        raise unknown_name("cell", options.model.cell, CELLS)
    return options


def train_translator(
    options: TranslateOptions,
    sources: Sequence[str | Path] | Pairs,
    out: str | Path,
    *,
    valid: Sequence[str | Path] | Pairs | None = None,
    overwrite: bool = False,
) -> Iterator[TranslateTask | Event]:
    """Train on pairs of sentences into the run folder `out`, yielding what happens: the task first, its data prepared."""
    folder, options = Path(out), with_facts(options, {"valid": valid is not None})
    check_run(folder, overwrite=overwrite)
    device_of(options.training)  # whether it is there
    check_valid(valid)
    read = partial(read_pairs, encoding=options.data.encoding)
    pairs = sources if isinstance(sources, Pairs) else read(sources)
    held = valid if isinstance(valid, Pairs) else read(valid) if valid else None
    task = TranslateTask(options, pairs, held)
    if not isinstance(sources, Pairs):
        task.sources = [str(source) for source in sources]
    where = noted(sources, valid, pairs, held)
    with new_run(folder, Ranks(), overwrite=overwrite):
        write_text(folder / "config.toml", f"# unrolled train translate --config this-file\n{to_toml(options)}")
        write_record(folder, NAME, task.options, {}, where)
        yield task
        yield from reported(task, folder, name=NAME, resume=False)


def resume_translator(out: str | Path, *, allow_changes: bool = False) -> Iterator[TranslateTask | Event]:
    """Go on with the training in the run folder `out`, as if it had never stopped.

    FolderError, ConfigError or DataError if version, options or pairs are not those it began with, unless `allow_changes`.
    """
    folder = Path(out)
    record = read_record(folder)
    options = recorded_options(folder, record, TranslateOptions, fixed=FIXED, allow_changes=allow_changes)
    with run_lock(folder):
        read = partial(read_pairs, encoding=options.data.encoding)
        pairs, held = examples_again(folder, record, read, allow_changes=allow_changes)
        begun = latest(folder / "last").exists()
        task = TranslateTask(options, pairs, held, PairCodec.load(latest(folder / "last")) if begun else None)
        task.sources = record["examples"]["train"]
        if not begun:
            write_text(folder / "metrics.jsonl", "")
        if allow_changes:
            accept_changes(folder, record, options, {})
        yield task
        yield from reported(task, folder, name=NAME, resume=begun, replan=replanned(record, options.training))
