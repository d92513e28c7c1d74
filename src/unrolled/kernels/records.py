"""Word vectors in files as bytes: rows of text "word 0.1 -0.2 ...", records "word " + 4-byte floats, and fastText's words.

Each function goes from record to record and stops at the first that is not as it should be; it returns how many were
right and where the next one begins.
"""

from __future__ import annotations

import numpy as np

from unrolled.kernels._jit import kernel

__all__ = ["read_binary", "read_dictionary", "read_text"]

_SPACE, _TAB, _LINE, _RETURN, _MINUS, _PLUS, _POINT, _ZERO, _NINE = 32, 9, 10, 13, 45, 43, 46, 48, 57
_POWERS = 10.0 ** np.arange(0, 64)


@kernel
def _number(data, at, end):  # type: ignore[no-untyped-def]
    """The decimal number that begins at `at`, and the place behind it; that is `at` itself if there is none."""
    start, negative = at, False
    if at < end and (data[at] == _MINUS or data[at] == _PLUS):
        negative = data[at] == _MINUS
        at += 1
    digits, exponent, seen = np.int64(0), 0, 0
    while at < end and _ZERO <= data[at] <= _NINE:
        if digits < 100_000_000_000_000_000:
            digits = digits * 10 + (np.int64(data[at]) - _ZERO)
        else:
            exponent += 1
        at, seen = at + 1, seen + 1
    if at < end and data[at] == _POINT:
        at += 1
        while at < end and _ZERO <= data[at] <= _NINE:
            if digits < 100_000_000_000_000_000:
                digits = digits * 10 + (np.int64(data[at]) - _ZERO)
                exponent -= 1
            at, seen = at + 1, seen + 1
    if seen == 0:
        return 0.0, start
    if at < end and (data[at] == 101 or data[at] == 69):  # e, E
        mark, sign, power, some = at, 1, 0, 0
        at += 1
        if at < end and (data[at] == _MINUS or data[at] == _PLUS):
            sign = -1 if data[at] == _MINUS else 1
            at += 1
        while at < end and _ZERO <= data[at] <= _NINE:
            power, at, some = min(power * 10 + (np.int64(data[at]) - _ZERO), 1000), at + 1, some + 1
        if some == 0:
            return 0.0, start if mark == start else mark
        exponent += sign * power
    value = np.float64(digits)
    while exponent < 0 and value != 0:
        step = min(-exponent, 63)
        value, exponent = value / _POWERS[step], exponent + step
    while exponent > 0 and value != 0 and value < np.inf:
        step = min(exponent, 63)
        value, exponent = value * _POWERS[step], exponent - step
    return (-value if negative else value), at


@kernel
def read_text(data, at, vectors, ends):  # type: ignore[no-untyped-def]
    """Rows of a word, a blank, and as many numbers as `vectors` (rows, D) has columns; the word may hold blanks.

    ends (rows, 2): where each word begins and ends.
    """
    rows, size = vectors.shape
    length = len(data)
    for row in range(rows):
        if at >= length:
            return row, at
        line = at
        while line < length and data[line] != _LINE:
            line += 1
        end = line
        while end > at and (data[end - 1] == _SPACE or data[end - 1] == _RETURN or data[end - 1] == _TAB):
            end -= 1
        place = end
        for _ in range(size):  # from the right: what is left is the word
            while place > at and data[place - 1] != _SPACE and data[place - 1] != _TAB:
                place -= 1
            place -= 1
        if place < at:  # an empty word is one, too
            return row, at
        ends[row, 0], ends[row, 1] = at, place
        for k in range(size):
            value, behind = _number(data, place + 1, end)
            if behind == place + 1 or (behind < end and data[behind] != _SPACE and data[behind] != _TAB):
                return row, at
            vectors[row, k], place = value, behind
        at = line + 1
    return rows, at


@kernel
def read_binary(data, at, vectors, ends):  # type: ignore[no-untyped-def]
    """Records of a word, a blank, and the bytes of D floats; a line end may follow. vectors (rows, 4 D) of bytes."""
    rows, size = vectors.shape
    length = len(data)
    for row in range(rows):
        start = at
        while start < length and data[start] == _LINE:
            start += 1
        end = start
        while end < length and data[end] != _SPACE and data[end] != _LINE:
            end += 1
        if end + 1 + size > length or data[end] != _SPACE:
            return row, at
        ends[row, 0], ends[row, 1] = start, end
        vectors[row] = data[end + 1 : end + 1 + size]
        at = end + 1 + size
    return rows, at


@kernel
def read_dictionary(data, at, ends, counts, kinds):  # type: ignore[no-untyped-def]
    """fastText's entries: a name, 0, the 8 bytes of its count, one byte for its kind. ends (n, 2): where each name lies."""
    length = len(data)
    for row in range(len(counts)):
        end = at
        while end < length and data[end] != 0:
            end += 1
        if end + 10 > length:
            return row, at
        ends[row, 0], ends[row, 1] = at, end
        count = np.int64(0)
        for k in range(8):
            count |= np.int64(data[end + 1 + k]) << (8 * k)
        counts[row], kinds[row] = count, data[end + 9]
        at = end + 10
    return len(counts), at
