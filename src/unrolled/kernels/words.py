"""Text as numbered words: code points in, the number of each word out, new words entered in a table as they appear.

The table is a hash table with open addressing: `slots` holds the number of a word where its hash leads to, or one of the
places behind it. The characters of all words lie one after another in `letters`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from unrolled.kernels._jit import kernel

__all__ = [
    "ALONE",
    "BLANK",
    "FORMAT",
    "JOINING",
    "LETTER",
    "LINE",
    "LONGEST",
    "MARK",
    "REGIONAL",
    "SIGN",
    "ZERO_WIDTH_JOINER",
    "WordTable",
    "mark",
    "new_table",
    "number_words",
]

#: What a character is: between words; part of one; the end of a line; a word by itself; part of one between two letters;
BLANK, LETTER, LINE, ALONE, JOINING = range(5)
#: part of what precedes it, or the beginning of a word; part of a word between two letters or marks; part of the word
#: before it, or between two parts of an emoji sequence; left out, with its marks; half of a flag, two of which are a word.
MARK, FORMAT, ZERO_WIDTH_JOINER, SIGN, REGIONAL = range(5, 10)
#: Characters of a word beyond this are not told apart.
LONGEST = 1000
#: The hash of a word without letters.
_EMPTY = np.uint64(0xCBF29CE484222325)


class WordTable(NamedTuple):
    """The words so far. slots: a power of two; starts (room + 1,), counts (room,), letters: the first `n` are used;
    n (1,): how many words there are.
    """

    slots: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    letters: np.ndarray
    n: np.ndarray


def new_table(room: int, letters: int, old: WordTable | None = None) -> WordTable:
    """A table with room for so many words and letters, with the words of an old one in it."""
    table = WordTable(
        np.full(1 << (2 * room - 1).bit_length(), -1, np.int32),
        np.zeros(room + 1, np.int64),
        np.zeros(room, np.int64),
        np.zeros(letters, np.uint32),
        np.zeros(1, np.int64),
    )
    if old is not None:
        n = int(old.n[0])
        table.starts[: n + 1], table.counts[:n], table.n[0] = old.starts[: n + 1], old.counts[:n], n
        table.letters[: old.starts[n]] = old.letters[: old.starts[n]]
        _enter_again(table)
    return table


@kernel
def _mixed(mixed, letter):  # type: ignore[no-untyped-def]
    """The hash of a word with one letter more. FNV-1a (Fowler, Noll, Vo)."""
    return (mixed ^ np.uint64(letter)) * np.uint64(0x100000001B3)


@kernel
def _slot(mixed, letters, start, end, slots, starts, known):  # type: ignore[no-untyped-def]
    """The slot of the word letters[start:end], of that hash: where its number is, or where it belongs."""
    mask = np.int64(len(slots) - 1)
    at = np.int64(mixed ^ (mixed >> np.uint64(29))) & mask
    while slots[at] >= 0:
        first, i = starts[slots[at]], 0
        if starts[slots[at] + 1] - first == end - start:
            while i < end - start and known[first + i] == letters[start + i]:
                i += 1
            if i == end - start:
                break
        at = (at + 1) & mask
    return at


@kernel
def _enter_again(table):  # type: ignore[no-untyped-def]
    slots, starts, _, letters, n = table
    for word in range(n[0]):
        mixed = _EMPTY
        for i in range(starts[word], starts[word + 1]):
            mixed = _mixed(mixed, letters[i])
        slots[_slot(mixed, letters, starts[word], starts[word + 1], slots, starts, letters)] = word


@kernel
def mark(codes, seen):  # type: ignore[no-untyped-def]
    """seen (code points,) bool: true for each of codes (N,)."""
    for code in codes:
        seen[code] = True


@kernel
def _word_goes_on(codes, at, kinds):  # type: ignore[no-untyped-def]
    """Whether the character at a place behind the beginning of a word of letters belongs to it."""
    kind, end = kinds[codes[at]], len(codes)
    if kind in (LETTER, MARK, ZERO_WIDTH_JOINER):
        return True
    if kind == JOINING:
        return at + 1 < end and kinds[codes[at + 1]] == LETTER
    if kind != FORMAT:
        return False
    if kinds[codes[at - 1]] == FORMAT:
        return True  # it was decided at the beginning of the run
    end = min(end, at + LONGEST)  # so that the time is linear where joiners and other format characters alternate
    while at < end and (kinds[codes[at]] == FORMAT or kinds[codes[at]] == ZERO_WIDTH_JOINER):
        at += 1
    return at < end and (kinds[codes[at]] == LETTER or kinds[codes[at]] == MARK)


@kernel
def _sign_goes_on(codes, first, at, kinds):  # type: ignore[no-untyped-def]
    """Whether the character at a place behind codes[first], which is ALONE or REGIONAL, belongs to it."""
    kind = kinds[codes[at]]
    if kind == ZERO_WIDTH_JOINER:
        return at + 1 < len(codes) and kinds[codes[at + 1]] == ALONE
    if kind == ALONE:
        return kinds[codes[at - 1]] == ZERO_WIDTH_JOINER
    return kind == MARK or (kind == REGIONAL and at == first + 1 and kinds[codes[first]] == REGIONAL)


@kernel
def number_words(codes, at, kinds, lower, table, numbers):  # type: ignore[no-untyped-def]
    """Number the words of codes (N,) from place `at` on, until the text or the room for words, letters or numbers ends.

    kinds (code points,): what each character is; lower (code points,): what it is written as. Lines end with -1 in
    `numbers`. Returns the place to go on at, and how many numbers there are.
    """
    slots, starts, counts, letters, n = table
    found, end, words = 0, len(codes), n[0]
    while at < end and found + 2 < len(numbers) and words < len(counts):
        kind = kinds[codes[at]]
        if kind == LINE:
            numbers[found] = -1
            found += 1
        if kind != LETTER:
            if kind == SIGN:
                at += 1
                while at < end and (kinds[codes[at]] == MARK or kinds[codes[at]] == ZERO_WIDTH_JOINER):
                    at += 1
                continue
            if kind not in (ALONE, MARK, REGIONAL):
                at += 1
                continue
        room = starts[words]
        if room + LONGEST > len(letters):
            break
        length, mixed, first = 0, _EMPTY, at
        sign = kind in (ALONE, REGIONAL)
        while at < end:
            kind = kinds[codes[at]]
            if kind == BLANK and at > first:
                break
            if (
                (sign or kind != LETTER)  # letters in words, and blanks, are told apart here: that is faster
                and at > first
                and not (_sign_goes_on(codes, first, at, kinds) if sign else _word_goes_on(codes, at, kinds))
            ):
                break
            if length < LONGEST:
                letters[room + length] = lower[codes[at]]
                mixed = _mixed(mixed, letters[room + length])
                length += 1
            at += 1
        slot = _slot(mixed, letters, room, room + length, slots, starts, letters)
        if slots[slot] < 0:
            slots[slot] = words
            starts[words + 1] = room + length
            words += 1
        numbers[found] = slots[slot]
        counts[slots[slot]] += 1
        found += 1
    n[0] = words
    return at, found
