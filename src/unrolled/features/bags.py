"""Texts -> bags of features: the words of a vocabulary and, if wanted, the word n-grams that occur often enough.

features = TextFeatures.learned(texts, "words-and-marks", min_count=2, longest=2)
bags = features.encode(["not bad at all"])                # rows of the words, then of the n-grams, of each text

An n-gram is known by a hash of 64 bits, so that two of them are never mistaken for each other in practice; the row of the
k-th known n-gram is k rows behind the last word.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from unrolled.data.text import Document
from unrolled.data.valid_text import check_text
from unrolled.errors import DataError, ShapeError
from unrolled.features.numbering import Spool
from unrolled.features.words import LEFT_OUT, READERS, Reader, choose, read_words, reader_for, rows_of
from unrolled.kernels.bags import look_up, n_gram_keys, spread

__all__ = ["Bags", "TextFeatures", "as_lines", "inverse_frequency"]


class Bags(NamedTuple):
    """features (N,) int32, those of text i at starts[i]:starts[i + 1]; the first n_words[i] of them are words, in order.

    unknown_share: of the words of all texts, those that are not in the vocabulary.
    """

    features: np.ndarray
    starts: np.ndarray
    n_words: np.ndarray
    unknown_share: float = 0.0

    def rows(self) -> list[np.ndarray]:
        """The features of each text."""
        return np.split(self.features, self.starts[1:-1]) if len(self.n_words) else []


class _Rows(NamedTuple):
    """The words of texts one after another: those of text i at starts[i]:starts[i + 1]."""

    values: np.ndarray
    starts: np.ndarray

    @staticmethod
    def of(numbers: np.ndarray, n: int) -> _Rows:
        """From numbers (N,) with -1 at the end of each of n lines."""
        ends = np.flatnonzero(numbers == -1)[:n]
        starts = np.concatenate([[0], ends + 1 - np.arange(1, len(ends) + 1)])
        inside = numbers[: ends[-1] + 1] if n else numbers[:0]
        return _Rows(inside[inside != -1], starts)

    def looked_up(self, rows: np.ndarray) -> _Rows:
        """Each value replaced by its row, those LEFT_OUT left out."""
        return _Rows(rows[self.values], self.starts).known()

    def known(self) -> _Rows:
        """The same without what is LEFT_OUT."""
        kept = self.values != LEFT_OUT
        before = np.concatenate([[0], np.cumsum(kept)])
        return _Rows(self.values[kept], before[self.starts])


def as_lines(texts: Sequence[str], name: str = "texts") -> Document:
    """One text a line: what ends a line inside of a text is a blank. DataError for what is no text."""
    for number, text in enumerate(texts, start=1):
        check_text(text, f"{name}: text {number}")
    return Document(name, "".join(f"{text.replace(chr(10), ' ').replace(chr(13), ' ')}\n" for text in texts))


@dataclass(frozen=True)
class TextFeatures:
    """What a text is turned into.

    tokens: what a word is, a name in READERS; words: the vocabulary, most frequent first; longest: words of the longest
    n-gram; keys (K,) uint64: the known n-grams, ascending; normalization: "nfc", or "none" in models of older versions.
    ShapeError for keys of another kind.
    """

    tokens: str
    words: list[str]
    longest: int
    keys: np.ndarray
    normalization: str = "nfc"

    def __post_init__(self) -> None:
        if self.keys.ndim != 1 or self.keys.dtype != np.uint64 or operator.index(self.longest) < 0:
            raise ShapeError(
                f"n-grams are known by keys uint64 (K,) and a length of at least 0, got {self.keys.dtype} "
                f"{self.keys.shape} and {self.longest}"
            )

    def __len__(self) -> int:
        return len(self.words) + len(self.keys)

    @staticmethod
    def learned(
        texts: Sequence[str],
        tokens: str = "words-and-marks",
        *,
        min_count: int = 2,
        most: int | None = None,
        longest: int = 2,
    ) -> tuple[TextFeatures, Bags]:
        """The features of training texts, and their bags: words and n-grams seen `min_count` times or more."""
        read = read_words([as_lines(texts)], READERS[tokens], Spool())
        kept = choose(read.counts, min_count=min_count, most=most)
        if not len(kept):
            raise DataError(
                f"no word of the training texts occurs {min_count} times. Take a smaller --min-count, or give more text."
            )
        rows = _Rows.of(read.numbers, len(texts)).looked_up(rows_of(kept, len(read)))
        keys, key_starts = _keys(rows, longest)
        different, which, counts = np.unique(keys, return_inverse=True, return_counts=True)
        often = counts >= max(2, min_count)
        features = TextFeatures(tokens, read.spelled(kept), longest, different[often])
        numbers = np.where(often, len(kept) + np.cumsum(often) - 1, LEFT_OUT).astype(np.int32)
        bags = _joined(rows, _Rows(numbers[which], key_starts).known())
        return features, bags._replace(unknown_share=_missing(bags, read.numbers))

    @property
    def _reader(self) -> Reader:
        return reader_for(self.tokens, self.normalization)

    def encode(self, texts: Sequence[str]) -> Bags:
        """The bags of other texts; words and n-grams that are not known are left out."""
        read = read_words([as_lines(texts)], self._reader, Spool())
        spelled = read.spelled(range(len(read)))
        rows = np.fromiter((self._row.get(word, LEFT_OUT) for word in spelled), np.int32, len(spelled))
        known = _Rows.of(read.numbers, len(texts)).looked_up(rows)
        keys, key_starts = _keys(known, self.longest)
        bags = _joined(known, _Rows(self._known(keys), key_starts).known())
        return bags._replace(unknown_share=_missing(bags, read.numbers))

    def split(self, text: str) -> list[tuple[str, int]]:
        """The words of a text as they are written, normalized, and the row of each, LEFT_OUT where it has none."""
        reader = self._reader
        read = read_words([as_lines([text])], replace(reader, lower=False), Spool())
        words = read.spelled(read.numbers[read.numbers >= 0])
        _, lower = reader.tables("".join(set("".join(words))))
        known = ("".join(chr(lower[ord(letter)]) for letter in word) for word in words)
        return [(word, self._row.get(key, LEFT_OUT)) for word, key in zip(words, known, strict=True)]

    def spans(self, rows: np.ndarray) -> list[tuple[int, int, int]]:
        """The known n-grams in the rows of one text: row, place of the first word, number of words."""
        keys, _ = _keys(_Rows(rows, np.array([0, len(rows)])), self.longest)
        places = [(i, n) for i in range(len(rows)) for n in range(2, min(self.longest, len(rows) - i) + 1)]
        found = self._known(keys)
        return [(int(row), *place) for row, place in zip(found, places, strict=True) if row != LEFT_OUT]

    @cached_property
    def _row(self) -> dict[str, int]:
        return {word: row for row, word in enumerate(self.words)}

    @cached_property
    def _table(self) -> np.ndarray:
        """The hash table of the known n-grams, at most half full."""
        table = np.full(1 << (2 * len(self.keys) + 1).bit_length(), -1, np.int32)
        spread(self.keys, table)
        return table

    def _known(self, keys: np.ndarray) -> np.ndarray:
        """The row of each n-gram (M,), or LEFT_OUT."""
        places = np.empty(len(keys), np.int32)
        look_up(keys, self.keys, self._table, places)
        return np.where(places >= 0, places + len(self.words), LEFT_OUT).astype(np.int32)


def _missing(bags: Bags, numbers: np.ndarray) -> float:
    """The share of the words, as numbers (N,) with -1 at the end of each text, that the bags lack."""
    return 1 - float(bags.n_words.sum()) / max(1, int((numbers >= 0).sum())) if (numbers >= 0).any() else 0.0


def _joined(words: _Rows, grams: _Rows) -> Bags:
    """The words of each text, then its n-grams."""
    n_words, n_grams = np.diff(words.starts), np.diff(grams.starts)
    starts = np.concatenate([[0], np.cumsum(n_words + n_grams)])
    features = np.empty(starts[-1], np.int32)
    features[np.arange(len(words.values)) + np.repeat(grams.starts[:-1], n_words)] = words.values
    features[np.arange(len(grams.values)) + np.repeat(words.starts[1:], n_grams)] = grams.values
    return Bags(features, starts, n_words)


def _keys(rows: _Rows, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of all n-grams of the texts, and where those of each text begin."""
    longest = min(longest, int(np.diff(rows.starts).max(initial=0)))  # no text has longer ones
    keys, starts = np.empty(max(0, longest - 1) * len(rows.values), np.uint64), np.zeros(len(rows.starts), np.int64)
    n = n_gram_keys(rows.values, rows.starts, longest, keys, starts)
    return keys[:n], starts


def inverse_frequency(bags: Bags, n_features: int) -> np.ndarray:
    """idf: log(texts / texts with the feature) of each feature (n_features,) float32."""
    texts = np.repeat(np.arange(len(bags.n_words)), np.diff(bags.starts))
    pairs = np.unique(texts * np.int64(n_features) + bags.features)
    seen = np.bincount(pairs % n_features, minlength=n_features)
    return np.log((1 + len(bags.n_words)) / (1 + seen)).astype(np.float32)
