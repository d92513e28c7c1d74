"""Draws from any distribution over V words with one look-up: the alias method (Walker 1977, in the form of Vose 1991).

The table has one entry for each word. A draw takes an entry at random and compares 32 random bits with its threshold:
below it the word is the entry's own, else the other one. Threshold and other word share 64 bits, and a cache line.
"""

from __future__ import annotations

import numpy as np

from unrolled.kernels._jit import kernel

__all__ = ["alias_table"]

_ALWAYS = np.uint64(0xFFFFFFFF)


@kernel
def alias_table(weights):  # type: ignore[no-untyped-def]
    """Weights (V,) float64, not all zero -> table (V,) uint64: the threshold in the upper half, the other word below."""
    n = len(weights)
    share = weights * (n / weights.sum())
    table = np.empty(n, np.uint64)
    waiting = np.empty(n, np.int64)  # from the left entries that lack something, from the right those with too much
    poor, rich = 0, n
    for i in range(n):
        if share[i] < 1:
            waiting[poor] = i
            poor += 1
        else:
            rich -= 1
            waiting[rich] = i
    while poor and rich < n:
        poor -= 1
        lacking, giving = waiting[poor], waiting[rich]
        threshold = np.uint64(share[lacking] * 4294967296.0)
        table[lacking] = (min(threshold, _ALWAYS) << np.uint64(32)) | np.uint64(giving)
        share[giving] -= 1 - share[lacking]
        if share[giving] < 1:
            rich += 1
            waiting[poor] = giving
            poor += 1
    for k in range(n):
        if k < poor or k >= rich:
            i = np.uint64(waiting[k])
            table[waiting[k]] = (_ALWAYS << np.uint64(32)) | i
    return table
