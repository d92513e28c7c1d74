"""What the compiled scans share: what they are given, what they return, in which order rows are visited."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np

from unrolled.kernels._jit import kernel
from unrolled.kernels.product import UNIT, multiply
from unrolled.kernels.workspace import Workspace

__all__ = [
    "NO_INDEX",
    "Arrays",
    "Call",
    "Order",
    "Product",
    "Scan",
    "Sink",
    "Source",
    "fill_rows",
    "note_ended",
    "pass_on",
    "place_rows",
    "project",
    "rows_before",
]

Arrays = tuple[np.ndarray, ...]


class Order(NamedTuple):
    """Where the rows of each step lie: row r of step s is row starts[s] + r of an (N, ...) array.

    sizes (S,): rows still running at each step, never increasing.
    """

    starts: np.ndarray
    sizes: np.ndarray


#: The index of a source that is not picked from a table.
NO_INDEX = np.zeros(0, np.int64)


class Source(NamedTuple):
    """Where a step's projected inputs come from: x W_ih^T + bias for its rows of x (N, D); or rows of a table that is
    projected already, x (U, G*H), picked by index (N,). The other parts are empty then.
    """

    x: np.ndarray
    packed: np.ndarray
    bias: np.ndarray
    index: np.ndarray = NO_INDEX


class Sink(NamedTuple):
    """Where a step's input gradient goes: dx (N, D) = d W_ih, or nowhere if dx has no rows."""

    dx: np.ndarray
    packed: np.ndarray


class Call(NamedTuple):
    """What both passes over a layer are given.

    state: arrays (B, H); weights: W_hh and what else the step uses; keep: whether a backward pass may follow. Without
    one, what a step computes on its way is overwritten by the next step and never leaves the cache.
    """

    order: Order
    state: Arrays
    weights: Arrays
    work: Workspace
    keep: bool


class Product(NamedTuple):
    """Rows of a weight gradient: (the columns first..last of d)^T factor, summed over all N rows.

    A factor of None stands for the state before each step.
    """

    d: np.ndarray
    first: int
    last: int
    factor: np.ndarray | None


class Scan(ABC):
    """A whole layer and direction of one kind of cell. N rows of all steps together, B sequences, H hidden size, G gates.

    The equations are those of `unrolled.cells`; each module here names the one whose twin it is. What a scan may rely on,
    and must do:

    - The outputs are the first array of the state, H wide, and W_hh is the only matrix that is multiplied with a state.
    - Arrays from `call.work.new` hold anything: every row of d has to be written.
    - Without `call.keep`, arrays of one step (B rows) do for what would be kept; they may be `final` itself.
    - The gradient of b_hh is the sum of the rows of d of the products, that of b_ih the sum of d of all gates.
    """

    @abstractmethod
    def forward(self, call: Call, source: Source, out: np.ndarray, final: Arrays) -> Arrays:
        """Run all steps, fill the outputs `out` (N, H), and return what `backward` wants kept.

        final: copies of the state, overwritten with the state after each row's end.
        """

    @abstractmethod
    def backward(
        self, call: Call, sink: Sink, out: np.ndarray, kept: Arrays, grad: np.ndarray, grad_state: Arrays
    ) -> tuple[np.ndarray, list[Product]]:
        """Back-propagate through all steps: the gradient of the projected inputs (N, G*H), and the products whose rows,
        one below the other, are the gradient of W_hh.

        out and kept: as `forward` left them; grad (N, H): the gradient of the outputs; grad_state: that of the final
        state, overwritten with that of the initial one.
        """


@kernel
def project(source, at, gates, g_at, n, tile):  # type: ignore[no-untyped-def]
    """The projected inputs of the n rows from row `at` on, into the rows of gates (..., G*H) from row g_at on."""
    wide, depth = gates.shape[1], source.x.shape[1]
    if len(source.index):
        for r in range(n):
            row, picked = gates[g_at + r], source.x[source.index[at + r]]
            for j in range(wide):
                row[j] = picked[j]
        return
    fill_rows(gates, g_at, n, source.bias)
    x, flat = source.x.reshape(-1), gates.reshape(-1)
    multiply(x, at * depth, depth, UNIT, source.packed, flat, g_at * wide, wide, n, wide, depth, tile)


@kernel
def pass_on(sink, d, at, n, tile):  # type: ignore[no-untyped-def]
    """The input gradient of one step, from n rows of d (N, G*H) from row `at` on."""
    if not len(sink.dx):
        return
    wide, depth = d.shape[1], sink.dx.shape[1]
    for r in range(n):
        row = sink.dx[at + r]
        for j in range(depth):
            row[j] = 0
    flat, dx = d.reshape(-1), sink.dx.reshape(-1)
    multiply(flat, at * wide, wide, UNIT, sink.packed, dx, at * depth, depth, n, depth, wide, tile)


@kernel
def fill_rows(a, at, n, values):  # type: ignore[no-untyped-def]
    """The n rows of `a` from row `at` on become `values`."""
    for r in range(n):
        row = a[at + r]
        for j in range(len(row)):
            row[j] = values[j]


@kernel
def place_rows(rows, places, to, first, last):  # type: ignore[no-untyped-def]
    """to[places[n]] = rows[n] for the rows first..last of (N, H)."""
    for n in range(first, last):
        row, there = rows[n], to[places[n]]
        for j in range(len(row)):
            there[j] = row[j]


@kernel
def rows_before(order, s, first, rows, start):  # type: ignore[no-untyped-def]
    """What stood one step before the rows from `first` on of step s, and its first row: `start` before the first step."""
    if s > 0:
        return rows, order.starts[s - 1] + first
    return start, first


@kernel
def note_ended(order, s, first, n, rows, at, final):  # type: ignore[no-untyped-def]
    """Of the n rows from `first` on of step s, which lie in `rows` from `at` on, copy those that end there to `final`."""
    sizes = order.sizes
    following = sizes[s + 1] if s + 1 < len(sizes) else 0
    for r in range(min(n, max(0, following - first)), n):
        final[first + r] = rows[at + r]
