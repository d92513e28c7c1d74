"""What a search asks of logits (R, V): log of the sum of exp of each row, the largest of each row and of each sentence.

Rows are shared out among `threads` where they are many.
"""

from __future__ import annotations

import numpy as np

from unrolled.kernels._jit import kernel
from unrolled.kernels.elementwise import Vector, elementwise
from unrolled.kernels.workspace import over_rows

__all__ = ["best_of", "largest", "log_sums"]

#: Numbers that are summed up in single precision before the sum is in double.
_BLOCK = 256


def log_sums(logits: np.ndarray, threads: int = 1) -> np.ndarray:
    """log of the sum of exp of each row of logits (R, V), V > 0: (R,) in double precision."""
    assert logits.shape[1]
    found = np.empty(len(logits))
    over_rows(len(logits), lambda a, b: _log_sums(logits[a:b], found[a:b]), threads)
    return found


def largest(logits: np.ndarray, k: int, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The k largest of each row of logits (R, V), k > 0, largest first, of equals the first: values and columns (R, k)."""
    assert k > 0
    values, columns = np.full((len(logits), k), -np.inf, logits.dtype), np.zeros((len(logits), k), np.int64)
    over_rows(len(logits), lambda a, b: _largest(logits[a:b], values[a:b], columns[a:b]), threads)
    return values, columns


@elementwise(writes=("x",))
def _exp(x: Vector) -> tuple[Vector]:
    return (x.exp(),)


@kernel
def _log_sums(logits, found):  # type: ignore[no-untyped-def]
    shifted = np.empty(logits.shape[1], logits.dtype)
    for r in range(len(logits)):
        row, most = logits[r], logits[r, 0]
        for j in range(len(row)):
            most = max(most, row[j])
        found[r] = most
        if most == -np.inf:
            continue
        for j in range(len(row)):
            shifted[j] = row[j] - most
        _exp(shifted)
        total = 0.0
        for at in range(0, len(row), _BLOCK):
            part = logits.dtype.type(0)
            for j in range(at, min(at + _BLOCK, len(row))):
                part += shifted[j]
            total += part
        found[r] += np.log(total)


@kernel
def _insert(best, at, value, place):  # type: ignore[no-untyped-def]
    """Put a value that is larger than the last into best (k,), largest first, behind its equals, and its place into at."""
    i = len(best) - 1
    while i > 0 and value > best[i - 1]:
        best[i], at[i] = best[i - 1], at[i - 1]
        i -= 1
    best[i], at[i] = value, place


@kernel
def _largest(logits, values, columns):  # type: ignore[no-untyped-def]
    k = values.shape[1]
    for r in range(len(logits)):
        row, best, at = logits[r], values[r], columns[r]
        for j in range(len(row)):
            if row[j] > best[k - 1]:
                _insert(best, at, row[j], j)


@kernel
def best_of(token, before, sentence, k):  # type: ignore[no-untyped-def]
    """The k largest of token + before for each sentence, largest first, of equals the first.

    token (R, C): what each row offers, largest first; before (R,); sentence (R,): the rows of each stand together. Returns
    row and column in `token` of each that is finite.
    """
    found, n, width = np.empty(k * len(token), np.int64), 0, token.shape[1]
    best, at = np.empty(k), np.empty(k, np.int64)
    for r in range(len(token)):
        if r == 0 or sentence[r] != sentence[r - 1]:
            best[:] = -np.inf
        for c in range(width):
            total = token[r, c] + before[r]
            if not total > best[k - 1]:
                break
            _insert(best, at, total, r * width + c)
        if r == len(token) - 1 or sentence[r] != sentence[r + 1]:
            for i in range(k):
                if best[i] > -np.inf:
                    found[n] = at[i]
                    n += 1
    return found[:n] // width, found[:n] % width
