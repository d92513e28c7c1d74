"""The character n-grams of words, as the buckets that their hashes fall into: fastText's, bit for bit.

A word is written <word>; its n-grams are all runs of so many characters (not bytes) in it, the marks included but never
alone. The hash is FNV-1a of 32 bits over the bytes, each taken as signed (Bojanowski et al. 2017, arXiv:1607.04606).
"""

from __future__ import annotations

import numpy as np

from unrolled.kernels._jit import kernel

__all__ = ["hash_ngrams", "means_of_rows"]

_START, _TIMES = np.uint32(2_166_136_261), np.uint32(16_777_619)


@kernel
def _inside(byte):  # type: ignore[no-untyped-def]
    """Whether a byte of UTF-8 goes on with a character."""
    return (byte & 0xC0) == 0x80


@kernel
def hash_ngrams(letters, ends, shortest, longest, buckets, counts, found):  # type: ignore[no-untyped-def]
    """The buckets of all words, one after another in `found`; letters (bytes,): the words, marks included; ends (n,): where
    each ends; counts (n,): how many n-grams each has. Returns how many there are.
    """
    n, start = 0, 0
    for word in range(len(ends)):
        end, before = ends[word], n
        for i in range(start, end):
            if _inside(letters[i]):
                continue
            mixed, j = _START, i
            for length in range(1, longest + 1):
                if j >= end:
                    break
                while True:
                    mixed = (mixed ^ np.uint32(np.int32(np.int8(letters[j])))) * _TIMES
                    j += 1
                    if j >= end or not _inside(letters[j]):
                        break
                if length >= shortest and not (length == 1 and (i == start or j == end)):
                    found[n] = np.uint32(mixed) % np.uint32(buckets)
                    n += 1
        counts[word] = n - before
        start = end
    return n


@kernel
def means_of_rows(starts, rows, table, out):  # type: ignore[no-untyped-def]
    """out (n, D): for each word the mean of the rows rows[starts[w] : starts[w + 1]] of a table; a row below 0 is zero."""
    for word in range(len(out)):
        first, last = starts[word], starts[word + 1]
        out[word] = 0
        for p in range(first, last):
            row = rows[p]
            if row >= 0:
                for k in range(out.shape[1]):
                    out[word, k] += table[row, k]
        for k in range(out.shape[1]):
            out[word, k] *= np.float32(1.0 / max(1, last - first))
