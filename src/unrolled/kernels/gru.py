"""The scans of the GRU, its reset gate after or before the product with the state: twins of `unrolled.cells.gru`."""

from __future__ import annotations

import numpy as np

from unrolled.kernels._jit import kernel
from unrolled.kernels.elementwise import elementwise
from unrolled.kernels.product import UNIT, multiply, new_tile
from unrolled.kernels.scan import (
    Arrays,
    Call,
    Product,
    Scan,
    Sink,
    Source,
    fill_rows,
    note_ended,
    pass_on,
    project,
    rows_before,
)

__all__ = ["GRUAfterScan", "GRUBeforeScan", "reset_before", "step_after", "step_before"]


class GRUAfterScan(Scan):
    """n = tanh(projected + r * (W_n c<t-1> + b_n)), c<t> = n + z * (c<t-1> - n); gates r, z, n; kept: W_n c<t-1> + b_n."""

    def forward(self, call: Call, source: Source, out: np.ndarray, final: Arrays) -> Arrays:
        n, size = out.shape if call.keep else call.state[0].shape
        inner, gates = call.work.new(n, size), call.work.new(n, 3 * size)
        bias = call.weights[1] if len(call.weights) == 2 else np.zeros(size, out.dtype)
        arrays = gates, inner, out, *call.state, *final, *map(call.work.packed_transposed, _halves(call)), bias
        call.work.by_work(call.order.sizes, lambda *rows: _forward_after(call.order, *rows, source, *arrays, call.keep))
        return inner, gates

    def backward(
        self, call: Call, sink: Sink, out: np.ndarray, kept: Arrays, grad: np.ndarray, grad_state: Arrays
    ) -> tuple[np.ndarray, list[Product]]:
        inner, gates = kept
        size = out.shape[1]
        d, dn_r = call.work.new(*gates.shape), call.work.new(*out.shape)
        arrays = gates, inner, out, *call.state, grad, *grad_state, d, dn_r, *map(call.work.packed, _halves(call))
        call.work.by_work(call.order.sizes, lambda *rows: _backward_after(call.order, *rows, sink, *arrays))
        return d, [Product(d, 0, 2 * size, None), Product(dn_r, 0, size, None)]


class GRUBeforeScan(Scan):
    """n = tanh(projected + W_n (r * c<t-1>)), c<t> = n + z * (c<t-1> - n); gates r, z, n; kept: r * c<t-1>."""

    def forward(self, call: Call, source: Source, out: np.ndarray, final: Arrays) -> Arrays:
        n, size = out.shape if call.keep else call.state[0].shape
        inner, gates = call.work.new(n, size), call.work.new(n, 3 * size)
        arrays = gates, inner, out, *call.state, *final, *map(call.work.packed_transposed, _halves(call))
        call.work.by_work(call.order.sizes, lambda *rows: _forward_before(call.order, *rows, source, *arrays, call.keep))
        return inner, gates

    def backward(
        self, call: Call, sink: Sink, out: np.ndarray, kept: Arrays, grad: np.ndarray, grad_state: Arrays
    ) -> tuple[np.ndarray, list[Product]]:
        inner, gates = kept
        size = out.shape[1]
        d, dq = call.work.new(*gates.shape), call.work.new(*call.state[0].shape)
        arrays = gates, inner, out, *call.state, grad, *grad_state, d, dq, *map(call.work.packed, _halves(call))
        call.work.by_work(call.order.sizes, lambda *rows: _backward_before(call.order, *rows, sink, *arrays))
        return d, [Product(d, 0, 2 * size, None), Product(d, 2 * size, 3 * size, inner)]


def _halves(call: Call) -> tuple[np.ndarray, np.ndarray]:
    """W_hh of the gates r and z, and of the candidate."""
    (w, *_), size = call.weights, call.state[0].shape[1]
    return w[: 2 * size], w[2 * size :]


@kernel
def _forward_after(  # type: ignore[no-untyped-def]
    order, first, last, source, gates, inner, c, start, final, packed_rz, packed_n, bias, keep
):
    starts, sizes = order
    size, wide = c.shape[1], 3 * c.shape[1]
    g_flat, q_flat, c_flat, tile = gates.reshape(-1), inner.reshape(-1), c.reshape(-1), new_tile(c)
    previous, rows, before = start.reshape(-1), start, first
    for s in range(len(sizes)):
        n = min(sizes[s], last) - first
        if n <= 0:
            break
        at = starts[s] + first
        kept = at if keep else first  # rows of gates and inner
        project(source, at, gates, kept, n, tile)
        fill_rows(inner, kept, n, bias)
        multiply(previous, before * size, size, UNIT, packed_rz, g_flat, kept * wide, wide, n, 2 * size, size, tile)
        multiply(previous, before * size, size, UNIT, packed_n, q_flat, kept * size, size, n, size, size, tile)
        for r in range(n):
            reset, z, new = _three(gates[kept + r])
            step_after(reset, z, new, inner[kept + r], rows[before + r], c[at + r])
        note_ended(order, s, first, n, c, at, final)
        previous, rows, before = c_flat, c, at


@kernel
def _forward_before(  # type: ignore[no-untyped-def]
    order, first, last, source, gates, inner, c, start, final, packed_rz, packed_n, keep
):
    starts, sizes = order
    size, wide = c.shape[1], 3 * c.shape[1]
    g_flat, q_flat, c_flat, tile = gates.reshape(-1), inner.reshape(-1), c.reshape(-1), new_tile(c)
    previous, rows, before = start.reshape(-1), start, first
    for s in range(len(sizes)):
        n = min(sizes[s], last) - first
        if n <= 0:
            break
        at = starts[s] + first
        kept = at if keep else first  # rows of gates and inner
        project(source, at, gates, kept, n, tile)
        multiply(previous, before * size, size, UNIT, packed_rz, g_flat, kept * wide, wide, n, 2 * size, size, tile)
        for r in range(n):
            reset, _, _ = _three(gates[kept + r])
            reset_before(reset, rows[before + r], inner[kept + r])
        multiply(q_flat, kept * size, size, UNIT, packed_n, g_flat, kept * wide + 2 * size, wide, n, size, size, tile)
        for r in range(n):
            _, z, new = _three(gates[kept + r])
            step_before(z, new, rows[before + r], c[at + r])
        note_ended(order, s, first, n, c, at, final)
        previous, rows, before = c_flat, c, at


@kernel
def _three(row):  # type: ignore[no-untyped-def]
    size = len(row) // 3
    return row[:size], row[size : 2 * size], row[2 * size :]


@elementwise(writes=("r", "z", "n", "c"))
def step_after(r, z, n, inner, old):  # type: ignore[no-untyped-def]
    """The gates from their sums, and the new state, for the reset gate after the product."""
    r, z = r.sigmoid(), z.sigmoid()
    n = (n + r * inner).tanh()
    return r, z, n, n + z * (old - n)


@elementwise(writes=("r", "inner"))
def reset_before(r, old):  # type: ignore[no-untyped-def]
    """The reset gate from its sum, and what it leaves of the old state, for the reset gate before the product."""
    r = r.sigmoid()
    return r, r * old


@elementwise(writes=("z", "n", "c"))
def step_before(z, n, old):  # type: ignore[no-untyped-def]
    """The other gates from their sums, and the new state, for the reset gate before the product."""
    z, n = z.sigmoid(), n.tanh()
    return z, n, n + z * (old - n)


@kernel
def _backward_after(order, first, last, sink, gates, inner, c, start, grad, dc, d, dn_r, packed_rz, packed_n):  # type: ignore[no-untyped-def]
    starts, sizes = order
    size = c.shape[1]
    d_flat, q_flat, dc_flat, tile = d.reshape(-1), dn_r.reshape(-1), dc.reshape(-1), new_tile(c)
    for s in range(len(sizes) - 1, -1, -1):
        n = min(sizes[s], last) - first
        if n <= 0:
            continue
        at, wide = starts[s] + first, 3 * size
        old, before = rows_before(order, s, first, c, start)
        for k in range(n):
            row = at + k
            r, z, new = _three(gates[row])
            dr, dz, dn = _three(d[row])
            was, dold = old[before + k], dc[first + k]
            _differentiate_after(r, z, new, inner[row], was, grad[row], dold, dr, dz, dn, dn_r[row])
        multiply(d_flat, at * wide, wide, UNIT, packed_rz, dc_flat, first * size, size, n, size, 2 * size, tile)
        multiply(q_flat, at * size, size, UNIT, packed_n, dc_flat, first * size, size, n, size, size, tile)
        pass_on(sink, d, at, n, tile)


@kernel
def _backward_before(order, first, last, sink, gates, inner, c, start, grad, dc, d, dq, packed_rz, packed_n):  # type: ignore[no-untyped-def]
    starts, sizes = order
    size = c.shape[1]
    d_flat, q_flat, dc_flat, tile = d.reshape(-1), dq.reshape(-1), dc.reshape(-1), new_tile(c)
    for s in range(len(sizes) - 1, -1, -1):
        n = min(sizes[s], last) - first
        if n <= 0:
            continue
        at, wide = starts[s] + first, 3 * size
        old, before = rows_before(order, s, first, c, start)
        for k in range(n):
            row = at + k
            _, z, new = _three(gates[row])
            _, dz, dn = _three(d[row])
            _differentiate_before(z, new, old[before + k], grad[row], dc[first + k], dz, dn, dq[first + k])
        multiply(d_flat, at * wide + 2 * size, wide, UNIT, packed_n, q_flat, first * size, size, n, size, size, tile)
        for k in range(n):
            row = at + k
            r, _, _ = _three(gates[row])
            dr, _, _ = _three(d[row])
            _differentiate_reset(r, inner[row], dq[first + k], dc[first + k], dr)
        multiply(d_flat, at * wide, wide, UNIT, packed_rz, dc_flat, first * size, size, n, size, 2 * size, tile)
        pass_on(sink, d, at, n, tile)


@elementwise(writes=("dr", "dz", "dn", "dn_r", "dc"))
def _differentiate_after(r, z, n, inner, old, grad, dc):  # type: ignore[no-untyped-def]
    g = grad + dc
    dn = g * (1 - z) * (1 - n * n)
    return dn * inner * r * (1 - r), g * (old - n) * z * (1 - z), dn, dn * r, g * z


@elementwise(writes=("dz", "dn", "dq", "dc"))
def _differentiate_before(z, n, old, grad, dc):  # type: ignore[no-untyped-def]
    g = grad + dc
    return g * (old - n) * z * (1 - z), g * (1 - z) * (1 - n * n), g.constant(0), g * z


@elementwise(writes=("dr", "dc"))
def _differentiate_reset(r, inner, dq, dc):  # type: ignore[no-untyped-def]
    return dq * inner * (1 - r), dc + dq * r
