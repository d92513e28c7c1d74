"""The training of a speech recogniser, from files to a finished run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from unrolled.cells import CELLS
from unrolled.config import preset_named, resolve, to_toml, with_facts
from unrolled.data.paths import check_valid
from unrolled.data.recordings import FRAMES, Recordings, read_recordings, splits_of
from unrolled.errors import ConfigError, unknown_name
from unrolled.folders import check_run, latest, run_lock, write_text
from unrolled.options.transcribe import FIXED, PRESETS, RecordingOptions, TranscribeOptions
from unrolled.record import accept_changes, read_record, recorded_options, replanned, write_record
from unrolled.run.examples import check_apart, examples_again, noted
from unrolled.run.new import new_run
from unrolled.run.reported import reported
from unrolled.tasks.recognizer import NAME, TrainedRecognizer
from unrolled.tasks.transcribe import Known, TranscribeTask, parted
from unrolled.training.device import device_of
from unrolled.training.loop import Event
from unrolled.training.parallel import Ranks

__all__ = ["resume_recognizer", "train_recognizer", "transcribe_options"]

Sources = Sequence[str | Path] | Recordings


def transcribe_options(
    *,
    preset: str | None = None,
    file: dict[str, Any] | None = None,
    flags: dict[str, Any] | None = None,
    settings: Sequence[str] = (),
) -> TranscribeOptions:
    """Options from a preset, a config file's content, flags and `key=value` settings."""
    named = preset_named(preset, PRESETS, "ctc")
    options = resolve(TranscribeOptions, preset=named, presets=PRESETS, file=file, flags=flags, settings=settings)
    if options.model.cell not in CELLS:
        raise unknown_name("cell", options.model.cell, CELLS)
    if options.model.streaming and options.model.head != "ctc":
        raise ConfigError(f"--streaming cannot have --head {options.model.head}: a decoder attends to the whole recording")
    if options.model.streaming and options.data.deltas:
        raise ConfigError("--streaming cannot have --deltas: they look at frames that are still to come")
    return options


def train_recognizer(
    options: TranscribeOptions, sources: Sources, out: str | Path, *, valid: Sources | None = None, overwrite: bool = False
) -> Iterator[TranscribeTask | Event]:
    """Train on recordings into the run folder `out`, yielding what happens: the task, its data prepared, then the events of
    the loop.
    """
    options = with_facts(options, {"valid": valid is not None})
    device_of(options.training)  # whether it is there
    check_valid(valid)
    folder, options = Path(out), _anchored(options, sources, valid)
    check_run(folder, overwrite=overwrite)
    if valid is None and options.data.valid_split is not None and not isinstance(sources, Recordings):
        valid = sources
    read, read_held = _readers(options.data)
    train = sources if isinstance(sources, Recordings) else read(sources)
    held = valid if valid is None or isinstance(valid, Recordings) else read_held(valid)
    options = with_facts(options, {"frames": _are_frames(train)})
    task = _prepared(options, train, held)
    where = noted(sources, valid, train, held)
    if not isinstance(sources, Recordings):
        task.sources = [str(source) for source in sources]
    with new_run(folder, Ranks(), overwrite=overwrite):
        write_text(folder / "config.toml", f"# unrolled train transcribe --config this-file\n{to_toml(options)}")
        write_record(folder, NAME, task.options, {}, where)
        yield task
        yield from reported(task, folder, name=NAME, resume=False)


def resume_recognizer(out: str | Path, *, allow_changes: bool = False) -> Iterator[TranscribeTask | Event]:
    """Go on with the training in the run folder `out`, as if it had never stopped.

    FolderError, ConfigError or DataError if version, options or recordings are not those it began with, unless
    `allow_changes`.
    """
    folder = Path(out)
    record = read_record(folder)
    options = recorded_options(folder, record, TranscribeOptions, fixed=FIXED, allow_changes=allow_changes)
    with run_lock(folder):
        read, read_held = _readers(options.data)
        train, held = examples_again(folder, record, read, allow_changes=allow_changes, read_held=read_held)
        begun = latest(folder / "last").exists()
        known = None
        if begun:
            last = TrainedRecognizer.load(latest(folder / "last"))
            config = last.model.config
            known = Known(last.side, last.front, last.normal, config.reduction, config.pace)
        task = _prepared(options, train, held, known)
        task.sources = record["examples"]["train"]
        if not begun:
            write_text(folder / "metrics.jsonl", "")
        if allow_changes:
            accept_changes(folder, record, options, {})
        yield task
        yield from reported(task, folder, name=NAME, resume=begun, replan=replanned(record, options.training))


def _prepared(
    options: TranscribeOptions, train: Recordings, held: Recordings | None, known: Known | None = None
) -> TranscribeTask:
    if held is not None:
        check_apart(train.files, held.files, "recordings")
    return TranscribeTask(options, parted(train, held, options.data, options.training.seed), known)


def _are_frames(recordings: Recordings) -> bool:
    """Whether the recordings are files of frames, not of sound."""
    first = recordings.files[0] if len(recordings) else None
    return isinstance(first, Path) and first.suffix.lower() in FRAMES


def _readers(options: RecordingOptions) -> tuple[Callable[..., Recordings], Callable[..., Recordings]]:
    """How recordings to learn from, and those to choose by, are read from files."""
    audio = None if options.audio is None else Path(options.audio)
    read = partial(read_recordings, audio=audio, encoding=options.encoding)
    return partial(read, split=options.train_split), partial(read, split=options.valid_split)


def _anchored(options: TranscribeOptions, sources: Sources, valid: Sources | None) -> TranscribeOptions:
    """The options with a folder that means the same from everywhere, and the splits that the tables have."""
    data = options.data
    changed: dict[str, Any] = {} if data.audio is None else {"audio": str(Path(data.audio).absolute())}

    def splits(some: Sources) -> set[str]:
        return set() if isinstance(some, Recordings) else splits_of(some, data.encoding)

    own = splits(sources) if data.train_split is None or (data.valid_split is None and valid is None) else set()
    if data.train_split is None and "train" in own:
        changed["train_split"] = "train"
    if data.valid_split is None:
        # of tables that are learned from as a whole no part is held out
        whole = changed.get("train_split", data.train_split) is None
        there = splits(valid) if valid is not None else set() if whole else own
        changed["valid_split"] = next((name for name in ("valid", "validation", "dev", "val") if name in there), None)
    return options.model_copy(update={"data": data.model_copy(update=changed)})
