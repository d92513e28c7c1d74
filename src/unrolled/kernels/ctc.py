"""Connectionist temporal classification: all alignments of a label to the frames, summed.

A label y of U symbols is written with blanks around each: b y<1> b y<2> ... y<U> b. With p<t>(k) the probability of k in
frame t, an alignment goes one place further, stays, or leaves out the blank between two different symbols. A<t>(u) is the
share of those that stand at the blank behind symbol u in frame t, L<t>(u) of those at symbol u:

    A<t>(u) = (A<t-1>(u) + L<t-1>(u)) p<t>(b) / c<t-1>
    L<t>(u) = (L<t-1>(u) + A<t-1>(u-1) + [y<u> != y<u-1>] L<t-1>(u-1)) p<t>(y<u>) / c<t-1>
    P       = c<1> c<2> ... c<T-1> (A<T>(U) + L<T>(U)),      c<t>: the sum of all shares of frame t
    A<0>(0) = c<0> = 1, all others 0

Places that no way leads to, or from which none leads to the end, are left out. The same without shares, one equation a
line, and from the end to the front, and what follows for the gradient: `tests/references.py`.

Graves et al. 2006, section 4.1. Shares need no logarithm and no exponential within a frame. The same from the end to the
front, times these, is how likely each place is in each frame, whatever the alignment: p less that is the gradient of -log P
with respect to the logits (ibid., equation 16).

Precision: a share below 1e-308 becomes 0. Such a place has at most 1e-308 of a sum over the places of its frame, shares of
both directions multiplied. While that sum exceeds _TOLD in every frame, at most 1e-18 of P is lost. Else the result is NaN,
and the caller computes in log space. This holds if p is exact: no p > 0 may be rounded to 0 or to a subnormal number.

Bounds: the callers of the public kernels check blank, labels, lengths and starts; nothing is checked here.
"""

from __future__ import annotations

import numpy as np

from unrolled.kernels._jit import kernel

__all__ = ["add_losses", "log_likelihoods", "occupancy"]

#: The least sum over a frame, shares of both directions multiplied, with which nothing that counts is lost.
_TOLD = 1e-290
#: log P, in nats, above which nothing that counts is lost, whatever the frames: log 1e-308 is -709.
_CERTAIN = -600.0


@kernel
def add_losses(p, lengths, labels, starts, blank, losses, d, first, last):  # type: ignore[no-untyped-def]
    """Of the rows first to last: losses (B,) = -log P, and d (T, B, K), which holds p, becomes its gradient by the logits.

    p (T, B, K): probabilities; lengths (B,): frames; labels (N,) of all rows; starts (B + 1,): where those of a row begin.
    Where no alignment fits the frames the loss is infinite and d zero, as everywhere behind a row's end. Where shares are
    too small even for double precision, or p is NaN, the loss is NaN and d is arbitrary.
    """
    longest = 0  # of the labels that fit: others need no space, however long they are
    for b in range(first, last):
        if _fits(labels[starts[b] : starts[b + 1]], lengths[b]):
            longest = max(longest, starts[b + 1] - starts[b])
    # place u stands in column u + 1; the columns beside those of a frame, low to high, are zero
    shape = p.shape[0] + 1, longest + 3
    blanks, symbols, work = np.zeros(shape), np.zeros(shape), np.zeros((8, longest + 3))
    ranges = np.zeros((p.shape[0], 2), np.int64)
    for b in range(first, last):
        label, n = labels[starts[b] : starts[b + 1]], lengths[b]
        if _fits(label, n):
            _lay_out(label, work)
            _find_ranges(n, len(label), work, ranges)
            losses[b] = _forward(p[:, b], n, label, blank, work, ranges, blanks, symbols)
            if not _take(p[:, b], n, label, blank, work, ranges, blanks, symbols, label, blank, d[:, b]):
                losses[b] = np.nan
            d[n:, b] = 0
        else:
            losses[b] = np.inf
            for t in range(n):  # a softmax with a NaN is NaN in all columns
                if np.isnan(p[t, b, blank]):
                    losses[b] = np.nan
            d[:, b] = 0


@kernel
def occupancy(p, label, blank):  # type: ignore[no-untyped-def]
    """How likely it is that frame t stands at symbol u of the label, whatever the alignment (T, U), given p (T, K); and
    -log P. Infinite where no alignment fits, NaN where shares are too small.
    """
    n, size = len(p), len(label)
    if not _fits(label, n):
        return np.zeros((n, size + 1))[:, 1:], np.inf
    ranges, work = np.zeros((n, 2), np.int64), np.zeros((8, size + 3))
    blanks, symbols, d = np.zeros((n + 1, size + 3)), np.zeros((n + 1, size + 3)), np.zeros((n, size + 1))
    _lay_out(label, work)
    _find_ranges(n, size, work, ranges)
    loss = _forward(p, n, label, blank, work, ranges, blanks, symbols)
    if not _take(p, n, label, blank, work, ranges, blanks, symbols, np.arange(1, size + 1), 0, d):
        loss = np.nan
    return -d[:, 1:], loss


@kernel
def log_likelihoods(p, labels, starts, blank):  # type: ignore[no-untyped-def]
    """log P of many labels (N,) of the same frames, p (T, K): label b is at starts[b]:starts[b + 1]; -infinite for one that
    does not fit, NaN where shares are too small.

    The frames' probabilities sum to at most 1. So a place that was lost had at most 1e-308 of all texts: nothing beside P,
    unless P is as small. Only then the shares of both directions are multiplied.
    """
    n, longest = len(p), 0
    for b in range(len(starts) - 1):
        if _fits(labels[starts[b] : starts[b + 1]], n):
            longest = max(longest, starts[b + 1] - starts[b])
    ranges, work, found = np.zeros((n, 2), np.int64), np.zeros((8, longest + 3)), np.zeros(len(starts) - 1)
    blanks, symbols = np.zeros((n + 1, longest + 3)), np.zeros((n + 1, longest + 3))
    columns, d = np.zeros(longest, np.int64), np.zeros((n, 1))
    for b in range(len(found)):
        label = labels[starts[b] : starts[b + 1]]
        if not _fits(label, n):
            found[b] = -np.inf
            continue
        _lay_out(label, work)
        _find_ranges(n, len(label), work, ranges)
        found[b] = -_forward(p, n, label, blank, work, ranges, blanks, symbols)
        if not _CERTAIN < found[b] < np.inf and not _take(
            p, n, label, blank, work, ranges, blanks, symbols, columns[: len(label)], 0, d
        ):
            found[b] = np.nan
    return found


@kernel
def _fits(label, n):  # type: ignore[no-untyped-def]
    """Whether a label has an alignment with n frames: a frame for each symbol, and for the blank between two equal ones."""
    needed = len(label)
    for u in range(1, len(label)):
        needed += label[u] == label[u - 1]
    return needed <= n


@kernel
def _lay_out(label, work):  # type: ignore[no-untyped-def]
    """Into work: 0: 1 where a symbol may follow the one before at once; 1: frames needed up to a symbol; 2: frames needed
    behind the blank that follows it.
    """
    skips, before, behind, n = work[0], work[1], work[2], len(label)
    skips[:] = before[:] = behind[:] = 0
    for u in range(n):
        twice = u > 0 and label[u] == label[u - 1]
        skips[u + 2] = 1 if u and not twice else 0
        before[u + 2] = before[u + 1] + (2 if twice else 1)
    for u in range(n):  # the next symbol, and what is behind it
        behind[u + 1] = 1 + before[n + 1] - before[u + 2]


@kernel
def _find_ranges(n, size, work, ranges):  # type: ignore[no-untyped-def]
    """The columns of each frame that can be reached and from which the end can be."""
    before, behind, low, high = work[1], work[2], 1, 1
    for t in range(n):
        while high <= size and before[high + 1] <= t + 1:
            high += 1
        while low <= size and behind[low] > n - 1 - t:
            low += 1
        ranges[t, 0], ranges[t, 1] = low, high


@kernel
def _forward(p, n, label, blank, work, ranges, blanks, symbols):  # type: ignore[no-untyped-def]
    """-log P of a row, p (T, K); the shares of frame t into row t + 1 of blanks and symbols."""
    skips, chosen, loss, total = work[0], work[3], 0.0, 1.0
    blanks[0, 1] = 1
    for t in range(n):
        low, high, scale = ranges[t, 0], ranges[t, 1], 1 / total
        for u in range(max(low, 2), high + 1):
            chosen[u] = p[t, label[u - 2]] * scale
        total = _further(
            low, high, blanks[t], symbols[t], skips, chosen, p[t, blank] * scale, blanks[t + 1], symbols[t + 1]
        )
        if t < n - 1:
            loss -= np.log(total)
    return loss - np.log(blanks[n, len(label) + 1] + symbols[n, len(label) + 1])


@kernel
def _further(low, high, blanks, symbols, skips, chosen, empty, new_blanks, new_symbols):  # type: ignore[no-untyped-def]
    """One frame forward: the sum of its shares."""
    a, s, a_left, s_left = blanks[low : high + 1], symbols[low : high + 1], blanks[low - 1 : high], symbols[low - 1 : high]
    to_a, to_s, skip, q = (
        new_blanks[low : high + 1],
        new_symbols[low : high + 1],
        skips[low : high + 1],
        chosen[low : high + 1],
    )
    total = 0.0
    for i in range(len(a)):
        to_a[i] = (a[i] + s[i]) * empty
        to_s[i] = (s[i] + a_left[i] + skip[i] * s_left[i]) * q[i]
        total += to_a[i] + to_s[i]
    new_blanks[low - 1] = new_symbols[low - 1] = new_blanks[high + 1] = new_symbols[high + 1] = 0
    return total


@kernel
def _take(p, n, label, blank, work, ranges, blanks, symbols, columns, nothing, d):  # type: ignore[no-untyped-def]
    """Take from d (T, ...) how likely each place is in each frame, symbols in their columns, blanks in that of `nothing`;
    whether that can be said.
    """
    skips, chosen, a, s, x, y = work[0], work[3], work[4], work[5], work[6], work[7]
    a[:] = s[:] = 0
    a[len(label) + 1] = s[len(label) + 1] = 1
    for t in range(n - 1, -1, -1):
        low, high = ranges[t]
        if t < n - 1:
            for u in range(max(low, 2), ranges[t + 1, 1] + 1):
                chosen[u] = p[t + 1, label[u - 2]]
            _back(low, high, ranges[t + 1, 1], a, s, skips, chosen, p[t + 1, blank], x, y)
        total = _times(
            blanks[t + 1, low : high + 1], symbols[t + 1, low : high + 1], a[low : high + 1], s[low : high + 1], x, y
        )
        if not _TOLD < total < np.inf:  # infinite where one over the sum of the frame before was
            return False
        empty, scale = 0.0, 1 / total
        for u in range(high + 1 - low):
            empty += x[u]
        for u in range(max(low, 2), high + 1):
            d[t, columns[u - 2]] -= y[u - low] * scale
        d[t, nothing] -= empty * scale
    return True


@kernel
def _times(of_blanks, of_symbols, a, s, x, y):  # type: ignore[no-untyped-def]
    """x, y: the shares of both directions multiplied; their sum."""
    total = 0.0
    for i in range(len(a)):
        x[i] = of_blanks[i] * a[i]
        y[i] = of_symbols[i] * s[i]
        total += x[i] + y[i]
    return total


@kernel
def _back(low, high, reached, blanks, symbols, skips, chosen, empty, x, y):  # type: ignore[no-untyped-def]
    """One frame back; reached: the last column of the frame behind."""
    for u in range(low, reached + 1):
        x[u] = blanks[u] * empty
        y[u] = symbols[u] * chosen[u]
    y[reached + 1] = 0
    n = high + 1 - low
    a, s, from_a, from_s = blanks[low : high + 1], symbols[low : high + 1], x[low : high + 1], y[low : high + 1]
    right, skip = y[low + 1 : high + 2], skips[low + 1 : high + 2]
    total = 0.0
    for i in range(n):
        a[i] = from_a[i] + right[i]
        s[i] = from_s[i] + from_a[i] + skip[i] * right[i]
        total += a[i] + s[i]
    scale = 1 / total
    for i in range(n):
        a[i] *= scale
        s[i] *= scale
