"""One step of generation as one call: embedded symbols -> all layers -> logits.

Weights are packed once (`multiply` reads them front to back), the first layer's projected inputs may be a table with a row
for each symbol, and the output matrix may be of bytes: a fourth of the memory to read, which is what a step of one row
waits for. The equations are those of `unrolled.cells`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from unrolled.kernels._jit import kernel
from unrolled.kernels.elementwise import elementwise
from unrolled.kernels.elman import relu, tanh
from unrolled.kernels.gru import reset_before, step_after, step_before
from unrolled.kernels.lstm import lstm_step
from unrolled.kernels.product import UNIT, ZERO, multiply, new_tile
from unrolled.kernels.scan import fill_rows

__all__ = ["KINDS", "Layers", "Output", "run_layers", "score"]

#: The cells by number.
KINDS = {"rnn_tanh": 0, "rnn_relu": 1, "gru_after": 2, "gru_before": 3, "lstm": 4}


class Layers(NamedTuple):
    """The recurrent layers. L layers, H hidden size, G gates.

    weights: all packed matrices and biases, one after another; places (L, 4): where in it those of a layer begin: W_ih,
    W_hh of all gates or of all but the candidate, W_hh of the candidate (GRU), biases (G*H,) and b_n (H,).
    """

    kind: int
    weights: np.ndarray
    places: np.ndarray


@kernel
def run_layers(layers, x, first, h, c, new_h, new_c):  # type: ignore[no-untyped-def]
    """R rows through all layers: state h, c (R, L, H) -> new_h, new_c.

    x (R, D) are the inputs, or `first` (R, G*H) the inputs that are projected already; the other has no columns. c and
    new_c are used by the LSTM alone.
    """
    kind, weights, places = layers
    rows, n_layers, size = h.shape
    n_gates = 1 if kind < 2 else 4 if kind == 4 else 3
    wide, step = n_gates * size, n_layers * size
    gates, inner = np.empty((rows, wide), h.dtype), np.empty((rows, size), h.dtype)
    g_flat, q_flat, h_flat, tile = gates.reshape(-1), inner.reshape(-1), h.reshape(-1), new_tile(h)
    inputs, x_at, x_row, depth = x.reshape(-1), 0, x.shape[1], x.shape[1]
    for layer in range(n_layers):
        w_ih, w_hh, w_n, biases = places[layer]
        if layer == 0 and first.shape[1]:
            gates[:] = first
        else:
            fill_rows(gates, ZERO, rows, weights[biases:])
            multiply(inputs, x_at, x_row, UNIT, weights[w_ih:], g_flat, ZERO, wide, rows, wide, depth, tile)
        at = layer * size
        together = 2 * size if n_gates == 3 else wide  # gates whose product with the state is one
        multiply(h_flat, at, step, UNIT, weights[w_hh:], g_flat, ZERO, wide, rows, together, size, tile)
        if kind == 2:
            fill_rows(inner, ZERO, rows, weights[biases + wide :])
            multiply(h_flat, at, step, UNIT, weights[w_n:], q_flat, ZERO, size, rows, size, size, tile)
        elif kind == 3:
            for r in range(rows):
                reset_before(gates[r, :size], h[r, layer], inner[r])
            multiply(q_flat, ZERO, size, UNIT, weights[w_n:], g_flat, 2 * size, wide, rows, size, size, tile)
        for r in range(rows):
            _finish(kind, gates[r], inner[r], h[r, layer], c[r, layer], new_h[r, layer], new_c[r, layer])
        inputs, x_at, x_row, depth = new_h.reshape(-1), at, step, size


@kernel
def _finish(kind, g, inner, h, c, new_h, new_c):  # type: ignore[no-untyped-def]
    """The elementwise part of a step, for one row."""
    size = len(h)
    if kind < 2:
        new_h[:] = g
        if kind == 0:
            tanh(new_h)
        else:
            relu(new_h)
    elif kind == 2:
        step_after(g[:size], g[size : 2 * size], g[2 * size :], inner, h, new_h)
    elif kind == 3:
        step_before(g[size : 2 * size], g[2 * size :], h, new_h)
    else:
        lstm_step(g[:size], g[size : 2 * size], g[2 * size : 3 * size], g[3 * size :], c, new_c, new_h)


class Output(NamedTuple):
    """The output layer, or the part of it that is for V symbols; D columns.

    packed: the matrix as `multiply` reads it, in floats or bytes; scales (V,): what the bytes of each symbol are multiplied
    with (empty for floats); exact (V, D) and bias (V,): the layer's own.
    """

    packed: np.ndarray
    scales: np.ndarray
    exact: np.ndarray
    bias: np.ndarray


@kernel
def score(output, a, logits):  # type: ignore[no-untyped-def]
    """Activations a (R, D) -> the first V columns of logits (R, V or more).

    With bytes, each symbol that may be the most likely one is then scored exactly: the rounding of a matrix entry is at
    most half a scale, so a logit is off by at most scale / 2 times the sum of |a|.
    """
    packed, scales, exact, bias = output
    rows, depth = a.shape
    n_symbols, rounded = len(bias), len(scales) > 0
    for r in range(rows):
        for j in range(n_symbols):
            logits[r, j] = 0 if rounded else bias[j]
    flat, wide = logits.reshape(-1), np.int64(logits.shape[1])
    multiply(a.reshape(-1), ZERO, depth, UNIT, packed, flat, ZERO, wide, rows, n_symbols, depth, new_tile(a))
    if not rounded:
        return
    for r in range(rows):
        row = logits[r, :n_symbols]
        _scale(row, scales, bias)
        norm = a.dtype.type(0)
        for k in range(depth):
            norm += abs(a[r, k])
        error = norm * a.dtype.type(0.5001)
        least = row[0] - error * scales[0]
        for j in range(n_symbols):
            least = max(least, row[j] - error * scales[j])
        for j in range(n_symbols):
            if row[j] + error * scales[j] >= least:
                total = bias[j]
                for k in range(depth):
                    total += a[r, k] * exact[j, k]
                row[j] = total


@elementwise(writes=("logits",))
def _scale(logits, scales, bias):  # type: ignore[no-untyped-def]
    return (logits * scales + bias,)
