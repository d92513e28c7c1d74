"""What a search asks of logits: the largest of each row."""

from __future__ import annotations

import numpy as np

from unrolled.kernels._jit import kernel

__all__ = ["largest"]


@kernel
def largest(logits, k):  # type: ignore[no-untyped-def]
    """The k largest of each row of logits (R, V), largest first, of equals the first: values and columns (R, k)."""
    values = np.full((len(logits), k), -np.inf, logits.dtype)
    columns = np.zeros((len(logits), k), np.int64)
    for r in range(len(logits)):
        row, best, at = logits[r], values[r], columns[r]
        for j in range(len(row)):
            if row[j] > best[k - 1]:
                i = k - 1
                while i > 0 and row[j] > best[i - 1]:
                    best[i], at[i] = best[i - 1], at[i - 1]
                    i -= 1
                best[i], at[i] = row[j], j
    return values, columns
