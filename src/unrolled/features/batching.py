"""Ids -> batches. Batch k of epoch e is a pure function of (seed, e, k): nothing else decides the order of the data.

`Columns` reads a corpus as one stream, in B columns side by side, window after window with the state carried:

    a b c d e f g h i j k l   ->   window 0    window 1        column 0 reads a b c d e f, column 1 reads g h i j k l
    B = 2, window = 3              a b c       d e f           inputs are the targets one step earlier,
                                   g h i       j k l           <bos> (the zero vector) before the first

`Sentences` reads lines of their own: <bos> a b c -> a b c <eos>, state reset at each, similar lengths together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unrolled.errors import DataError

__all__ = ["Columns", "Sentences", "TextBatch", "read_windows"]


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
    """Lines (lists of ids), each ended by `end`, in batches of about batch_size * window tokens.

    Of lines longer than `longest` every piece is read, each from the zero state: only the first begins with `begin`,
    only the last ends with `end`.
    """

    def __init__(
        self, lines: Sequence[np.ndarray], *, tokens: int, begin: int, end: int, seed: int, longest: int = 1000
    ) -> None:
        if not lines:
            raise DataError("the training text has no lines that are not empty")
        whole = [np.concatenate(([begin], line, [end])).astype(np.int64) for line in lines]
        self.pieces = [line[at : at + longest + 1] for line in whole for at in range(0, len(line) - 1, longest)]
        self.begin, self.seed = begin, seed
        lengths = np.array([len(piece) - 1 for piece in self.pieces])
        order = np.argsort(lengths, kind="stable")
        self._groups: list[np.ndarray] = []
        start = 0
        for i in range(1, len(order) + 1):
            if i == len(order) or (i + 1 - start) * lengths[order[i]] > tokens:
                self._groups.append(order[start:i])
                start = i

    def __len__(self) -> int:
        return len(self._groups)

    def batch(self, epoch: int, k: int) -> TextBatch:
        """Batch k of the epoch: groups of similar length, in an order of the epoch's own."""
        group = self._groups[np.random.default_rng([self.seed, epoch]).permutation(len(self._groups))[k]]
        return _pad_rows([self.pieces[i] for i in group], self.begin)


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
