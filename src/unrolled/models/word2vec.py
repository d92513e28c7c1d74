"""Word2vec as two tables and a step: what `kernels/word2vec.py` needs, made of a configuration and word counts.

model = Word2Vec(config, counts, seed=1)
desk, = model.desks([1])                               # one for each thread, with a seed each
found = model.train(ids, rates=(0.025, 0.02), desk=desk)
model.vectors                                          # (V, D)
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from unrolled.errors import ConfigError, ShapeError
from unrolled.kernels.bounds import check_ids, check_kind, check_shape, check_starts
from unrolled.kernels.huffman import huffman
from unrolled.kernels.ngrams import means_of_rows
from unrolled.kernels.noise import alias_table
from unrolled.kernels.stretch import NEAR_ROOT, Desk, Objective, Rule, new_desk
from unrolled.kernels.subwords import train_parts
from unrolled.kernels.window import padded, table
from unrolled.kernels.word2vec import train_stretch

__all__ = ["STRETCH", "Desk", "Trained", "Word2Vec", "Word2VecConfig", "WordParts"]

#: Ids trained on in one call, some hundredths of a second.
STRETCH = 50_000
#: Most words of a full softmax: each step goes through all of them.
_MOST_SOFTMAX = 50_000
_NOTHING = np.zeros(0, np.uint64), np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int8)


@dataclass(frozen=True)
class Word2VecConfig:
    """Sizes and objective: see `options/word_vectors.py` for what each means."""

    n_words: int
    vector_size: int = 100
    architecture: str = "skip-gram"
    objective: str = "negative-sampling"
    context: str = "around"
    window: int = 5
    negatives: int = 5
    noise_exponent: float = 0.75
    subsample: float = 1e-3
    exact: bool = False
    cbow_gradient: str = "divided"
    subwords: bool = False
    min_ngram: int = 3
    max_ngram: int = 6
    buckets: int = 2_000_000


class WordParts(Protocol):
    """What words are made of, with sub-words: see `features.subwords.Parts`."""

    buckets: np.ndarray
    starts: np.ndarray
    rows: np.ndarray


class Trained(NamedTuple):
    """words read, inputs trained, loss summed over the inputs in nats."""

    words: int
    inputs: int
    loss: float


class Word2Vec:
    """Two tables: inputs, whose rows are the word vectors, and outputs, a row for each word or inner node of the tree.

    With sub-words, the inputs go on with a row for each bucket of n-grams, and a word's vector is the mean of its parts.

    Args:
        config: sizes and objective.
        counts: (V,) how often each word stands in the text.
        seed: of the vectors' start, uniform in +-1/2D as word2vec has it; outputs start at zero.
        parts: what each word is made of, if the configuration asks for sub-words.

    Raises:
        ConfigError: sizes or counts below their least, or parts without the option.
        ShapeError: parts that are no rows of the table.
    """

    def __init__(self, config: Word2VecConfig, counts: np.ndarray, seed: int = 1, parts: WordParts | None = None) -> None:
        if len(counts) != config.n_words or config.n_words < 2:
            raise ConfigError(f"word2vec needs two words or more, and a count for each: {config.n_words}, {len(counts)}")
        sizes = tuple(map(operator.index, (config.vector_size, config.window, config.negatives)))
        if min(sizes) < 1 or np.min(counts) < 0:
            raise ConfigError(
                f"word2vec needs vectors, a window and negatives of at least 1, and counts of at least 0: got "
                f"{config.vector_size}, {config.window}, {config.negatives}, {np.min(counts)}"
            )
        if config.objective == "softmax" and config.n_words > _MOST_SOFTMAX:
            raise ConfigError(
                f"the full softmax goes through all {config.n_words:,} words at each step. Take --objective "
                f"negative-sampling, or at most {_MOST_SOFTMAX:,} words with --vocabulary-size"
            )
        if config.subwords != (parts is not None) or (config.subwords and config.objective == "softmax"):
            raise ConfigError("sub-words go with negative sampling or the hierarchical softmax: leave out one of the two")
        self.config, self.counts, self._parts = config, np.asarray(counts, np.int64), parts
        self._has_bias = config.objective == "softmax" and config.context == "left" and config.architecture == "cbow"
        columns = padded(config.vector_size + self._has_bias)
        rows = config.n_words + (len(parts.buckets) if parts else 0)
        if parts is not None:
            check_shape("starts of parts", parts.starts.shape, (config.n_words + 1,))
            check_starts("starts of parts", parts.starts, len(parts.rows))
            check_kind("rows of parts", parts.rows, np.int32)
            check_ids("rows of parts", parts.rows, rows)
        self.inputs, self.outputs = table(rows, columns), table(config.n_words, columns)
        random = np.random.default_rng(seed)
        for first in range(0, rows, 65_536):
            some = self.input_vectors[first : first + 65_536]
            some[:] = (random.random(some.shape, np.float32) - np.float32(0.5)) / np.float32(config.vector_size)
        self._keep = _kept(self.counts, config.subsample)
        self._objective = self._make_objective()
        self._targets = self._most_targets()

    @property
    def input_vectors(self) -> np.ndarray:
        """The inputs (V or V + B, D), a view."""
        return self.inputs[:, : self.config.vector_size]

    @property
    def vectors(self) -> np.ndarray:
        """The word vectors (V, D): a view, or put together from their parts."""
        if self._parts is None:
            return self.input_vectors
        found = np.empty((self.config.n_words, self.config.vector_size), np.float32)
        means_of_rows(self._parts.starts, self._parts.rows, self.input_vectors, found)
        return found

    @property
    def output_vectors(self) -> np.ndarray:
        """The outputs (V or V - 1, D), a view; with a bias in a last column where the objective has one."""
        rows = self.config.n_words - (self.config.objective == "hierarchical-softmax")
        return self.outputs[:rows, : self.config.vector_size + self._has_bias]

    def code_lengths(self) -> np.ndarray:
        """Turns on the way from the root to each word (V,)."""
        return np.diff(self._objective.paths)

    def take_over(
        self, inputs: np.ndarray, outputs: np.ndarray, counts: np.ndarray, buckets: np.ndarray | None = None
    ) -> None:
        """Begin with the tables of an earlier model whose words are the first of this one's, with the counts it had then.

        An inner node of the tree is carried over where it still tells the same two sets of old words apart, whatever new
        words have joined them; its vector is turned round if the sets have changed sides. Other nodes begin at zero.
        ConfigError for tables of other sizes, counts below 0, and buckets that are not among this one's.
        """
        old, n_buckets = len(counts), 0 if buckets is None else len(buckets)
        if old < 2 or np.min(counts) < 0:
            raise ConfigError(f"vectors to learn on from need two words or more, and counts of at least 0; got {old} words")
        if buckets is not None and (self._parts is None or not np.isin(buckets, self._parts.buckets).all()):
            raise ConfigError("the n-grams to learn on from are not among those of the words: take the same n-gram options")
        if old > self.config.n_words or inputs.shape != (old + n_buckets, self.config.vector_size):
            raise ConfigError(f"tables of {inputs.shape} numbers cannot become {self.input_vectors.shape}")
        self.input_vectors[:old] = inputs[:old]
        if buckets is not None and self._parts is not None:
            self.input_vectors[self.config.n_words + np.searchsorted(self._parts.buckets, buckets)] = inputs[old:]
        if self.config.objective != "hierarchical-softmax":
            self.output_vectors[:old] = outputs
            return
        before = {sides: row for row, sides in enumerate(_sides(huffman(np.asarray(counts)), old))}
        paths = self._objective.paths, self._objective.nodes, self._objective.turns
        for row, (heavier, lighter) in enumerate(_sides(paths, old)):
            if (heavier, lighter) in before:
                self.output_vectors[row] = outputs[before[heavier, lighter]]
            elif (lighter, heavier) in before:
                self.output_vectors[row] = -outputs[before[lighter, heavier]]

    def _make_objective(self) -> Objective:
        noise, paths, nodes, turns = _NOTHING
        negatives, kind = 0, self.config.objective
        if kind == "negative-sampling":
            negatives, noise = self.config.negatives, alias_table(np.maximum(self.counts, 1) ** self.config.noise_exponent)
        elif kind == "hierarchical-softmax":
            paths, nodes, turns = huffman(self.counts)
        return Objective(
            negatives, noise, paths, nodes, turns, kind == "softmax", self.config.vector_size if self._has_bias else -1
        )

    def _most_targets(self) -> int:
        kind = self.config.objective
        if kind == "softmax":
            return -(-self.config.n_words // 2)  # a desk has room for two words' targets; here one takes all of it
        return self.config.negatives + 1 if kind == "negative-sampling" else int(self.code_lengths().max())

    def desks(self, seeds: Sequence[int]) -> list[Desk]:
        """What threads work with, one for each seed. With a tree, several of them get copies of its upper nodes, which lie
        behind the other outputs.
        """
        threads, columns = len(seeds), self.inputs.shape[1]
        copies = min(NEAR_ROOT, self.config.n_words - 1)
        if self.config.objective != "hierarchical-softmax" or threads == 1:
            copies = 0
        n_words = self.config.n_words
        before, self.outputs = self.outputs, table(n_words + threads * copies, columns)
        self.outputs[:n_words] = before[:n_words]
        return [
            new_desk(seed, STRETCH, self._targets, columns, (n_words + k * copies, copies, threads))
            for k, seed in enumerate(seeds)
        ]

    def train(self, ids: np.ndarray, rates: tuple[float, float], desk: Desk) -> Trained:
        """Train on at most STRETCH ids (N,) int32, -1 between sentences, the learning rate going from one to the other.

        Threads may call this at once, each with its own desk; it works without the interpreter's lock. ShapeError for ids
        out of range, and for a desk of another model, or from before the last call of `desks`.
        """
        self._check(ids, desk)
        config = self.config
        rule = Rule(
            config.architecture == "cbow",
            config.cbow_gradient == "divided",
            config.window,
            config.context == "left",
            not config.exact,
        )
        tables = self.inputs.reshape(-1), self.outputs.reshape(-1), self.inputs.shape[1]
        both = np.array(rates, np.float64)
        check_shape("rates", both.shape, (2,))
        rest = *tables, rule, self._objective, both, desk
        if self._parts is None:
            return Trained(*train_stretch(ids, self._keep, *rest))
        return Trained(*train_parts(ids, self._keep, self._parts.starts, self._parts.rows, *rest))

    def _check(self, ids: np.ndarray, desk: Desk) -> None:
        check_shape("ids", ids.shape, (None,))
        check_kind("ids", ids, np.int32)
        check_ids("ids", ids, self.config.n_words, least=-1)
        if not isinstance(desk, Desk) or desk.own.shape != (3,):
            raise ShapeError("word2vec trains with a desk that `desks` has made")
        if len(ids) > len(desk.kept):
            raise ShapeError(f"ids: at most {len(desk.kept)} at once, got {len(ids)}")
        columns, (first, copies, threads) = self.inputs.shape[1], desk.own.tolist()
        fresh = new_desk(0, 0, self._targets, columns, (first, copies, threads)) if 0 <= copies <= NEAR_ROOT else None
        if copies:
            fits = fresh is not None and self.config.n_words <= first <= len(self.outputs) - copies and threads > 0
        else:
            fits = fresh is not None
        for part, expected in zip(desk, fresh or desk, strict=True):
            same = part.dtype == expected.dtype and part.flags.c_contiguous and part.flags.writeable
            fits = fits and same and (part is desk.kept or part.shape == expected.shape)
        if not fits or desk.kept.ndim != 1:
            raise ShapeError("the desk belongs to another model, or to fewer threads: ask for new ones with `desks`")


def _kept(counts: np.ndarray, part: float) -> np.ndarray:
    """Of 2^32, how often each word is kept: sqrt(t / f) + t / f, for a frequency f and the threshold t."""
    if part == 0:
        return np.full(len(counts), 2**32 - 1, np.uint32)
    ratio = part * counts.sum() / np.maximum(counts, 1)
    return (np.minimum(np.sqrt(ratio) + ratio, 1) * (2**32 - 1)).astype(np.uint32)


def _sides(tree: tuple[np.ndarray, np.ndarray, np.ndarray], old: int) -> list[tuple[int, int]]:
    """For each inner node of a tree the first `old` words on either side, as sums of a random number for each."""
    paths, nodes, turns = tree
    n_words = len(paths) - 1
    numbers = np.zeros(n_words, np.uint64)
    numbers[:old] = np.random.default_rng(0).integers(1, 2**63, size=old, dtype=np.uint64)
    each = np.repeat(numbers, np.diff(paths))
    found = []
    for side in (1, -1):
        sums, here = np.zeros(n_words - 1, np.uint64), turns == side
        np.add.at(sums, nodes[here], each[here])
        found.append(sums.tolist())
    return list(zip(*found, strict=True))
