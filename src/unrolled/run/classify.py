"""The training of a text classifier, from files to a finished run folder."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from unrolled.cells import CELLS
from unrolled.config import preset_named, resolve, to_toml, with_facts
from unrolled.data.labelled import Labelled, read_labelled
from unrolled.data.paths import check_valid
from unrolled.errors import ConfigError, unknown_name
from unrolled.folders import check_run, latest, new_folder, read_rows, run_lock, write_bytes, write_text
from unrolled.options.classify import FIXED, PRESETS, ClassifyOptions
from unrolled.pictures.report import classifier_page
from unrolled.record import accept_changes, read_record, record_options, recorded_options, replanned, write_record
from unrolled.run.cores import cores
from unrolled.run.examples import examples_again, noted
from unrolled.run.fitting import fit_run
from unrolled.run.new import new_run
from unrolled.run.reported import write_curves
from unrolled.tasks.blended import BlendedNetwork
from unrolled.tasks.classifier import NAME, TrainedClassifier
from unrolled.tasks.classify import AverageTraining, Epoch, Split, blended, columns_of, compared, validated
from unrolled.tasks.recurrent_classify import RecurrentTask
from unrolled.tasks.transfer import check_transfer
from unrolled.training.device import device_of
from unrolled.training.interrupt import interruptible
from unrolled.training.loop import Event, Finished
from unrolled.training.parallel import Ranks

__all__ = ["Done", "classify_options", "resume_classifier", "train_classifier"]


class Done(NamedTuple):
    """The training has ended and the classifier is saved. reason: budget, patience or interrupted; held: how good it is on
    the validation texts; beside: the average that was trained beside a recurrent network, and how they differ.
    """

    reason: str
    held: dict[str, Any]
    beside: dict[str, Any] | None = None


def classify_options(
    *,
    preset: str | None = None,
    file: dict[str, Any] | None = None,
    flags: dict[str, Any] | None = None,
    settings: Sequence[str] = (),
) -> ClassifyOptions:
    """Options from a preset, a config file's content, flags and `key=value` settings."""
    named = preset_named(preset, PRESETS, "average")
    options = resolve(ClassifyOptions, preset=named, presets=PRESETS, file=file, flags=flags, settings=settings)
    data, decision, transfer = options.data, options.decision, options.transfer
    if options.recurrent.cell not in CELLS:
        raise unknown_name("cell", options.recurrent.cell, CELLS)
    if preset == "transfer" and transfer.encoder is None:
        raise ConfigError("--preset transfer needs --encoder RUN: a run of `unrolled train language-model`")
    if decision.target == "f1" and data.labels != "many":
        raise ConfigError("--target f1 is for --labels many; with one label an answer there is the likeliest label")
    return options


def train_classifier(
    options: ClassifyOptions,
    sources: Sequence[str | Path] | Labelled,
    out: str | Path,
    *,
    valid: Sequence[str | Path] | None = None,
    overwrite: bool = False,
) -> Iterator[Split | AverageTraining | Epoch | RecurrentTask | Event | Done]:
    """Train on labelled texts into the run folder `out`, yielding what happens: the examples first, read and split, then
    each network before its training begins. The average comes first, also where a recurrent network is asked for.
    """
    folder, options = Path(out), with_facts(options, {"valid": bool(valid)})
    check_run(folder, overwrite=overwrite)
    _check_device(options)
    check_valid(valid)
    check_transfer(options.transfer.vectors, options.transfer.encoder)
    columns, encoding = columns_of(options.data), options.data.encoding
    examples = sources if isinstance(sources, Labelled) else read_labelled(sources, columns, encoding)
    held = read_labelled(valid, columns, encoding) if valid else None
    split = Split(options, examples, held)
    split.sources = ["examples"] if isinstance(sources, Labelled) else [str(source) for source in sources]
    where = noted(sources, valid, examples, held)
    with new_run(folder, Ranks(), overwrite=overwrite):
        write_text(folder / "config.toml", f"# unrolled train classify --config this-file\n{to_toml(options)}")
        write_record(folder, NAME, split.options, {}, where)
        yield from _train(options, split, folder, resume=False)


def resume_classifier(
    out: str | Path, *, allow_changes: bool = False
) -> Iterator[Split | AverageTraining | Epoch | RecurrentTask | Event | Done]:
    """Go on with the training of a recurrent classifier, as if it had never stopped; the average beside it is made anew.

    FolderError, ConfigError or DataError if version, options or examples are not those it began with, unless
    `allow_changes`.
    """
    folder = Path(out)
    record = read_record(folder)
    options = recorded_options(folder, record, ClassifyOptions, fixed=FIXED, allow_changes=allow_changes)
    columns, encoding = columns_of(options.data), options.data.encoding
    with run_lock(folder):
        read = partial(read_labelled, columns=columns, encoding=encoding)
        examples, held = examples_again(folder, record, read, allow_changes=allow_changes)
        split = Split(options, examples, held)
        split.sources = record["examples"]["train"]
        begun = latest(folder / "last").exists()
        if not begun:
            write_text(folder / "metrics.jsonl", "")
        if allow_changes:
            accept_changes(folder, record, options, {})
        yield from _train(options, split, folder, resume=begun, replan=replanned(record, options.training))


def _check_device(options: ClassifyOptions) -> None:
    """Raise ConfigError for a device that is not there, or that the network cannot use, before the average is trained."""
    if device_of(options.training).type == "cuda" and options.model.network == "average":
        raise ConfigError("--device cuda: an average is trained on the CPU. Leave it out, or take --preset rnn.")


def _train(
    options: ClassifyOptions, split: Split, folder: Path, *, resume: bool, replan: bool = False
) -> Iterator[Split | AverageTraining | Epoch | RecurrentTask | Event | Done]:
    """The examples, the average, and the recurrent network where it is asked for."""
    yield split
    average = AverageTraining(options, split, threads=options.training.threads or cores())
    yield average
    yield from _train_average(average, folder, alone=options.model.network == "average")
    if options.model.network != "average":
        yield from _train_recurrent(split, average, folder, resume=resume, replan=replan)


def _train_average(training: AverageTraining, folder: Path, *, alone: bool) -> Iterator[Epoch | Done]:
    """Train the average; where it is all that is asked for, save it and say how good it is."""
    reason = "budget"
    with interruptible() as stop:
        for event in training.train():
            if alone:
                write_text(folder / "metrics.jsonl", "".join(f"{json.dumps(row)}\n" for row in training.rows))
            yield event
            if stop.is_set() and not event.last:
                reason = "interrupted"
                break
    if reason == "interrupted" and not alone:
        raise KeyboardInterrupt
    if not alone:
        return
    trained, split = training.trained(), training.split
    with new_folder(folder / "best") as temporary:
        trained.save(temporary, split.described())
    held = trained.evaluate(split.valid) | {"most_frequent": split.most_frequent}
    _write_pages(folder, split, held, training.rows)
    yield Done(reason, held)


def _train_recurrent(
    split: Split, average: AverageTraining, folder: Path, *, resume: bool, replan: bool
) -> Iterator[RecurrentTask | Event | Done]:
    """Train the recurrent network, and compare it with the average on the same validation texts."""
    options, known = split.options, TrainedClassifier.load(latest(folder / "last")) if resume else None
    task = RecurrentTask(options, split, known)
    record_options(folder, task.options)
    yield task
    reason, began = "budget", time.perf_counter()
    for event in fit_run(task, options.training, folder, resume=resume, replan=replan):
        if isinstance(event, Finished):
            reason = event.reason
        yield event
    trained, other, alone = TrainedClassifier.load(folder), average.valid_logits(), dict[str, float]()
    network = trained.network
    if options.model.blend and isinstance(network, BlendedNetwork):  # of a training that went on
        network = network.network
    z = network.logits(split.valid.texts)
    if options.model.blend:
        alone, metrics = {"alone": validated(split, z)["valid_accuracy"]}, trained.metrics
        trained = blended(network, average.network, (z, other), split, options)
        trained.metrics = metrics | trained.metrics | {"network_alone": alone["alone"]}
        assert isinstance(trained.network, BlendedNetwork)
        z = trained.network.mixed(z, other)
        with new_folder(folder / "best") as temporary:
            trained.save(temporary, task.described())
    p = trained.calibrated(z)
    held = trained.evaluate(split.valid, p=p) | {"most_frequent": split.most_frequent}
    beside = compared(average.trained().calibrated(other), p, split) | alone
    beside |= {"average_seconds": average.rows[-1]["seconds"], "seconds": time.perf_counter() - began}
    rows = read_rows(folder)
    _write_pages(folder, split, held, rows, beside)
    yield Done(reason, held, beside)


def _write_pages(
    folder: Path, split: Split, held: dict[str, Any], rows: list[dict[str, Any]], beside: dict[str, Any] | None = None
) -> None:
    page = classifier_page(folder.name, rows, held, split.facts._asdict(), to_toml(split.options), beside)
    write_text(folder / "report.html", page)
    write_bytes(folder / "README.md", (folder / "best" / "README.md").read_bytes())
    write_curves(folder)
