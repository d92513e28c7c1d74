"""Sequences of mixed lengths without padding: where each time step of each row lies.

Rows are sorted by length, longest first, and the steps follow each other; the first `batch_sizes[t]` rows are still
running at step t, so the active batch shrinks as sequences end:

    lengths 3, 1, 2   ->   rows sorted 0, 2, 1:   [r0 r2 r1 | r0 r2 | r0]   batch_sizes = [3, 2, 1],  N = 6

Padding is neither computed nor read. The reverse direction of a row starts at the row's own end.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from unrolled.layers.embedding import Lookup
from unrolled.types import State, is_traced, map_state

__all__ = ["Layout"]


@dataclass(frozen=True)
class Layout:
    """Where each time step of each row lies in the padding-free order. Made once per batch, shared by all layers.

    batch_sizes: number of rows still running at step t, never increasing, positive
    order: (B,) rows by falling length, or None where all rows have T steps
    forward, reverse: (N,) positions in the flattened (T * B) input, in running order of either direction
    traced: True where there are no numbers to lay out (`is_traced`): then only steps, rows and lengths (B,) are set, and
        `operator.py` makes the layout when the numbers are there
    """

    steps: int
    rows: int
    batch_sizes: tuple[int, ...]
    order: Tensor | None = None
    forward: Tensor | None = None
    reverse: Tensor | None = None
    lengths: Tensor | None = None
    traced: bool = False

    @staticmethod
    def full(steps: int, rows: int) -> Layout:
        """All rows have `steps` time steps."""
        return Layout(steps, rows, (rows,) * steps if rows else ())

    @staticmethod
    def of(lengths: Tensor | None, x: Tensor | Lookup) -> Layout:
        """For x (T, B, ...) with rows of the given lengths (B,), each 0..T, or all full (None)."""
        steps, rows = x.shape[:2]
        if is_traced(x.table if isinstance(x, Lookup) else x):
            return Layout(steps, rows, (), lengths=lengths, traced=True)
        return Layout.of_lengths(lengths, steps, rows, x.device)

    @staticmethod
    def of_lengths(lengths: Tensor | None, steps: int, rows: int, device: torch.device) -> Layout:
        """For rows of the given lengths (B,), each 0..T, or all full (None), with its indices on `device`."""
        if lengths is None or bool((lengths == steps).all()):
            return Layout.full(steps, rows)
        by_length, order = lengths.to("cpu", torch.int64).sort(descending=True, stable=True)
        t = torch.arange(steps).unsqueeze(1)
        running = t < by_length  # (T, B), columns sorted
        backwards = (by_length - 1 - t).clamp(min=0)
        return Layout(
            steps,
            rows,
            tuple(n for n in running.sum(1).tolist() if n),
            order.to(device),
            (t * rows + order)[running].to(device),
            (backwards * rows + order)[running].to(device),
        )

    def gather(self, x: Tensor, reverse: bool) -> Tensor:
        """(T, B, D) -> (N, D) in the order of `steps_of`: where all rows are full, x as it lies, in both directions."""
        rows = x.reshape(self.steps * self.rows, x.shape[2])
        index = self.reverse if reverse else self.forward
        return rows if index is None else rows.index_select(0, index)

    def scatter(self, rows: Tensor, reverse: bool) -> Tensor:
        """The inverse of `gather`, zero behind the end of each row."""
        index = self.reverse if reverse else self.forward
        if index is not None:
            rows = rows.new_zeros(self.steps * self.rows, rows.shape[1]).index_copy_(0, index, rows)
        return rows.view(self.steps, self.rows, rows.shape[1])

    def pack(self, x: Tensor, reverse: bool) -> Tensor:
        """(T, B, D) -> (N, D) in running order."""
        return self.gather(x.flip(0) if reverse and self.order is None else x, reverse)

    def unpack(self, packed: Tensor, reverse: bool) -> Tensor:
        """(N, H) in running order -> (T, B, H), zero behind the end of each row."""
        x = self.scatter(packed, reverse)
        return x.flip(0) if reverse and self.order is None else x

    def steps_of(self, reverse: bool) -> tuple[np.ndarray, np.ndarray]:
        """First row and number of rows of each step, in the order in which a direction visits them."""
        sizes = np.array(self.batch_sizes, dtype=np.int64)
        starts = sizes.cumsum() - sizes
        return (starts[::-1].copy() if reverse and self.order is None else starts), sizes

    def earlier(self, rows: np.ndarray, first: np.ndarray, reverse: bool) -> tuple[int, np.ndarray, int, np.ndarray]:
        """What stood one step before the (N, ...) rows in the order of `steps_of`, in two parts.

        The rows of a direction's first step begin at the first number; before them stood `first` (B, ...). The others
        begin at the second number; before them stood rows.
        """
        n = self.batch_sizes[0]
        if self.order is not None:
            return 0, first[:n], n, rows[self._earlier]
        if reverse:
            return len(rows) - n, first, 0, rows[n:]
        return 0, first, n, rows[:-n]

    @cached_property
    def _earlier(self) -> np.ndarray:
        starts, sizes = self.steps_of(False)
        found = [start + np.arange(n) for start, n in zip(starts[:-1], sizes[1:], strict=True)]
        return np.concatenate([*found, np.zeros(0, np.int64)])

    def sort(self, state: State) -> State:
        """Rows of the state (B, ...) in running order."""
        return state if self.order is None else map_state(lambda s: s.index_select(0, self.order), state)

    def unsort(self, state: State) -> State:
        """The inverse of `sort`."""
        if self.order is None:  # asked first: torch.compile cannot record the lock of a cached property
            return state
        inverse = self.inverse
        return map_state(lambda s: s.index_select(0, inverse), state)

    @cached_property
    def inverse(self) -> Tensor | None:
        """(B,) where each row of the input stands among the sorted ones, or None where they are not sorted."""
        return None if self.order is None else torch.argsort(self.order)
