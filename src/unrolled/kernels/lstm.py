"""The scan of the LSTM: twin of `unrolled.cells.lstm`, without projection."""

from __future__ import annotations

import numpy as np

from unrolled.kernels._jit import kernel
from unrolled.kernels.elementwise import elementwise
from unrolled.kernels.product import UNIT, multiply, new_tile
from unrolled.kernels.scan import Arrays, Call, Product, Scan, Sink, Source, note_ended, pass_on, project, rows_before

__all__ = ["LSTMScan", "lstm_step"]


class LSTMScan(Scan):
    """c<t> = f * c<t-1> + i * g, a<t> = o * tanh(c<t>); gates i, f, g, o."""

    def forward(self, call: Call, source: Source, out: np.ndarray, final: Arrays) -> Arrays:
        n, size = out.shape if call.keep else call.state[0].shape
        c, gates = (call.work.new(n, size) if call.keep else final[1]), call.work.new(n, 4 * size)
        arrays = gates, out, c, *call.state, *final, call.work.packed_transposed(call.weights[0])
        call.work.by_work(call.order.sizes, lambda *rows: _forward(call.order, *rows, source, *arrays, call.keep))
        return c, gates

    def backward(
        self, call: Call, sink: Sink, out: np.ndarray, kept: Arrays, grad: np.ndarray, grad_state: Arrays
    ) -> tuple[np.ndarray, list[Product]]:
        c, gates = kept
        d = call.work.new(*gates.shape)
        arrays = gates, c, call.state[1], grad, *grad_state, d, call.work.packed(call.weights[0])
        call.work.by_work(call.order.sizes, lambda *rows: _backward(call.order, *rows, sink, *arrays))
        return d, [Product(d, 0, d.shape[1], None)]


@kernel
def _four(row):  # type: ignore[no-untyped-def]
    size = len(row) // 4
    return row[:size], row[size : 2 * size], row[2 * size : 3 * size], row[3 * size :]


@kernel
def _forward(order, first, last, source, gates, a, c, a0, c0, last_a, last_c, packed, keep):  # type: ignore[no-untyped-def]
    starts, sizes = order
    size, wide = a.shape[1], 4 * a.shape[1]
    g_flat, a_flat, tile = gates.reshape(-1), a.reshape(-1), new_tile(a)
    previous, before = a0.reshape(-1), first
    memory, m_before = c0, first
    for s in range(len(sizes)):
        n = min(sizes[s], last) - first
        if n <= 0:
            break
        at = starts[s] + first
        kept = at if keep else first  # rows of gates and c
        project(source, at, gates, kept, n, tile)
        multiply(previous, before * size, size, UNIT, packed, g_flat, kept * wide, wide, n, wide, size, tile)
        for r in range(n):
            i, f, g, o = _four(gates[kept + r])
            lstm_step(i, f, g, o, memory[m_before + r], c[kept + r], a[at + r])
        note_ended(order, s, first, n, a, at, last_a)
        note_ended(order, s, first, n, c, kept, last_c)
        previous, before = a_flat, at
        memory, m_before = c, kept


@elementwise(writes=("i", "f", "g", "o", "c", "a"))
def lstm_step(i, f, g, o, c0):  # type: ignore[no-untyped-def]
    """The gates from their sums, the new memory and activation."""
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    c = f * c0 + i * g
    return i, f, g, o, c, o * c.tanh()


@kernel
def _backward(order, first, last, sink, gates, c, c0, grad, da, dc, d, packed):  # type: ignore[no-untyped-def]
    starts, sizes = order
    size = c.shape[1]
    d_flat, da_flat, tile, wide = d.reshape(-1), da.reshape(-1), new_tile(c), 4 * size
    for s in range(len(sizes) - 1, -1, -1):
        n = min(sizes[s], last) - first
        if n <= 0:
            continue
        at = starts[s] + first
        memory, before = rows_before(order, s, first, c, c0)
        for r in range(n):
            row = at + r
            i, f, g, o = _four(gates[row])
            di, df, dg, do = _four(d[row])
            k, old = first + r, memory[before + r]
            _differentiate(i, f, g, o, old, c[row], grad[row], da[k], dc[k], di, df, dg, do)
        multiply(d_flat, at * wide, wide, UNIT, packed, da_flat, first * size, size, n, size, wide, tile)
        pass_on(sink, d, at, n, tile)


@elementwise(writes=("di", "df", "dg", "do", "da", "dc"))
def _differentiate(i, f, g, o, c0, c, grad, da, dc):  # type: ignore[no-untyped-def]
    t, da = c.tanh(), grad + da
    dc = dc + da * o * (1 - t * t)
    di, df, dg = dc * g * i * (1 - i), dc * c0 * f * (1 - f), dc * i * (1 - g * g)
    return di, df, dg, da * t * o * (1 - o), da.constant(0), dc * f
