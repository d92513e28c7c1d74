"""Sub-words: a word's vector as the mean of rows for its character n-grams, so that words never seen have one too.

ngrams = NGrams(3, 6, 2_000_000)
counts, buckets = ngrams.of(["where"])             # <wh whe her ere re> <whe ...
parts = Parts(words, ngrams)                       # rows of a table: the words', then those of the buckets they touch
subwords = Subwords(ngrams, table, len(words), parts.buckets)
subwords.vectors_of(["whereabouts"])               # (1, D)
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unrolled.errors import ShapeError
from unrolled.kernels.bounds import check_ids, check_kind, check_shape
from unrolled.kernels.ngrams import hash_ngrams, means_of_rows

__all__ = ["NGrams", "Parts", "Subwords"]

#: fastText's mark for the end of a line, which has no n-grams.
_LINE_END = "</s>"
#: Words that are looked at together.
_WORDS = 65_536


@dataclass(frozen=True)
class NGrams:
    """Which n-grams a word has: of so many characters, each in one of so many buckets. longest 0: none.

    ShapeError for a length below 0, or for n-grams without buckets.
    """

    shortest: int
    longest: int
    n_buckets: int

    def __post_init__(self) -> None:
        sizes = tuple(map(operator.index, (self.shortest, self.longest, self.n_buckets)))
        if min(sizes) < 0 or not bool(self.longest) <= self.n_buckets < 2**32:
            raise ShapeError(
                f"n-grams of {self.shortest} to {self.longest} characters need 1 to {2**32 - 1} buckets, "
                f"got {self.n_buckets}"
            )

    def of(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """How many n-grams each word has (n,), and the buckets of all of them, one word after another, uint32."""
        counts, found = np.zeros(len(words), np.int64), [np.zeros(0, np.uint32)]
        for first in range(0, len(words) if self.longest else 0, _WORDS):
            marked = [b"" if w == _LINE_END else f"<{w}>".encode("utf-8", "replace") for w in words[first : first + _WORDS]]
            letters, ends = np.frombuffer(b"".join(marked), np.uint8), np.cumsum([len(word) for word in marked])
            longest = min(self.longest, max(map(len, marked)))
            room = np.empty(len(letters) * longest, np.uint32)
            here = counts[first : first + _WORDS]
            n = hash_ngrams(letters, ends, self.shortest, longest, self.n_buckets, here, room)
            found.append(room[:n].copy())
        return counts, np.concatenate(found)


def _with_own(own: np.ndarray, counts: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """starts (n + 1,) and rows: each word's own row, if it is not below 0, then the others."""
    has_own = own >= 0
    starts = np.append(0, np.cumsum(counts + has_own))
    rows = np.empty(starts[-1], np.int32)
    at_own = starts[:-1][has_own]
    rows[at_own] = own[has_own]
    rest = np.ones(len(rows), bool)
    rest[at_own] = False
    rows[rest] = others
    return starts, rows


class Parts:
    """The rows of each word of a vocabulary: its own, then those of its n-grams.

    buckets (B,): the buckets that the words touch, in order; the table has a row for each behind those of the words.
    starts (V + 1,), rows: the rows of word w are rows[starts[w] : starts[w + 1]].
    """

    def __init__(self, words: Sequence[str], ngrams: NGrams) -> None:
        counts, hashed = ngrams.of(words)
        self.buckets, places = np.unique(hashed, return_inverse=True)
        self.starts, self.rows = _with_own(np.arange(len(words)), counts, len(words) + places)


class Subwords:
    """A table (V + B, D) of rows for V words and B buckets, and the vectors that it gives any word.

    buckets (B,): in order, which these are; None: all of them. ShapeError where table and buckets do not fit.
    """

    def __init__(self, ngrams: NGrams, table: np.ndarray, n_words: int, buckets: np.ndarray | None = None) -> None:
        check_kind("the table", table, np.float32)
        check_shape("the table", table.shape, (n_words + (ngrams.n_buckets if buckets is None else len(buckets)), None))
        if buckets is not None:
            check_shape("buckets", buckets.shape, (None,))
            check_ids("buckets", buckets, ngrams.n_buckets)
            if bool((buckets[1:] <= buckets[:-1]).any()):
                raise ShapeError("buckets must rise: each stands once, in order")
        self.ngrams, self.table, self.n_words, self.buckets = ngrams, table, n_words, buckets

    def has(self, word: str) -> bool:
        """Whether the word has an n-gram that the table has a row for."""
        return bool((self._rows(self.ngrams.of([word])[1]) >= 0).any())

    def vectors_of(self, words: Sequence[str], own: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """The vectors (n, D): the mean of the word's n-grams; one without a row counts as zero. own (n,): rows of the words
        themselves, which join the mean, -1 for none.
        """
        counts, hashed = self.ngrams.of(words)
        given = np.full(len(words), -1) if own is None else np.asarray(own)
        check_shape("own rows", given.shape, (len(words),))
        check_ids("own rows", given, len(self.table), least=-1)
        starts, rows = _with_own(given, counts, self._rows(hashed))
        out = np.empty((len(words), self.table.shape[1]), np.float32)
        means_of_rows(starts, rows, self.table, out)
        return out

    def _rows(self, hashed: np.ndarray) -> np.ndarray:
        """The row of each bucket, -1 for none."""
        if self.buckets is None:
            return self.n_words + hashed.astype(np.int64)
        places = np.searchsorted(self.buckets, hashed)
        known = places < len(self.buckets)
        known[known] = self.buckets[places[known]] == hashed[known]
        return np.where(known, self.n_words + places, -1)
