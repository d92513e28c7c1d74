"""Which symbols go with which: what a translation of a sentence may be made of, a vocabulary shortlist.

Learned from pairs of sentences by the first model of Brown et al. (1993, Computational Linguistics 19(2)): expectations of
how often a target symbol t stands for a source symbol s of the same pair, then probabilities from them, and again,

    c(s, t) = sum over pairs, over t in the target, of P(t | s) / sum over s' in the source of P(t | s')
    P(t | s) = c(s, t) / sum over t' of c(s, t')

The end of the source, a symbol like others, takes what belongs to no word. Kept are the likeliest t of each s, and symbols
that are frequent everywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from unrolled.errors import FolderError
from unrolled.folders import write_bytes

__all__ = ["Shortlist"]

#: Likeliest targets kept of each source symbol; symbols that stand on every list.
_LIKELY, _FREQUENT = 64, 100
#: Passes over the pairs; most pairs of symbols learned from, of more a part of the sentences is taken.
_PASSES, _ENTRIES = 5, 20_000_000


class Shortlist(NamedTuple):
    """likely (V_source, 64) int32: target symbols by falling P(t | s), -1 behind them; frequent (F,): the most frequent."""

    likely: np.ndarray
    frequent: np.ndarray

    @staticmethod
    def learned(sources: Sequence[np.ndarray], targets: Sequence[np.ndarray], n_source: int, n_target: int) -> Shortlist:
        """From the ids of pairs of sentences."""
        whole = sum(len(s) * len(t) for s, t in zip(sources, targets, strict=True))
        step = -(-whole // _ENTRIES)
        sources, targets = sources[::step], targets[::step]
        pairs = [(t[:, None] + s * np.int64(n_target)).ravel() for s, t in zip(sources, targets, strict=True)]
        sizes = np.repeat(list(map(len, sources)), list(map(len, targets)))
        keys, which = np.unique(np.concatenate(pairs), return_inverse=True)
        begins, source, p = sizes.cumsum() - sizes, keys // n_target, np.ones(len(keys))
        for _ in range(_PASSES):
            each = p[which]
            each /= np.repeat(np.add.reduceat(each, begins), sizes)
            counts = np.bincount(which, each)
            p = counts / np.bincount(source, counts)[source]
        order = np.lexsort((-p, source))
        place = np.arange(len(keys)) - np.searchsorted(source, source)
        kept, place = order[place < _LIKELY], place[place < _LIKELY]
        likely = np.full((n_source, _LIKELY), -1, np.int32)
        likely[source[kept], place] = keys[kept] % n_target
        often = np.bincount(np.concatenate(targets), minlength=n_target).argsort(kind="stable")[::-1]
        return Shortlist(likely, often[:_FREQUENT].astype(np.int32))

    def lists(
        self, rows: Sequence[np.ndarray], each: int, first: Sequence[int], wanted: Sequence[Collection[int]], padding: int
    ) -> np.ndarray:
        """For sources as ids the symbols that their translations may have, (B, C) int64, at least one `padding` behind.

        each: of each source symbol the so many likeliest; first: what every list begins with; wanted: of each source what
        its list must have besides.
        """
        found = []
        for row, more in zip(rows, wanted, strict=True):
            given = np.concatenate([self.likely[row, :each].ravel(), self.frequent, np.array(list(more), np.int32)])
            found.append(np.setdiff1d(given, [-1, *first]))
        table = np.full((len(found), len(first) + max(map(len, found)) + 1), padding, np.int64)
        table[:, : len(first)] = first
        for line, symbols in zip(table, found, strict=True):
            line[len(first) : len(first) + len(symbols)] = symbols
        return table

    def save(self, path: Path) -> None:
        """Write a safetensors file."""
        write_bytes(path, safetensors.numpy.save(self._asdict()))

    @staticmethod
    def load(path: Path, n_source: int, n_target: int) -> Shortlist:
        """Read what `save` wrote. FolderError if it is damaged, or for other vocabularies."""
        try:
            found = Shortlist(**safetensors.numpy.load(path.read_bytes()))
            fits = found.likely.shape == (n_source, _LIKELY) and max(found.likely.max(), found.frequent.max()) < n_target
        except (OSError, SafetensorError, TypeError, ValueError) as error:
            raise FolderError(f"{path}: is damaged ({error}). Copy the folder again.") from None
        if not fits:
            raise FolderError(f"{path}: does not go with the vocabularies beside it. Copy the folder again.")
        return found
