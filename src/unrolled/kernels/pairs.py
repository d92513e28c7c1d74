"""Pairs of neighbouring words joined into one, from left to right."""

from __future__ import annotations

import numpy as np

from unrolled.kernels._jit import kernel

__all__ = ["join_pairs"]


@kernel
def join_pairs(numbers, end, begins, keys, base, joined):  # type: ignore[no-untyped-def]
    """Copy numbers (N,) to `joined`; where two neighbours are pair k, base + k stands for both.

    begins (words,): whether a word is the first of any pair; keys (K,): first * 2^32 + second of each, ascending. Goes on
    until place `end` is passed, which the second of a pair may do. Returns how many were read and how many written.
    """
    i, found = 0, 0
    while i < end:
        word = numbers[i]
        if word >= 0 and i + 1 < len(numbers) and numbers[i + 1] >= 0 and begins[word]:
            key = (np.int64(word) << np.int64(32)) | np.int64(numbers[i + 1])
            at = np.searchsorted(keys, key)
            if at < len(keys) and keys[at] == key:
                joined[found] = base + at
                i, found = i + 2, found + 1
                continue
        joined[found] = word
        i, found = i + 1, found + 1
    return i, found
