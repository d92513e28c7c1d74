"""The word vector task: text -> words and ids -> word2vec -> vectors that can be looked up, tested, exported, learned on.

`TrainedWordVectors` is what `unrolled.load` returns; `WordVectorsTask` makes one.
"""

from __future__ import annotations

import json
import math
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy

from unrolled import __version__
from unrolled.data.text import Document
from unrolled.data.word_tests import Analogies, Similarities
from unrolled.errors import ConfigError, DataError, FolderError
from unrolled.features.numbering import Spool
from unrolled.features.words import LEFT_OUT, READERS, Words, choose, read_words
from unrolled.folders import FORMAT, FORMAT_VERSION, model_folder, read_config, write_bytes, write_json, write_text
from unrolled.models.word2vec import STRETCH, Trained, Word2Vec, Word2VecConfig
from unrolled.options.word_vectors import WordVectorsOptions
from unrolled.tasks.vectors import Vectors
from unrolled.training.hogwild import at_once

__all__ = ["NAME", "Epoch", "Progress", "TrainedWordVectors", "WordVectorsTask"]

NAME = "word-vectors"
#: The learning rate ends at this part of where it began.
_LAST_RATE = 1 / 250
#: Seconds between two reports of progress.
_REPORT = 0.25


class TrainedWordVectors(Vectors):
    """Word vectors with all that is needed to learn on: outputs, counts, and the counts of words that were too rare.

    rare: words without a vector, with their counts so far; outputs: the second table, see `models/word2vec.py`.
    """

    def __init__(
        self,
        words: Sequence[str],
        array: np.ndarray,
        counts: np.ndarray,
        *,
        outputs: np.ndarray,
        rare: dict[str, int],
        config: dict[str, Any],
    ) -> None:
        super().__init__(words, array, counts)
        self.outputs, self.rare, self.config = outputs, rare, config

    @property
    def metrics(self) -> dict[str, Any]:
        """What was measured at the end of training."""
        return dict(self.config.get("metrics") or {})

    @staticmethod
    def load(path: str | Path) -> TrainedWordVectors:
        """Open a model or run folder; the tables are mapped into memory. FolderError if it is damaged or foreign."""
        folder = model_folder(path)
        config = read_config(folder)
        if config.get("task") != NAME:
            raise FolderError(f"{folder}: is a model for '{config.get('task')}', not word vectors.")
        tables = _mapped_tensors(folder / "model.safetensors")
        words = _lines(folder / "words.txt")
        rare = dict(line.rsplit("\t", 1) for line in _lines(folder / "rare.txt") if "\t" in line)
        try:
            if len(words) != len(tables["inputs"]) or len(words) != len(tables["counts"]):
                raise ValueError(f"{len(words)} words, tables of {len(tables['inputs'])} and {len(tables['counts'])} rows")
            counted = {word: int(n) for word, n in rare.items()}
            return TrainedWordVectors(
                words, tables["inputs"], tables["counts"], outputs=tables["outputs"], rare=counted, config=config
            )
        except (KeyError, ValueError, TypeError) as error:
            raise FolderError(f"{folder}: its files do not fit each other ({error}). Copy the folder again.") from None

    def save(self, folder: str | Path, extra: dict[str, Any] | None = None) -> None:
        """Write a self-sufficient model folder: a new one, or in place of a model. `extra` goes into config.json."""
        folder = Path(folder)
        if folder.exists() and any(folder.iterdir()) and not (folder / "model.safetensors").exists():
            raise FolderError(f"{folder}: is not empty and not a model folder; nothing is overwritten.")
        folder.mkdir(parents=True, exist_ok=True)
        config = self.config | (extra or {})
        config |= {"format": FORMAT, "format_version": FORMAT_VERSION, "task": NAME, "unrolled": __version__}
        assert self.counts is not None
        tensors = {"inputs": self.array, "outputs": self.outputs, "counts": self.counts}
        packed = safetensors.numpy.save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
        write_bytes(folder / "model.safetensors", packed)
        write_text(folder / "words.txt", "".join(f"{word}\n" for word in self.words))
        write_text(folder / "rare.txt", "".join(f"{word}\t{n}\n" for word, n in self.rare.items()))
        write_json(folder / "metrics.json", config.get("metrics") or {})
        write_text(folder / "README.md", _card(config, self))
        write_json(folder / "config.json", config)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")[:-1]
    except (OSError, UnicodeDecodeError) as error:
        raise FolderError(f"{path}: is missing or damaged ({error}). Copy the model folder again.") from None


def _mapped_tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file, mapped: nothing is read before it is used, and nothing written back."""
    kinds = {"F32": np.float32, "I64": np.int64}
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(size))
        whole = np.memmap(path, np.uint8, "c")
        found = {}
        for name, entry in header.items():
            first, last = (8 + size + at for at in entry["data_offsets"])
            found[name] = whole[first:last].view(kinds[entry["dtype"]]).reshape(entry["shape"])
        return found
    except (OSError, ValueError, struct.error, KeyError, TypeError) as error:
        raise FolderError(f"{path}: is not a whole file of word vectors ({error}). Copy the model folder again.") from None


class Progress(NamedTuple):
    """words read of total, in all epochs; loss: mean over the inputs since the last report, in nats."""

    words: int
    total: int
    epoch: float
    loss: float
    seconds: float


class Epoch(NamedTuple):
    """A pass over the text has ended: a line of metrics.jsonl, and whether it is the best so far by the tests given."""

    row: dict[str, Any]
    best: bool
    last: bool


@dataclass
class _Tally:
    words: int = 0
    inputs: int = 0
    loss: float = 0.0

    def add(self, found: Trained) -> None:
        self.words += found.words
        self.inputs += found.inputs
        self.loss += found.loss

    @property
    def mean(self) -> float:
        return self.loss / max(1, self.inputs)


class WordVectorsTask:
    """Text read and a model to train: iterate over `train()`, then take `trained()`.

    probes: tests that are made after each epoch; the vectors that do best at the first of them are kept. start: vectors to
    learn on from: their words keep their rows, counts add up, and words that have become frequent enough join them.
    """

    def __init__(
        self,
        options: WordVectorsOptions,
        documents: Sequence[Document],
        *,
        threads: int,
        probes: Sequence[Similarities | Analogies] = (),
        start: TrainedWordVectors | None = None,
    ) -> None:
        self.options, self.probes, self.threads = options, probes, threads
        self.sources = [document.name for document in documents]
        self.start = start
        found = read_words(documents, READERS[options.data.tokens], Spool())
        self.all_words = int(found.counts.sum())
        self.words, self.counts, rows = self._vocabulary(found)
        self.ids = found.ids(rows, Spool())
        given = options.model.model_dump()
        given["window"] = given.pop("word_window")
        self.model = Word2Vec(Word2VecConfig(len(self.words), **given), self.counts, options.training.seed)
        if start is not None:
            assert start.counts is not None
            self.model.take_over(start.array, start.outputs, start.counts)
        self.metrics: dict[str, Any] = {}
        self._best: tuple[float, np.ndarray, np.ndarray] | None = None

    def _vocabulary(self, found: Words) -> tuple[list[str], np.ndarray, np.ndarray]:
        """The words that get a vector, their counts, and the row of each word of the text; notes the rare ones."""
        data, start = self.options.data, self.start
        names = found.spelled(range(len(found)))
        if start is None:
            old, rare = dict[str, int](), dict[str, int]()
            words, counts = [], np.zeros(0, np.int64)
        else:
            assert start.counts is not None
            old, rare, words, counts = start.index, start.rare, list(start.words), start.counts.copy()
        so_far = found.counts + np.fromiter((rare.get(name, 0) for name in names), np.int64, len(names))
        rows = np.fromiter((old.get(name, LEFT_OUT) for name in names), np.int32, len(names))
        known = rows != LEFT_OUT
        np.add.at(counts, rows[known], found.counts[known])
        room = None if data.vocabulary_size is None else max(0, data.vocabulary_size - len(words))
        kept = choose(np.where(known, 0, so_far), min_count=data.min_count, most=room)
        rows[kept] = len(words) + np.arange(len(kept))
        self.rare = {name: n for name, n in rare.items() if name not in old}
        self.rare |= {names[i]: int(so_far[i]) for i in np.flatnonzero(rows == LEFT_OUT)}
        for i in kept.tolist():
            self.rare.pop(names[i], None)
        if len(words) + len(kept) < 2:
            most = int(found.counts.max(initial=0))
            raise DataError(
                f"of {len(found):,} different words only {len(kept)} stand there {data.min_count} times or more (the most "
                f"frequent {most} times), and vectors need two words. Give more text, or a smaller --min-count."
            )
        return words + [names[i] for i in kept.tolist()], np.append(counts, so_far[kept]), rows

    @property
    def rate(self) -> float:
        """The learning rate at the beginning."""
        return self.options.training.learning_rate or (0.05 if self.options.model.architecture == "cbow" else 0.025)

    def train(self) -> Iterator[Progress | Epoch]:
        """Train, yielding what happens. Closing the iterator stops; what has been learned stays."""
        began, epochs = time.perf_counter(), self.options.training.epochs
        shards = [self._shard(k, epochs) for k in range(self.threads)]
        total, recent, epoch_tally = _Tally(), _Tally(), _Tally()
        reported, ended, worse = began, [0] * epochs, 0
        for epoch, found in at_once(shards, in_turn=self.options.training.deterministic):
            if found is not None:
                for tally in (total, recent, epoch_tally):
                    tally.add(found)
                if not math.isfinite(recent.loss):
                    raise ConfigError(
                        f"the loss became {recent.loss} after {total.words:,} words. Take a --learning-rate smaller than "
                        f"{self.rate:g}."
                    )
                if time.perf_counter() - reported > _REPORT:
                    reported = time.perf_counter()
                    done = total.words / max(1, int(self.counts.sum()))
                    yield Progress(total.words, epochs * int(self.counts.sum()), done, recent.mean, reported - began)
                    recent = _Tally()
                continue
            ended[epoch] += 1
            if ended[epoch] < len(shards):
                continue
            event = self._epoch(epoch + 1, epochs, epoch_tally, time.perf_counter() - began)
            epoch_tally, worse = _Tally(), 0 if event.best else worse + 1
            stop = bool(self.probes) and worse >= self.options.training.patience
            yield event._replace(last=stop or event.last)
            if stop:
                break
        if self._best is not None:
            self.model.inputs[:], self.model.outputs[:] = self._best[1:]

    def _shard(self, k: int, epochs: int) -> Iterator[tuple[int, Trained | None]]:
        """The part of the text that is thread k's, `epochs` times over; (epoch, None) at the end of each."""
        first, last = (len(self.ids) * at // self.threads for at in (k, k + 1))
        desk = self.model.desk(self.options.training.seed * 1_000_003 + k)
        for epoch in range(epochs):
            for at in range(first, last, STRETCH):
                end = min(at + STRETCH, last)
                begin, then = (self._rate_at(epoch + (x - first) / (last - first), epochs) for x in (at, end))
                yield epoch, self.model.train(self.ids[at:end], (begin, then), desk)
            yield epoch, None

    def _rate_at(self, epoch: float, epochs: int) -> float:
        return self.rate * max(_LAST_RATE, 1 - epoch / epochs)

    def _epoch(self, epoch: int, epochs: int, tally: _Tally, seconds: float) -> Epoch:
        row: dict[str, Any] = {"epoch": epoch, "loss": tally.mean, "words": tally.words, "seconds": round(seconds, 3)}
        best, score = True, -math.inf
        for n, probe in enumerate(self.probes):
            found = self.vectors().test(probe)
            value = found["spearman" if found["measure"] == "similarity" else "accuracy"]
            row[Path(probe.name).name] = value
            score = value if n == 0 and value is not None else score
        if self.probes:
            best = self._best is None or score > self._best[0]
            if best:
                self._best = score, self.model.inputs.copy(), self.model.outputs.copy()
        if best:
            self.metrics = {key: value for key, value in row.items() if key != "words"}
        return Epoch(row, best, epoch == epochs)

    def vectors(self) -> Vectors:
        """The vectors as they are now."""
        return Vectors(self.words, self.model.vectors, self.counts)

    def trained(self) -> TrainedWordVectors:
        """The vectors, with all that is needed to save them and to learn on."""
        options = self.options.model_dump(exclude_none=True)
        data: dict[str, Any] = {
            "sources": self.sources,
            "tokens": self.options.data.tokens,
            "words": self.all_words,
            "vocabulary": len(self.words),
        }
        config: dict[str, Any] = {
            "model": asdict(self.model.config),
            "options": options,
            "data": data,
            "metrics": self.metrics,
        }
        if self.model.config.objective == "hierarchical-softmax":
            lengths = self.model.code_lengths()
            mean = float(lengths @ self.counts / self.counts.sum())
            config["data"] |= {"code_length": {"shortest": int(lengths.min()), "longest": int(lengths.max()), "mean": mean}}
        if self.start is not None:
            config["drift"] = _drift(self.start, self.model.vectors)
            config["data"] |= {"new_words": len(self.words) - len(self.start), "before": self.start.config.get("data")}
        return TrainedWordVectors(
            self.words, self.model.vectors, self.counts, outputs=self.model.output_vectors, rare=self.rare, config=config
        )


def _drift(before: Vectors, now: np.ndarray) -> dict[str, Any]:
    """How far the words that had vectors have moved: cosines between then and now."""
    then, after = before.array, now[: len(before)]
    lengths = np.linalg.norm(then, axis=1) * np.linalg.norm(after, axis=1)
    cosines = (then * after).sum(1) / np.where(lengths == 0, 1, lengths)
    least = np.argsort(cosines, kind="stable")[:20]
    return {
        "mean_cosine": float(cosines.mean()),
        "tenth_percentile": float(np.quantile(cosines, 0.1)),
        "moved_most": [[before.words[i], round(float(cosines[i]), 4)] for i in least.tolist()],
    }


def _card(config: dict[str, Any], vectors: Vectors) -> str:
    """README.md of the model folder."""
    metrics = "".join(f"| {name} | {value} |\n" for name, value in (config.get("metrics") or {}).items())
    data = config.get("data") or {}
    return f"""# Word vectors made with unrolled {__version__}

{len(vectors):,} words, {vectors.size} numbers each, learned from {data.get("words", "?"):,} words.

Sources: {", ".join(data.get("sources", [])[:10]) or "not recorded"}.

| at the end of training | |
|---|---|
{metrics}
Licence of the vectors and of their data: fill in.

## Use

    unrolled neighbors FOLDER WORD
    unrolled export FOLDER --format word2vec-bin vectors.bin

    import unrolled
    vectors = unrolled.load("FOLDER")
    print(vectors.neighbors("WORD"), vectors["WORD"], vectors.matrix.shape)

## Options

```json
{json.dumps(config.get("options") or {}, indent=1)}
```
"""
