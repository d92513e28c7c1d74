"""The scan of the minimal GRU: twin of `unrolled.cells.mingru`. Its only product is the projection of the inputs."""

from __future__ import annotations

import numpy as np

from unrolled.kernels._jit import kernel
from unrolled.kernels.elementwise import elementwise
from unrolled.kernels.product import new_tile
from unrolled.kernels.scan import Arrays, Call, Product, Scan, Sink, Source, note_ended, pass_on, project, rows_before

__all__ = ["MinGRUScan"]


class MinGRUScan(Scan):
    """h<t> = h<t-1> + z * (h~ - h<t-1>); gates z, h~."""

    def forward(self, call: Call, source: Source, out: np.ndarray, final: Arrays) -> Arrays:
        n, size = out.shape if call.keep else call.state[0].shape
        gates = call.work.new(n, 2 * size)
        arrays = gates, out, *call.state, *final
        call.work.by_work(call.order.sizes, lambda *rows: _forward(call.order, *rows, source, *arrays, call.keep))
        return (gates,)

    def backward(
        self, call: Call, sink: Sink, out: np.ndarray, kept: Arrays, grad: np.ndarray, grad_state: Arrays
    ) -> tuple[np.ndarray, list[Product]]:
        (gates,) = kept
        d = call.work.new(*gates.shape)
        arrays = gates, out, *call.state, grad, *grad_state, d
        call.work.by_work(call.order.sizes, lambda *rows: _backward(call.order, *rows, sink, *arrays))
        return d, []


@kernel
def _forward(order, first, last, source, gates, h, start, final, keep):  # type: ignore[no-untyped-def]
    starts, sizes = order
    size, tile = h.shape[1], new_tile(h)
    rows, before = start, first
    for s in range(len(sizes)):
        n = min(sizes[s], last) - first
        if n <= 0:
            break
        at = starts[s] + first
        kept = at if keep else first  # rows of gates
        project(source, at, gates, kept, n, tile)
        for r in range(n):
            g = gates[kept + r]
            _step(g[:size], g[size:], rows[before + r], h[at + r])
        note_ended(order, s, first, n, h, at, final)
        rows, before = h, at


@elementwise(writes=("z", "h"))
def _step(z, candidate, old):  # type: ignore[no-untyped-def]
    z = z.sigmoid()
    return z, old + z * (candidate - old)


@kernel
def _backward(order, first, last, sink, gates, h, start, grad, dh, d):  # type: ignore[no-untyped-def]
    starts, sizes = order
    size, tile = h.shape[1], new_tile(h)
    for s in range(len(sizes) - 1, -1, -1):
        n = min(sizes[s], last) - first
        if n <= 0:
            continue
        at = starts[s] + first
        old, before = rows_before(order, s, first, h, start)
        for r in range(n):
            row = at + r
            g, to = gates[row], d[row]
            _differentiate(g[:size], g[size:], old[before + r], grad[row], dh[first + r], to[:size], to[size:])
        pass_on(sink, d, at, n, tile)


@elementwise(writes=("dz", "dcandidate", "dh"))
def _differentiate(z, candidate, old, grad, dh):  # type: ignore[no-untyped-def]
    g = grad + dh
    return g * (candidate - old) * z * (1 - z), g * z, g * (1 - z)
