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


#: Chance of a column to start anew at a window.
_FRESH = 0.02


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


class Columns:
    """A stream of ids (N,) in `batch_size` columns and windows of `window` steps.

    Each epoch cuts the stream, closed to a ring, at another place. Now and then a column starts anew in the middle of the
    text, so that the model learns to begin: it is asked to whenever text is written without a prompt, and at the first
    token of every text it reads. Raises DataError if N < window.
    """

    def __init__(self, ids: np.ndarray, *, batch_size: int, window: int, begin: int, seed: int) -> None:
        if len(ids) < window:
            raise DataError(
                f"the training text has {len(ids)} tokens, less than one window of {window}. "
                f"Give more text, or a shorter window: -s window={max(2, len(ids) // 4)}"
            )
        self.ids, self.window, self.begin, self.seed = ids, window, begin, seed
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
        fresh = (np.random.default_rng([self.seed, epoch, k]).random(self.batch_size) < _FRESH) | (k == 0)
        taken[fresh, 0] = self.begin
        both = torch.from_numpy(taken)
        return TextBatch(both[:, :-1], both[:, 1:], torch.from_numpy(fresh))


class Sentences:
    """Lines (lists of ids), each ended by `end`, in batches of about batch_size * window tokens.

    Lines longer than `longest` are cut there in training.
    """

    def __init__(
        self, lines: Sequence[np.ndarray], *, tokens: int, begin: int, end: int, seed: int, longest: int = 1000
    ) -> None:
        if not lines:
            raise DataError("the training text has no lines that are not empty")
        self.lines = [np.append(line[:longest], end).astype(np.int64) for line in lines]
        self.begin, self.seed = begin, seed
        lengths = np.array([len(line) for line in self.lines])
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
        return pad_rows([self.lines[i] for i in group], self.begin)


def pad_rows(rows: Sequence[np.ndarray], begin: int) -> TextBatch:
    """Rows of target ids -> one fresh batch; inputs are `begin` and the targets but the last."""
    lengths = np.array([len(row) for row in rows])
    targets = np.full((len(rows), int(lengths.max())), begin + 1)
    for line, row in zip(targets, rows, strict=True):
        line[: len(row)] = row
    inputs = np.concatenate([np.full((len(rows), 1), begin), targets[:, :-1]], axis=1)
    fresh = torch.ones(len(rows), dtype=torch.bool)
    return TextBatch(torch.from_numpy(inputs), torch.from_numpy(targets), fresh, torch.from_numpy(lengths))


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
            whole = pad_rows([texts[i][start : start + window].astype(np.int64) for i in alive], begin)
            if start:
                whole.inputs[:, 0] = torch.tensor([int(texts[i][start - 1]) for i in alive])
            lengths = None if whole.lengths is None or bool((whole.lengths == window).all()) else whole.lengths
            yield alive, TextBatch(whole.inputs, whole.targets, whole.fresh if not start else ~whole.fresh, lengths)
