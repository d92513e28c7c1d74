"""What an unknown word costs: the price of spelling it, so that bits per character compare across tokenizers.

A model with a vocabulary says only "some unknown word"; a model over characters would have to write the word out. The
spelling cost closes the gap: the word's characters and its end under a unigram model of characters fitted to the words
that the vocabulary left out, with a little mass for every Unicode character never seen.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

__all__ = ["Spelling"]

_CODE_POINTS = 0x110000


class Spelling:
    """Character counts of rare words; `cost` in nats."""

    def __init__(self, counts: Counter[str], words: int) -> None:
        self.counts, self.words = counts, words
        self._total = sum(counts.values()) + words + 1

    @staticmethod
    def fit(words: Iterable[str]) -> Spelling:
        """Count the characters of `words`, each word once."""
        counts: Counter[str] = Counter()
        n = 0
        for word in words:
            counts.update(word)
            n += 1
        return Spelling(counts, n)

    def cost(self, word: str) -> float:
        """-log P(word), end of word included."""
        end = -math.log((self.words + 1) / (self._total + 1))
        seen, total, unseen = self.counts, self._total + 1, 1 / _CODE_POINTS
        return end + sum(-math.log((seen.get(c, 0) + unseen) / total) for c in word)

    def to_json(self) -> dict[str, Any]:
        return {"counts": dict(self.counts), "words": self.words}

    @staticmethod
    def from_json(data: dict[str, Any]) -> Spelling:
        return Spelling(Counter(data["counts"]), data["words"])
