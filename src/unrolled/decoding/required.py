"""Phrases that a sequence must have somewhere, and how much of them it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unrolled.errors import ConfigError

__all__ = ["Prescribed", "Required"]


class Prescribed(NamedTuple):
    """What the sequences of a sentence must have: symbols at the beginning, phrases anywhere. longest: symbols at most, the
    end not counted, where that is less than for all.
    """

    prefix: Sequence[int] = ()
    phrases: Sequence[Sequence[int]] = ()
    longest: int | None = None


class Required(NamedTuple):
    """The phrases, each a tuple of symbols."""

    phrases: tuple[tuple[int, ...], ...]

    @staticmethod
    def of(phrases: Sequence[Sequence[int]], max_length: int) -> Required:
        """The phrases, each once. ConfigError if one is empty, or if all of them are longer than `max_length`."""
        found = Required(tuple(dict.fromkeys(tuple(map(int, phrase)) for phrase in phrases)))
        if not all(found.phrases):
            raise ConfigError("a required phrase is empty")
        n = sum(map(len, found.phrases))
        if n > max_length:
            raise ConfigError(f"required are {n} symbols, but sequences have at most {max_length}: raise max-length")
        return found

    def missing(self, symbols: np.ndarray) -> list[tuple[int, ...]]:
        """The phrases that do not stand in a sequence (t,)."""
        row = symbols.tolist()
        return [phrase for phrase in self.phrases if not _stands(phrase, row)]

    def wanted(self, symbols: np.ndarray) -> set[int]:
        """The symbols after a sequence (t,) that go on with a phrase that is missing."""
        row = symbols.tolist()
        return {phrase[_begun(phrase, row)] for phrase in self.missing(symbols)}

    def had(self, symbols: np.ndarray) -> int:
        """How many symbols of phrases a sequence (t,) has: those of whole ones, and the most at its end of another."""
        missing, row = self.missing(symbols), symbols.tolist()
        whole = sum(map(len, self.phrases)) - sum(map(len, missing))
        return whole + max((_begun(phrase, row) for phrase in missing), default=0)


def _stands(phrase: tuple[int, ...], row: list[int]) -> bool:
    n = len(phrase)
    return any(tuple(row[i : i + n]) == phrase for i in range(len(row) - n + 1))


def _begun(phrase: tuple[int, ...], row: list[int]) -> int:
    """How many symbols of a phrase that is missing stand at the end of a row."""
    return next(n for n in range(min(len(phrase) - 1, len(row)), -1, -1) if tuple(row[len(row) - n :]) == phrase[:n])
