"""The training of a captioner, from files to a finished run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from unrolled.cells import CELLS
from unrolled.config import preset_named, resolve, to_toml, with_facts
from unrolled.data.captions import Captioned, read_captions
from unrolled.data.paths import check_valid
from unrolled.errors import ConfigError, DataError, FolderError, unknown_name
from unrolled.features.pair_codec import Side
from unrolled.folders import check_run, latest, run_lock, write_text
from unrolled.options.caption import FIXED, PRESETS, CaptionDataOptions, CaptionOptions
from unrolled.record import accept_changes, read_record, recorded_options, replanned, write_record
from unrolled.run.examples import check_apart, examples_again, noted
from unrolled.run.new import new_run
from unrolled.run.reported import reported
from unrolled.tasks.caption import CaptionTask, check, parted
from unrolled.tasks.captioner import NAME
from unrolled.tasks.image_encoders import Eye, Looked, eye_again, eye_for, look
from unrolled.tasks.transfer import check_transfer
from unrolled.tasks.vectors import Vectors
from unrolled.training.device import device_of
from unrolled.training.loop import Event
from unrolled.training.parallel import Ranks

__all__ = ["Seeing", "caption_options", "resume_captioner", "train_captioner"]


class Seeing(NamedTuple):
    """So many of the images that are new have been looked at."""

    done: int
    total: int


def caption_options(
    *,
    preset: str | None = None,
    file: dict[str, Any] | None = None,
    flags: dict[str, Any] | None = None,
    settings: Sequence[str] = (),
) -> CaptionOptions:
    """Options from a preset, a config file's content, flags and `key=value` settings."""
    named = preset_named(preset, PRESETS, "default")
    options = resolve(CaptionOptions, preset=named, presets=PRESETS, file=file, flags=flags, settings=settings)
    if options.model.cell not in CELLS:
        raise unknown_name("cell", options.model.cell, CELLS)
    return options


def train_captioner(
    options: CaptionOptions,
    sources: Sequence[str | Path] | Captioned,
    out: str | Path,
    *,
    valid: Sequence[str | Path] | Captioned | None = None,
    encoder: nn.Module | None = None,
    overwrite: bool = False,
) -> Iterator[Seeing | CaptionTask | Event]:
    """Train on captioned images into the run folder `out`, yielding what happens: how far the images have been looked at,
    the task, its data prepared, then the events of the loop.

    encoder: any module that maps prepared pixels (B, 3, size, size) to features (B, S, F), (B, F) or (B, F, Y, X); it has
    the attributes of `layers.convolution.ImageEncoder`, or takes 224 pixels a side as lite0 does.
    """
    options = with_facts(options, {"valid": valid is not None, "own_encoder": encoder is not None})
    folder, options = Path(out), _anchored(options)
    check_run(folder, overwrite=overwrite)
    device_of(options.training)  # whether it is there
    check_valid(valid)
    check_transfer(options.transfer.vectors)
    if Ranks().size > 1:
        raise ConfigError("captions are learned in one process: start it without torchrun")
    if valid is None and options.data.valid_split is not None and not isinstance(sources, Captioned):
        valid = sources
    train, held = _read(sources, valid, options.data)
    where = noted(sources, valid, train, held)
    if where is not None:
        where |= {"own_encoder": encoder is not None}
    parts = parted(train, held, options.data.valid_fraction, options.training.seed)
    eye = eye_for(options.model, encoder)
    vectors = check(options, eye)
    task = yield from _prepared(options, parts, eye=eye, vectors=vectors)
    if where is not None:
        where |= {"photos": task.photos}
    if not isinstance(sources, Captioned):
        task.sources = [str(source) for source in sources]
    with new_run(folder, Ranks(), overwrite=overwrite):
        write_text(folder / "config.toml", f"# unrolled train caption --config this-file\n{to_toml(options)}")
        write_record(folder, NAME, task.options, {}, where)
        yield from reported(task, folder, name=NAME, resume=False)


def resume_captioner(
    out: str | Path, *, allow_changes: bool = False, encoder: nn.Module | None = None
) -> Iterator[Seeing | CaptionTask | Event]:
    """Go on with the training in the run folder `out`, as if it had never stopped.

    FolderError, ConfigError or DataError if version, options or captions are not those it began with, unless
    `allow_changes`.
    """
    folder = Path(out)
    record = read_record(folder)
    options = recorded_options(folder, record, CaptionOptions, fixed=FIXED, allow_changes=allow_changes)
    where = record.get("examples") or {}
    if where.get("own_encoder") and encoder is None:
        raise FolderError(f"{folder}: was begun with an encoder of your own; go on with resume_captioner(..., encoder=...)")
    with run_lock(folder):
        read, read_held = _readers(options.data)
        train, held = examples_again(folder, record, read, allow_changes=allow_changes, read_held=read_held)
        begun = latest(folder / "last").exists()
        parts = parted(train, held, options.data.valid_fraction, options.training.seed)
        side, vectors = Side.load(latest(folder / "last"), "caption") if begun else None, None
        eye = eye_again(options.model, encoder, latest(folder / "last")) if begun else eye_for(options.model, encoder)
        if not begun:
            vectors = check(options, eye)
        task = yield from _prepared(options, parts, eye=eye, side=side, vectors=vectors)
        if task.photos != where.get("photos") and not allow_changes:
            raise DataError(
                f"the photos are not those that the training in {folder} began with: their contents have changed, or some "
                "can be read that could not, or no longer. Put them back, or add --allow-changes."
            )
        task.sources = record["examples"]["train"]
        if not begun:
            write_text(folder / "metrics.jsonl", "")
        if allow_changes:
            accept_changes(folder, record, options, {})
        yield from reported(task, folder, name=NAME, resume=begun, replan=replanned(record, options.training))


def _readers(options: CaptionDataOptions) -> tuple[Callable[..., Captioned], Callable[..., Captioned]]:
    """How images to learn from, and those to choose by, are read from files."""
    images = None if options.images is None else Path(options.images)
    read = partial(read_captions, images=images, encoding=options.encoding)
    return partial(read, split=options.train_split), partial(read, split=options.valid_split)


def _read(sources: Any, valid: Any, options: CaptionDataOptions) -> tuple[Captioned, Captioned | None]:
    """What there is to learn from, and to choose by, if it is given."""
    read, read_held = _readers(options)
    train = sources if isinstance(sources, Captioned) else read(sources)
    held = valid if isinstance(valid, Captioned) else Captioned() if valid is None else read_held(valid)
    if not len(train) or (valid is not None and not len(held)):
        raise DataError("there are no captioned images.")
    check_apart(train.images, held.images, "images")
    return train, None if valid is None else held


def _anchored(options: CaptionOptions) -> CaptionOptions:
    """The options with paths that mean the same from every folder."""
    changed: dict[str, Any] = {}
    for section, name in (("data", "images"), ("model", "encoder_weights"), ("transfer", "vectors")):
        part, path = getattr(options, section), getattr(getattr(options, section), name)
        if path is not None and path != "none":
            changed[section] = part.model_copy(update={name: str(Path(path).absolute())})
    return options.model_copy(update=changed)


def _prepared(
    options: CaptionOptions,
    parts: tuple[Captioned, Captioned],
    *,
    eye: Eye,
    side: Side | None = None,
    vectors: Vectors | None = None,
) -> Iterator[Any]:
    """Look at all images; the task is the value of the generator."""
    torch.set_num_threads(options.training.threads or torch.get_num_threads())
    looking = None if eye.learns(options.model.fine_tune) else eye.encoder
    seen = None
    for found in look([*parts[0].images, *parts[1].images], eye.preparation(options.data.fit), looking):
        if isinstance(found, Looked):
            seen = found
        else:
            yield Seeing(*found)
    assert seen is not None
    task = CaptionTask(options, parts, seen, eye, side, vectors)
    yield task
    return task
