"""The word vector task: text -> words and ids -> word2vec -> vectors that can be looked up, tested, exported, learned on.

`trained_vectors.TrainedWordVectors` is what `unrolled.load` returns; `WordVectorsTask` makes one.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unrolled.config import AUTO, take_auto
from unrolled.data.text import Document
from unrolled.data.word_tests import Analogies, Similarities
from unrolled.errors import ConfigError, DataError
from unrolled.features.numbering import Spool
from unrolled.features.phrases import join_phrases, learn_phrases
from unrolled.features.scripts import AutomaticTokens, dominant_script, has_chinese_words
from unrolled.features.subwords import NGrams, Parts, Subwords
from unrolled.features.unknown import UnknownRate
from unrolled.features.words import LEFT_OUT, Words, choose, read_words, reader_for
from unrolled.models.word2vec import STRETCH, Desk, Trained, Word2Vec, Word2VecConfig
from unrolled.options.word_vectors import ObjectiveOptions, WordVectorsOptions
from unrolled.tasks.trained_vectors import TrainedWordVectors
from unrolled.tasks.vectors import Vectors
from unrolled.tasks.word_vectors_progress import Epoch, Part, Progress, Tally
from unrolled.training.hogwild import at_once
from unrolled.training.parallel import Ranks
from unrolled.training.timed import TimedEpochs

__all__ = ["Epoch", "Progress", "WordVectorsTask"]

#: Averaging tables of several processes makes every move smaller: the rate grows with them, up to this many times.
_MOST_TIMES = 4
#: The learning rate ends at this part of where it began.
_LAST_RATE = 1 / 250
#: Passes over the text where no limit is given.
DEFAULT_EPOCHS = 5
#: Words of text that `max_steps` counts as a step.
STEP_WORDS = 10_000
#: Words that a thread reads at once where time is limited.
_TIMED_STRETCH = 10_000
#: Seconds between two reports of progress.
_REPORT = 0.25


#: What `--tokens auto` takes; without the extra `zh`, Chinese words are single characters.
_TOKENS = AutomaticTokens("words", han="chinese-words", han_without="words", unspaced="graphemes")


class WordVectorsTask:
    """Text read and a model to train: iterate over `train()`, then take `trained()`.

    probes: tests that are made after each epoch; the vectors that do best at the first of them are kept. start: vectors to
    learn on from: their words keep their rows, counts add up, and words that have become frequent enough join them.
    scratch: a folder for a text that is too long for memory, needed as long as this object is. ranks: processes that share
    the text; each trains tables of its own, which are averaged now and then.
    """

    def __init__(
        self,
        options: WordVectorsOptions,
        documents: Sequence[Document],
        *,
        threads: int,
        probes: Sequence[Similarities | Analogies] = (),
        start: TrainedWordVectors | None = None,
        scratch: Path | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        _check(options.model)
        self.single_characters = False
        if options.data.tokens == AUTO:
            script = dominant_script(chunk for document in documents for chunk in document.chunks())
            self.single_characters = script == "han" and not has_chinese_words()
            options = take_auto(options, {"tokens": _TOKENS.of_script(script)})
        self.options, self.probes, self.threads, self.ranks = options, probes, threads, ranks or Ranks()
        self.sources = [document.name for document in documents]
        self.start = start
        spool = Spool(scratch)
        self.normalization = "nfc" if start is None else start.normalization
        found = read_words(documents, reader_for(options.data.tokens, self.normalization), spool)
        self.all_words = int(found.counts.sum())
        found = self._joined(found, spool)
        self.words, self.counts, rows = self._vocabulary(found)
        self.ids = found.ids(rows, spool)
        self.n_words = int(found.counts[rows != LEFT_OUT].sum())
        share = 1 - self.n_words / max(1, int(found.counts.sum()))
        self.unknown = UnknownRate(share, None, "words")
        self.parts = Parts(self.words, _ngrams(options.model)) if options.model.subwords else None
        given = options.model.model_dump()
        given["window"] = given.pop("word_window")
        self.model = Word2Vec(Word2VecConfig(len(self.words), **given), self.counts, options.training.seed, self.parts)
        if start is not None:
            assert start.counts is not None
            if start.subwords is None:
                self.model.take_over(start.array, start.outputs, start.counts)
            else:
                self.model.take_over(start.subwords.table, start.outputs, start.counts, start.subwords.buckets)
        self.timed = TimedEpochs(options.training, self.n_words / STEP_WORDS, DEFAULT_EPOCHS)
        self.metrics: dict[str, Any] = {}
        self._best: tuple[float, np.ndarray, np.ndarray] | None = None

    @property
    def notice(self) -> str:
        """What a user should know of the words that `--tokens auto` takes; "" if there is nothing."""
        if not self.single_characters:
            return ""
        return (
            "Chinese text: each Han character is a word, and words of several characters get no vector. Fix: install the "
            "extra zh, which finds the words (--tokens chinese-words)."
        )

    def _joined(self, found: Words, spool: Spool) -> Words:
        """The text with its phrases as words; those are learned from it, or known from the vectors learned on from."""
        data = self.options.data
        self.phrases: list[list[tuple[str, str]]] = list(self.start.phrases) if self.start else []
        for n in range(len(self.phrases) if self.start else data.phrases):
            if self.start is None:
                self.phrases.append(learn_phrases(found, threshold=data.phrase_threshold, min_count=data.phrase_count))
            found = join_phrases(found, self.phrases[n], spool, f"joined-{n}")
        return found

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
        given, model = self.options.training.learning_rate, self.options.model
        if given is not None:
            return given
        times = min(self.ranks.size, _MOST_TIMES)
        if model.architecture == "skip-gram" or model.subwords:
            return times * (0.05 if model.subwords else 0.025)
        return times * (0.1 if model.objective == "negative-sampling" and model.cbow_gradient == "divided" else 0.05)

    def train(self, stop: Callable[[], bool] = bool) -> Iterator[Progress | Epoch]:
        """Train, yielding what happens. Closing the iterator stops; what has been learned stays, or the best by a test.

        stop: whether to end where processes meet; with several of them, the iterator must be read to its end.
        """
        parts, worse, timed = 1, 0, self.timed
        if self.ranks.size > 1:
            parts = max(1, round(self.n_words / self.ranks.size / self.options.training.average_words))
        first_seed = self.options.training.seed * 1_000_003
        desks = self.model.desks([first_seed + self._shard(k) for k in range(self.threads)])
        timed.begin()
        try:
            for epoch in itertools.count():
                tally = Tally()
                for part in range(parts):
                    if epoch + part / parts >= timed.end:
                        break
                    yield from self._part(Part(epoch, part, parts), desks, tally)
                    self._agree(epoch + (part + 1) / parts)
                    outputs = self.model.outputs[: len(self.words)]  # behind them: copies, as many as threads need
                    self.ranks.average([torch.from_numpy(self.model.inputs), torch.from_numpy(outputs)])
                    if self.ranks.size > 1 and any(self.ranks.gather(stop())):
                        return
                event = self._epoch(min(epoch + 1, timed.end), self._everywhere(tally))
                worse = 0 if event.best else worse + 1
                impatient = bool(self.probes) and worse >= self.options.training.patience
                reason = "patience" if impatient else "budget" if epoch + 1 >= timed.end else ""
                yield event._replace(reason=reason)
                if reason:
                    return
        finally:
            if self._best is not None:
                self.model.inputs[:], self.model.outputs[:] = self._best[1:]

    def _shard(self, k: int) -> int:
        """The number of thread k among the threads of all processes."""
        return self.ranks.rank * self.threads + k

    def _everywhere(self, tally: Tally) -> Tally:
        """What all processes have done."""
        total = Tally()
        for words, inputs, loss in self.ranks.gather((tally.words, tally.inputs, tally.loss)):
            total.add(Trained(words, inputs, loss))
        return total

    def _agree(self, position: float) -> None:
        """At the end of a part: the plan of the first process, which knows how far all are, in all processes."""
        if self.ranks.size > 1:
            self.timed.passed(position, always=True)
            self.timed.budget.restore(self.ranks.share(self.timed.budget.state))

    def _part(self, part: Part, desks: list[Desk], tally: Tally) -> Iterator[Progress]:
        """Train on a part of the text, all threads at once."""
        jobs = [self._steps(self._shard(k), desk, part) for k, desk in enumerate(desks)]
        recent, reported, before = Tally(), time.perf_counter(), tally.words
        with closing(at_once(jobs, in_turn=self.options.training.deterministic)) as steps:
            for found in steps:
                tally.add(found)
                recent.add(found)
                if not math.isfinite(recent.loss):
                    raise ConfigError(f"the loss became {recent.loss}. Take a --learning-rate below {self.rate:g}.")
                words = int(part.at(0.0) * self.n_words) + (tally.words - before) * self.ranks.size
                if self.ranks.size == 1:
                    self.timed.passed(min(words / self.n_words, part.at(1.0)))
                if time.perf_counter() - reported > _REPORT:
                    reported, position = time.perf_counter(), words / self.n_words
                    left = self.timed.left(position)
                    yield Progress(words, position, recent.mean, self.timed.seconds, left)
                    recent = Tally()

    def _steps(self, shard: int, desk: Desk, part: Part) -> Iterator[Trained]:
        """Train on what belongs to one shard, of those of all threads of all processes."""
        shards = self.threads * self.ranks.size
        start, stop = (len(self.ids) * n // shards for n in (shard, shard + 1))
        first, last = (start + (stop - start) * n // part.of for n in (part.number, part.number + 1))
        at, stretch = first, _TIMED_STRETCH if self.timed.budget.timed else STRETCH
        while at < last:
            left = min(1.0, (self.timed.end - part.epoch) * part.of - part.number)
            end = min(at + stretch, first + math.ceil((last - first) * left))
            if at >= end:
                return
            rates = [self._rate_at(part.at((x - first) / (last - first))) for x in (at, end)]
            yield self.model.train(self.ids[at:end], (rates[0], rates[1]), desk)
            at = end

    def _rate_at(self, epoch: float) -> float:
        return self.rate * max(_LAST_RATE, 1 - self.timed.plan.progress(epoch))

    def _epoch(self, epoch: float, tally: Tally) -> Epoch:
        row: dict[str, Any] = {
            "epoch": round(epoch, 4) if epoch % 1 else int(epoch),
            "loss": tally.mean,
            "words": tally.words,
            "seconds": 0.0,
        }
        best, score, began = True, -math.inf, self.timed.seconds
        for n, probe in enumerate(self.probes):
            found = self.vectors().test(probe)
            value = found["spearman" if found["measure"] == "similarity" else "accuracy"]
            row[Path(probe.name).name] = value
            score = value if n == 0 and value is not None else score
        self.timed.validated(self.timed.seconds - began)
        row["seconds"] = round(self.timed.seconds, 3)
        if self.probes:
            best = self._best is None or score > self._best[0]
            if best:
                self._best = score, self.model.inputs.copy(), self.model.outputs.copy()
        if best:
            self.metrics = {key: value for key, value in row.items() if key not in ("words", "corrections")}
        return Epoch(row | self.timed.corrections(), best)

    def vectors(self) -> Vectors:
        """The vectors as they are now."""
        found = Vectors(self.words, self.model.vectors, self.counts, subwords=self._subwords())
        found.normalization = self.normalization
        return found

    def _subwords(self) -> Subwords | None:
        if self.parts is None:
            return None
        table, ngrams = self.model.input_vectors, _ngrams(self.options.model)
        return Subwords(ngrams, table, len(self.words), self.parts.buckets)

    def trained(self) -> TrainedWordVectors:
        """The vectors, with all that is needed to save them and to learn on."""
        options = self.options.model_dump(exclude_none=True)
        data: dict[str, Any] = {
            "sources": self.sources,
            "tokens": self.options.data.tokens,
            "words": self.all_words,
            "vocabulary": len(self.words),
        }
        if self.normalization != "none":
            data["normalization"] = self.normalization
        config: dict[str, Any] = {
            "model": asdict(self.model.config),
            "options": options,
            "data": data,
            "metrics": self.metrics | {"unknown_rate": self.unknown.train},
        }
        if self.model.config.objective == "hierarchical-softmax":
            lengths = self.model.code_lengths()
            mean = float(lengths @ self.counts / self.counts.sum())
            config["data"] |= {"code_length": {"shortest": int(lengths.min()), "longest": int(lengths.max()), "mean": mean}}
        if self.parts is not None:
            config["data"]["ngrams"] = len(self.parts.buckets)
        vectors = self.vectors()
        if self.start is not None:
            config["drift"] = _drift(self.start, vectors.array)
            config["data"] |= {"new_words": len(self.words) - len(self.start), "before": self.start.config.get("data")}
        return TrainedWordVectors(
            vectors.words,
            vectors.array,
            self.counts,
            subwords=vectors.subwords,
            outputs=self.model.output_vectors,
            rare=self.rare,
            phrases=self.phrases,
            config=config,
        )


def _check(given: ObjectiveOptions) -> None:
    if given.subwords and given.objective == "softmax":
        raise ConfigError(
            "--subwords goes with --objective negative-sampling or hierarchical-softmax, not with the full softmax"
        )
    if given.subwords and given.min_ngram > given.max_ngram:
        raise ConfigError(f"--min-ngram {given.min_ngram} is above --max-ngram {given.max_ngram}: there are no such parts")


def _ngrams(given: ObjectiveOptions) -> NGrams:
    return NGrams(given.min_ngram, given.max_ngram, given.buckets)


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
