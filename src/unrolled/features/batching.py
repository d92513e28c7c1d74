"""Ids -> batches. Batch k of epoch e is a pure function of (seed, e, k): nothing else decides the order of the data.

`Columns` reads a corpus as one stream, in B columns side by side, window after window with the state carried:

    a b c d e f g h i j k l   ->   window 0    window 1        column 0 reads a b c d e f, column 1 reads g h i j k l
    B = 2, window = 3              a b c       d e f           inputs are the targets one step earlier,
                                   g h i       j k l           <bos> (the zero vector) before the first

`Sentences` reads lines of their own: <bos> a b c -> a b c <eos>, state reset at each, similar lengths together.

Ids may lie in a file that is mapped into memory: only what a batch needs is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unrolled.errors import DataError

__all__ = ["Columns", "Sentences", "TextBatch", "bounds_of", "read_windows"]


#: Chance of a column to start anew at a window of the training.
_RESTARTS = 0.04


@dataclass(frozen=True)
class TextBatch:
    """inputs and targets (B, T), int64; lengths (B,) or None where all rows are full.

    fresh: (B,), True for rows that start anew: the state of the batch before is not carried into them.
    """

    inputs: Tensor
    targets: Tensor
    fresh: Tensor
    lengths: Tensor | None = None

    @property
    def n_tokens(self) -> int:
        """Targets that count."""
        return self.targets.numel() if self.lengths is None else int(self.lengths.sum())

    def to(self, device: torch.device) -> TextBatch:
        """The batch on a device; itself if it is there."""
        if self.inputs.device == device:
            return self
        lengths = None if self.lengths is None else self.lengths.to(device)
        return TextBatch(self.inputs.to(device), self.targets.to(device), self.fresh.to(device), lengths)

    def shard(self, rank: int, size: int) -> TextBatch:
        """Rows rank, rank + size, ...: what one of `size` processes reads; may be none."""
        lengths = None if self.lengths is None else self.lengths[rank::size]
        return TextBatch(self.inputs[rank::size], self.targets[rank::size], self.fresh[rank::size], lengths)


class Columns:
    """A stream of ids (N,) in `batch_size` columns and windows of `window` steps.

    Each epoch cuts the stream, closed to a ring, at another place. Now and then a column starts anew in the middle of the
    text, so that the model learns to begin: it is asked to whenever text is written without a prompt, and at the first
    token of every text it reads (`restarts` is the chance at a window). Raises DataError if N < window.
    """

    def __init__(
        self, ids: np.ndarray, *, batch_size: int, window: int, begin: int, seed: int, restarts: float = _RESTARTS
    ) -> None:
        if len(ids) < window:
            raise DataError(
                f"the training text has {len(ids)} tokens, less than one window of {window}. "
                f"Give more text, or a shorter window: -s window={max(2, len(ids) // 4)}"
            )
        self.ids, self.window, self.begin, self.seed, self.restarts = ids, window, begin, seed, restarts
        self.batch_size = max(1, min(batch_size, len(ids) // window))
        self.column = len(ids) // self.batch_size

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-self.column // self.window)

    def batch(self, epoch: int, k: int) -> TextBatch:
        """Batch k of the epoch; all rows of the first are fresh."""
        offset = int(np.random.default_rng([self.seed, epoch]).integers(len(self.ids))) if epoch else 0
        start = k * self.window
        steps = min(self.window, self.column - start)
        first = offset + np.arange(self.batch_size)[:, None] * self.column + start
        taken = self.ids.take(first + np.arange(-1, steps), mode="wrap").astype(np.int64)
        fresh = (np.random.default_rng([self.seed, epoch, k]).random(self.batch_size) < self.restarts) | (k == 0)
        taken[fresh, 0] = self.begin
        both = torch.from_numpy(taken)
        return TextBatch(both[:, :-1], both[:, 1:], torch.from_numpy(fresh))


class Sentences:
    """Lines of ids (N,), each ended by `end`, in batches of at most `tokens` targets, padding included.

    Of lines longer than `longest` every piece is read, each from the zero state: only the first begins with `begin`,
    only the last ends with `end`.
    """

    def __init__(self, ids: np.ndarray, *, tokens: int, begin: int, end: int, seed: int, longest: int = 1000) -> None:
        stops = _positions(ids, end) + 1
        if not len(stops):
            raise DataError("the training text has no lines that are not empty")
        self.ids, self.begin, self.seed = ids, begin, seed
        lengths = np.diff(stops, prepend=0)
        pieces = -(-lengths // longest)  # of each line
        which = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        self._starts = np.repeat(stops - lengths, pieces) + which * longest
        self._lengths = np.minimum(longest, np.repeat(stops, pieces) - self._starts)
        self._first = which == 0
        self._order = np.argsort(self._lengths, kind="stable")
        self._bounds = bounds_of(self._lengths[self._order], tokens)
        self._shuffled: tuple[int, np.ndarray] = (-1, np.zeros(0))

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def batch(self, epoch: int, k: int) -> TextBatch:
        """Batch k of the epoch: groups of similar length, in an order of the epoch's own."""
        if self._shuffled[0] != epoch:
            self._shuffled = epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self))
        group = self._shuffled[1][k]
        return _pad_rows([self._row(i) for i in self._order[self._bounds[group] : self._bounds[group + 1]]], self.begin)

    def _row(self, piece: int) -> np.ndarray:
        """What stands before the piece, and the piece."""
        start = self._starts[piece]
        before = self.begin if self._first[piece] else self.ids[start - 1]
        return np.append(np.int64(before), self.ids[start : start + self._lengths[piece]])


def _positions(ids: np.ndarray, wanted: int, block: int = 1 << 24) -> np.ndarray:
    """Where `wanted` stands in ids that may be longer than memory."""
    found = [at + np.flatnonzero(ids[at : at + block] == wanted) for at in range(0, len(ids), block)]
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


def bounds_of(lengths: np.ndarray, tokens: int) -> np.ndarray:
    """Cut ascending lengths into groups of n with n * longest <= tokens, or n = 1: where each group begins, and the end."""
    bounds = [0]
    while bounds[-1] < len(lengths):
        start = bounds[-1]
        ahead = lengths[start : start + tokens // int(lengths[start]) + 1]
        bounds.append(start + max(1, int(np.searchsorted(ahead * np.arange(1, len(ahead) + 1), tokens, side="right"))))
    return np.array(bounds)


def _pad_rows(rows: Sequence[np.ndarray], begin: int) -> TextBatch:
    """Rows of ids -> one fresh batch: all but the last id of a row are its inputs, all but the first its targets."""
    lengths = np.array([len(row) - 1 for row in rows])
    ids = np.full((len(rows), int(lengths.max()) + 1), begin + 1)  # padding
    for line, row in zip(ids, rows, strict=True):
        line[: len(row)] = row
    both, fresh = torch.from_numpy(ids), torch.ones(len(rows), dtype=torch.bool)
    return TextBatch(both[:, :-1], both[:, 1:], fresh, torch.from_numpy(lengths))


def read_windows(
    texts: Sequence[np.ndarray], *, begin: int, batch_size: int, window: int
) -> Iterator[tuple[list[int], TextBatch]]:
    """Read separate texts from first to last id: (which texts, batch), windows of a group in order, the first fresh.

    A batch only groups texts, longest first, so every id is a target once and no text sees another.
    """
    order = sorted((i for i in range(len(texts)) if len(texts[i])), key=lambda i: -len(texts[i]))
    for at in range(0, len(order), batch_size):
        group = order[at : at + batch_size]
        for start in range(0, len(texts[group[0]]), window):
            alive = [i for i in group if len(texts[i]) > start]
            rows = [np.append(texts[i][start - 1] if start else begin, texts[i][start : start + window]) for i in alive]
            batch = _pad_rows([row.astype(np.int64) for row in rows], begin)
            full = batch.lengths is not None and bool((batch.lengths == batch.inputs.shape[1]).all())
            fresh = batch.fresh if not start else ~batch.fresh
            yield alive, TextBatch(batch.inputs, batch.targets, fresh, None if full else batch.lengths)
