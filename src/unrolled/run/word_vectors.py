"""The training of word vectors, from files to a finished run folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from unrolled.config import flat, resolve, take_auto, to_toml, with_facts
from unrolled.data.text import IN_MEMORY, Document, read_documents
from unrolled.data.word_tests import read_word_test
from unrolled.errors import ConfigError, DataError
from unrolled.folders import cache_folder, check_run, new_folder, write_bytes, write_text
from unrolled.options.word_vectors import FIXED, WordVectorsOptions
from unrolled.pictures.report import vectors_page
from unrolled.record import write_record
from unrolled.run.cores import cores
from unrolled.run.new import new_run
from unrolled.run.reported import write_curves
from unrolled.tasks.trained_vectors import NAME, TrainedWordVectors
from unrolled.tasks.word_vectors import Epoch, Progress, WordVectorsTask
from unrolled.training.interrupt import interruptible
from unrolled.training.parallel import count_processes, joined, speaks

__all__ = ["Done", "train_word_vectors", "word_vectors_options"]


class Done(NamedTuple):
    """The training has ended and its vectors are saved. reason: budget, patience or interrupted; row: of the best epoch;
    drift: of the words of the vectors learned on from.
    """

    reason: str
    row: dict[str, Any]
    drift: dict[str, Any]


def word_vectors_options(
    *,
    file: dict[str, Any] | None = None,
    flags: dict[str, Any] | None = None,
    settings: Sequence[str] = (),
    start: TrainedWordVectors | None = None,
) -> WordVectorsOptions:
    """Options from a config file's content, flags and `key=value` settings; of vectors to learn on from, what they had.

    ConfigError where those cannot be learned on with such options.
    """
    before = flat(start.config.get("options") or {}) if start else {}
    options = resolve(WordVectorsOptions, preset=before, file=file, flags=flags, settings=settings)
    options = take_auto(options, before)
    options = with_facts(options, {"start": start is not None})
    now = flat(options.model_dump())
    for name in FIXED if start else ():
        if name in before and now[name] != before[name]:
            raise ConfigError(
                f"{name.replace('_', '-')}: the vectors to learn on from were made with {before[name]}, not {now[name]}. "
                "Leave it out, or train anew without --from."
            )
    return options


def train_word_vectors(
    options: WordVectorsOptions,
    sources: Sequence[str | Path | Document],
    out: str | Path,
    *,
    probes: Sequence[str | Path] = (),
    start: TrainedWordVectors | None = None,
    overwrite: bool = False,
) -> Iterator[WordVectorsTask | Progress | Epoch | Done]:
    """Train on files or documents into the run folder `out`, yielding what happens: the task first, with its text read."""
    folder = Path(out)
    options = with_facts(options, {"probe": bool(probes), "processes": count_processes() > 1, "start": start is not None})
    if speaks():
        check_run(folder, overwrite=overwrite)
    tests = [read_word_test(probe) for probe in probes]
    documents = read_documents(sources, options.data.encoding)
    with ExitStack() as stack:
        ranks = stack.enter_context(joined())
        scratch = None
        if sum(document.size for document in documents) > IN_MEMORY:
            cache_folder().mkdir(parents=True, exist_ok=True)
            scratch = Path(stack.enter_context(TemporaryDirectory(prefix="word-vectors-", dir=cache_folder())))
        threads = options.training.threads or cores()
        task = WordVectorsTask(options, documents, threads=threads, probes=tests, start=start, scratch=scratch, ranks=ranks)
        if len(set(ranks.gather((task.n_words, len(task.words))))) > 1:
            ranks.fail(DataError("the processes of this training do not read the same text. Give all the same files."))
        stack.enter_context(new_run(folder, ranks, overwrite=overwrite))
        if ranks.first:
            write_text(folder / "config.toml", f"# unrolled train word-vectors --config this-file\n{to_toml(options)}")
            write_record(folder, NAME, task.options, {"train": documents})
        yield task
        yield from _follow(task, folder)


def _follow(task: WordVectorsTask, folder: Path) -> Iterator[Progress | Epoch | Done]:
    """Train; rank 0 writes metrics and report after each epoch, and the vectors at the end."""
    rows: list[dict[str, Any]] = []
    reason, best = "interrupted", dict[str, Any]()
    with interruptible() as stop:
        for event in task.train(stop.is_set):
            if isinstance(event, Epoch):
                rows.append(event.row)
                best = event.row if event.best else best
                reason = event.reason or reason
                if task.ranks.first:
                    _write_pages(task, folder, rows)
            yield event
            if stop.is_set() and reason == "interrupted" and task.ranks.size == 1:
                break
    trained = task.trained()
    if task.ranks.first:
        with new_folder(folder / "best") as temporary:
            trained.save(temporary)
        write_bytes(folder / "README.md", (folder / "best" / "README.md").read_bytes())
        if rows:
            write_curves(folder)
    yield Done(reason, best, trained.config.get("drift") or {})


def _write_pages(task: WordVectorsTask, folder: Path, rows: list[dict[str, Any]]) -> None:
    write_text(folder / "metrics.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    plain = [{key: value for key, value in row.items() if key != "corrections"} for row in rows]
    write_text(folder / "report.html", vectors_page(folder.name, plain, _examples(task), to_toml(task.options)))


def _examples(task: WordVectorsTask) -> list[list[str]]:
    """Some words, evenly spread over the more frequent ones, and their neighbours."""
    vectors = task.vectors()
    words = [vectors.words[i] for i in (100, 200, 400, 800, 1600, 3200, 6400) if i < len(vectors)] or list(
        vectors.words[:5]
    )
    found = vectors.neighbors_of(words, 8)
    return [[word, ", ".join(neighbor.word for neighbor in near)] for word, near in zip(words, found, strict=True)]
