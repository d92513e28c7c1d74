"""The scan of the simple recurrent network: twin of `unrolled.cells.elman`."""

from __future__ import annotations

import numpy as np

from unrolled.kernels._jit import kernel
from unrolled.kernels.elementwise import elementwise
from unrolled.kernels.product import UNIT, multiply, new_tile
from unrolled.kernels.scan import Arrays, Call, Product, Scan, Sink, Source, note_ended, pass_on, project

__all__ = ["ElmanScan", "relu", "tanh"]


class ElmanScan(Scan):
    """a<t> = g1(W_aa a<t-1> + projected), g1 = tanh or relu."""

    def __init__(self, nonlinearity: str) -> None:
        self._rectify = nonlinearity == "relu"

    def forward(self, call: Call, source: Source, out: np.ndarray, final: Arrays) -> Arrays:
        arrays = out, *call.state, *final, call.work.packed_transposed(call.weights[0])
        call.work.by_work(call.order.sizes, lambda *rows: _forward(call.order, *rows, source, *arrays, self._rectify))
        return ()

    def backward(
        self, call: Call, sink: Sink, out: np.ndarray, kept: Arrays, grad: np.ndarray, grad_state: Arrays
    ) -> tuple[np.ndarray, list[Product]]:
        dz = call.work.new(*grad.shape)
        arrays = out, grad, *grad_state, dz, call.work.packed(call.weights[0])
        call.work.by_work(call.order.sizes, lambda *rows: _backward(call.order, *rows, sink, *arrays, self._rectify))
        return dz, [Product(dz, 0, dz.shape[1], None)]


@kernel
def _forward(order, first, last, source, a, start, final, packed, rectify):  # type: ignore[no-untyped-def]
    starts, sizes = order
    size, flat, tile, previous, before = a.shape[1], a.reshape(-1), new_tile(a), start.reshape(-1), first
    for s in range(len(sizes)):
        n = min(sizes[s], last) - first
        if n <= 0:
            break
        at = starts[s] + first
        project(source, at, a, at, n, tile)
        multiply(previous, before * size, size, UNIT, packed, flat, at * size, size, n, size, size, tile)
        rows = flat[at * size : (at + n) * size]
        if rectify:
            relu(rows)
        else:
            tanh(rows)
        note_ended(order, s, first, n, a, at, final)
        previous, before = flat, at


@elementwise(writes=("a",))
def tanh(a):  # type: ignore[no-untyped-def]
    """a becomes tanh a."""
    return (a.tanh(),)


@elementwise(writes=("a",))
def relu(a):  # type: ignore[no-untyped-def]
    """a becomes max(a, 0)."""
    return (a.where("<", 0, 0, a),)


@kernel
def _backward(order, first, last, sink, a, grad, da, dz, packed, rectify):  # type: ignore[no-untyped-def]
    starts, sizes = order
    size, tile = a.shape[1], new_tile(a)
    a_flat, grad_flat, da_flat, flat = a.reshape(-1), grad.reshape(-1), da.reshape(-1), dz.reshape(-1)
    for s in range(len(sizes) - 1, -1, -1):
        n = min(sizes[s], last) - first
        if n <= 0:
            continue
        at = starts[s] + first
        rows, state = slice(at * size, (at + n) * size), slice(first * size, (first + n) * size)
        if rectify:
            _relu_backward(a_flat[rows], grad_flat[rows], da_flat[state], flat[rows])
        else:
            _tanh_backward(a_flat[rows], grad_flat[rows], da_flat[state], flat[rows])
        multiply(flat, at * size, size, UNIT, packed, da_flat, first * size, size, n, size, size, tile)
        pass_on(sink, dz, at, n, tile)


@elementwise(writes=("dz", "da"))
def _tanh_backward(a, grad, da):  # type: ignore[no-untyped-def]
    return (grad + da) * (1 - a * a), da.constant(0)


@elementwise(writes=("dz", "da"))
def _relu_backward(a, grad, da):  # type: ignore[no-untyped-def]
    return a.where(">", 0, grad + da, 0), da.constant(0)
