"""Neighbours among millions of words without looking at all of them: a graph of near words (HNSW, Malkov and Yashunin 2016,
arXiv:1603.09320), by the package voyager. Some neighbours are missed; how many is measured when the index is made.

made = make_index(vectors, "vectors.voy")            # made.recall: of the ten nearest words, how many are found
index = NeighborIndex(vectors, "vectors.voy")
index.neighbors_of(["king"], n=10)
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unrolled.errors import DataError, MissingExtra
from unrolled.folders import write_bytes
from unrolled.tasks.vectors import Neighbor, Vectors

__all__ = ["Made", "NeighborIndex", "make_index"]

#: Words whose neighbours are compared with the exact ones, and how many of each.
_SAMPLE, _NEAREST = 500, 10
#: Words that are entered together.
_WORDS = 1 << 16
#: How far the search goes on: nearest words so far that are kept.
_DEPTH = 200


class Made(NamedTuple):
    """recall: the part of the ten nearest words that is found, over a sample; per_second: questions that it answers, and
    that the exact search does.
    """

    words: int
    recall: float
    seconds: float
    per_second: float
    exact_per_second: float


def _voyager() -> Any:
    try:
        return importlib.import_module("voyager")
    except ImportError:
        raise MissingExtra("voyager", "ann", "An index of neighbours") from None


def make_index(vectors: Vectors, path: str | Path, *, threads: int = -1, seed: int = 1) -> Made:
    """Write an index of all words to a file, in voyager's own format, and measure it. threads: -1 for all cores."""
    voyager, began = _voyager(), time.perf_counter()
    index = voyager.Index(voyager.Space.Cosine, vectors.size, 16, 200, seed % 2**31, len(vectors))
    for first in range(0, len(vectors), _WORDS):
        some = np.ascontiguousarray(vectors.array[first : first + _WORDS], np.float32)
        index.add_items(some, np.arange(first, first + len(some)), num_threads=threads)
    write_bytes(Path(path), index.as_bytes())
    seconds = time.perf_counter() - began
    sample = np.random.default_rng(0).choice(len(vectors), min(_SAMPLE, len(vectors)), replace=False)
    asked = [vectors.words[row] for row in sample.tolist()]
    found = NeighborIndex(vectors, path)
    spent, answers = [], []
    for method in (found.neighbors_of, vectors.neighbors_of):
        start = time.perf_counter()
        answers.append([{near.word for near in some} for some in method(asked, _NEAREST)])
        spent.append(max(time.perf_counter() - start, 1e-9))
    hits = sum(len(a & b) for a, b in zip(*answers, strict=True))
    recall = hits / max(1, sum(map(len, answers[1])))
    return Made(len(vectors), recall, seconds, len(asked) / spent[0], len(asked) / spent[1])


class NeighborIndex:
    """An index in a file, and the vectors that it was made of. DataError if it is damaged or was made of others."""

    def __init__(self, vectors: Vectors, path: str | Path) -> None:
        voyager, self.vectors = _voyager(), vectors
        try:
            self._index = voyager.Index.load(str(path))
        except (RuntimeError, ValueError, OSError) as error:
            raise DataError(
                f"{path}: is no index of neighbours, or damaged ({error}). Make one: unrolled index MODEL --out FILE"
            ) from None
        if len(self._index) != len(vectors) or self._index.num_dimensions != vectors.size or not self._fits():
            raise DataError(
                f"{path}: is an index of other vectors, {len(self._index):,} of {self._index.num_dimensions} numbers. Make "
                "one of these: unrolled index MODEL --out FILE"
            )

    def _fits(self) -> bool:
        """Whether some of the vectors in the index point where the words' do."""
        rows = np.unique(np.linspace(0, len(self.vectors) - 1, 50).astype(int))
        held, own = self._index.get_vectors(rows), self.vectors.array[rows].astype(np.float32)
        cosines = (held * own).sum(1) / np.maximum(np.linalg.norm(held, axis=1) * np.linalg.norm(own, axis=1), 1e-30)
        return bool((cosines[np.linalg.norm(own, axis=1) > 0] > 0.999).all())

    def neighbors_of(self, words: Sequence[str], n: int = 10) -> list[list[Neighbor]]:
        """The n words with about the largest cosine to each word, itself left out. DataError for words without a vector."""
        self.vectors.all_known(words)
        k = min(n + 1, len(self.vectors))
        asked = np.stack([self.vectors[word] for word in words]).astype(np.float32)
        rows, distances = self._index.query(asked, k, query_ef=max(_DEPTH, k))
        found = []
        for word, near, far in zip(words, rows.tolist(), distances.tolist(), strict=True):
            named = [Neighbor(self.vectors.words[row], 1 - distance) for row, distance in zip(near, far, strict=True)]
            found.append([neighbor for neighbor in named if neighbor.word != word][:n])
        return found
