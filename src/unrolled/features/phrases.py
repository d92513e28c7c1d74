"""Words that belong together joined into one: new york -> new_york (Mikolov et al. 2013, arXiv:1310.4546, section 4).

    pairs = learn_phrases(words, threshold=0.5, min_count=20)      # [("new", "york"), ...]
    words = join_phrases(words, pairs, spool)                      # again: phrases of up to four words

Two neighbours belong together if they meet more often than by chance: by normalised pointwise mutual information (Bouma
2009), log(p(ab) / p(a)p(b)) / -log p(ab): 1 if they never stand apart, 0 if they meet by chance.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import numpy as np

from unrolled.features.numbering import Spool
from unrolled.features.words import Words
from unrolled.kernels.pairs import join_pairs

__all__ = ["BETWEEN", "join_phrases", "learn_phrases"]

#: Stands between the words of a phrase.
BETWEEN = "_"
_BLOCK = 1 << 22


def learn_phrases(words: Words, *, threshold: float, min_count: int) -> list[tuple[str, str]]:
    """Pairs of words that meet at least so often, and whose normalised information is at least the threshold."""
    keys, met = np.zeros(0, np.int64), np.zeros(0, np.int64)
    frequent = np.append(words.counts >= min_count, False)  # the last stands for -1, the end of a line
    for at in range(0, len(words.numbers), _BLOCK):
        some = words.numbers[at : at + _BLOCK + 1].astype(np.int64)
        both = frequent[some[:-1]] & frequent[some[1:]]
        found, n = np.unique((some[:-1][both] << 32) | some[1:][both], return_counts=True)
        keys, place = np.unique(np.concatenate([keys, found]), return_inverse=True)
        met = np.bincount(place, np.concatenate([met, n]), len(keys)).astype(np.int64)
    keys, met = keys[met >= min_count], met[met >= min_count]
    first, second = keys >> 32, keys & 0xFFFFFFFF
    total = max(1, int(words.counts.sum()))
    share = met / total
    information = np.log(share * total * total / (words.counts[first] * words.counts[second].astype(float)))
    normalised = information / np.maximum(-np.log(share), 1e-12)
    good = np.flatnonzero(normalised >= threshold)
    good = good[np.argsort(-met[good], kind="stable")]
    return list(zip(words.spelled(first[good].tolist()), words.spelled(second[good].tolist()), strict=True))


def join_phrases(words: Words, pairs: Collection[tuple[str, str]], spool: Spool, name: str = "joined") -> Words:
    """The text with these pairs as one word each, "first_second", wherever they meet; from left to right."""
    numbers = {word: n for n, word in enumerate(words.spelled(range(len(words))))}
    known = sorted((numbers[a] << 32) | numbers[b] for a, b in pairs if a in numbers and b in numbers)
    keys, begins = np.array(known, np.int64), np.zeros(len(words), np.bool_)
    begins[keys >> 32] = True
    joined = spool.pile(name, _joined(words.numbers, begins, keys, len(words)), np.dtype(np.int32))
    counts = np.zeros(len(words) + len(keys), np.int64)
    for at in range(0, len(joined), _BLOCK):
        some = joined[at : at + _BLOCK]
        counts += np.bincount(some[some >= 0], minlength=len(counts))

    def spelled(wanted: Iterable[int]) -> list[str]:
        found = []
        for n in wanted:
            key = [n] if n < len(words) else [int(keys[n - len(words)] >> 32), int(keys[n - len(words)] & 0xFFFFFFFF)]
            found.append(BETWEEN.join(words.spelled(key)))
        return found

    return Words(counts, joined, spelled)


def _joined(numbers: np.ndarray, begins: np.ndarray, keys: np.ndarray, base: int) -> Iterator[np.ndarray]:
    at, room = 0, np.empty(_BLOCK + 1, np.int32)
    while at < len(numbers):
        some = np.ascontiguousarray(numbers[at : at + _BLOCK + 1])
        read, found = join_pairs(some, min(_BLOCK, len(some)), begins, keys, base, room)
        yield room[:found].copy()
        at += read
