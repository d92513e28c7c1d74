"""One look at a memory by every row of a beam: twin of `unrolled.layers.attention`.

Memories and keys stand once a sentence; a row knows its sentence, so that nothing is copied or reordered.
"""

from __future__ import annotations

import numpy as np

from unrolled.kernels._jit import kernel
from unrolled.kernels.elman import tanh
from unrolled.kernels.product import UNIT, ZERO, multiply, new_tile

__all__ = ["ANYWHERE", "LOOKED", "add_product", "add_product_tanh", "approach", "look", "look_back"]

#: The kinds of attention that `look` computes.
LOOKED = frozenset({"additive", "dot", "general", "scaled-dot"})
#: How near everything is at least to a look that moves on: so little that it cannot jump to an end and stay there.
ANYWHERE = 1e-30


@kernel
def add_product(x, packed, out):  # type: ignore[no-untyped-def]
    """out (R, N) += x (R, K) W^T; packed: W^T as `multiply` reads it."""
    rows, columns, depth = out.shape[0], out.shape[1], x.shape[1]
    flat, into = x.reshape(-1), out.reshape(-1)
    multiply(flat, ZERO, depth, UNIT, packed, into, ZERO, columns, rows, columns, depth, new_tile(out))


@kernel
def add_product_tanh(x, packed, out):  # type: ignore[no-untyped-def]
    """out (R, N) = tanh(out + x (R, K) W^T)."""
    add_product(x, packed, out)
    tanh(out.reshape(-1))


@kernel
def approach(before, pace, lengths, sentence, weights):  # type: ignore[no-untyped-def]
    """What a look that moves on adds to its scores, weights (R, S), when it was at `before` (R, S) the step before."""
    kind = before.dtype.type
    for r in range(before.shape[0]):
        near, last = kind(0), lengths[sentence[r]] - 1
        for p in range(last):
            weights[r, p] = np.log(near + kind(ANYWHERE))
            near += (before[r, p] - near) / kind(pace)
        weights[r, last] = np.log(kind(pace) * near + before[r, last] + kind(ANYWHERE))


@kernel
def look(keys, values, lengths, sentence, asked, v, scale, context, weights):  # type: ignore[no-untyped-def]
    """Queries asked (R, A) of sentences (R,) over keys (B, S, A), values (B, S, M) -> context (R, M), weights (R, S),
    which hold what is added to the scores: zero, or what `approach` leaves.

    v (A,): the small network's output weights of additive attention; empty for the others, whose products are multiplied
    with `scale`.
    """
    rows, size = asked.shape
    additive = len(v) > 0
    inner = np.empty(keys.shape[1] * size, keys.dtype)
    for r in range(rows):
        s = sentence[r]
        n = lengths[s]
        if additive:
            for p in range(n):
                for k in range(size):
                    inner[p * size + k] = keys[s, p, k] + asked[r, k]
            tanh(inner[: n * size])
        largest = keys.dtype.type(-np.inf)
        for p in range(n):
            total = keys.dtype.type(0)
            if additive:
                for k in range(size):
                    total += inner[p * size + k] * v[k]
            else:
                for k in range(size):
                    total += keys[s, p, k] * asked[r, k]
            weights[r, p] += total * scale
            largest = max(largest, weights[r, p])
        norm = keys.dtype.type(0)
        for p in range(n):
            weights[r, p] = np.exp(weights[r, p] - largest)
            norm += weights[r, p]
        context[r] = 0
        weights[r, n:] = 0
        for p in range(n):
            weights[r, p] /= norm
            for k in range(values.shape[2]):
                context[r, k] += weights[r, p] * values[s, p, k]


@kernel
def look_back(keys, values, lengths, sentence, asking, dkeys, dvalues, into):  # type: ignore[no-untyped-def]
    """The gradients of a `look`: asking: asked (R, A), v, scale, weights (R, S), and the contexts' gradients (R, M).

    Added to dkeys (B, S, A), dvalues (B, S, M), and into: dasked (R, A), dv (A,). With alpha the weights and e the scores,

        dalpha<s> = dc . a<s>        de<s> = alpha<s> (dalpha<s> - sum of alpha dalpha)        u = tanh(q + key)
        dv += de u                   d(q + key) = de v (1 - u^2)
    """
    asked, v, scale, weights, grad = asking
    dasked, dv = into
    rows, size = asked.shape
    inner, de = np.empty(keys.shape[1] * size, keys.dtype), np.empty(keys.shape[1], keys.dtype)
    for r in range(rows):
        s, mean = sentence[r], keys.dtype.type(0)
        n = lengths[s]
        for p in range(n):
            total = keys.dtype.type(0)
            for k in range(values.shape[2]):
                total += grad[r, k] * values[s, p, k]
                dvalues[s, p, k] += weights[r, p] * grad[r, k]
            de[p] = total
            mean += weights[r, p] * total
        for p in range(n):
            de[p] = weights[r, p] * (de[p] - mean) * scale
        if len(v):
            for p in range(n):
                for k in range(size):
                    inner[p * size + k] = keys[s, p, k] + asked[r, k]
            tanh(inner[: n * size])
        for p in range(n):
            if len(v):
                for k in range(size):
                    u = inner[p * size + k]
                    d = de[p] * v[k] * (1 - u * u)
                    dv[k] += de[p] * u
                    dkeys[s, p, k] += d
                    dasked[r, k] += d
            else:
                for k in range(size):
                    dkeys[s, p, k] += de[p] * asked[r, k]
                    dasked[r, k] += de[p] * keys[s, p, k]
