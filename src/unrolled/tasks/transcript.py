"""What is said in a recording: its text and its words with their times; the words of its pieces as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Alternative", "Transcript", "Word", "joined", "later"]


class Word(NamedTuple):
    """A word, when it begins and ends in seconds, and how sure the model is of it, 0 to 1."""

    text: str
    begin: float
    end: float
    confidence: float


class Alternative(NamedTuple):
    """Another text for a recording; log_probability: by the sound, in nats; score: what the search ranks texts by."""

    text: str
    log_probability: float
    score: float


class Transcript(NamedTuple):
    """What is said in a recording of so many seconds; its words; log_probability: of the text, in nats; others: the next
    best texts, best first; score: what the search ranks them by, if there are others.

    The score is the log-probability by CTC plus what language models and hotwords add; for a decoder with attention the
    log-probability is divided by a length penalty.
    """

    file: str
    text: str
    words: tuple[Word, ...]
    log_probability: float
    seconds: float
    others: tuple[Alternative, ...] = ()
    score: float | None = None

    def to_json(self) -> dict[str, Any]:
        """One JSON line of `predict`."""
        words = [
            {"word": w.text, "start": round(w.begin, 3), "end": round(w.end, 3), "confidence": round(w.confidence, 4)}
            for w in self.words
        ]
        found: dict[str, Any] = {"file": self.file, "text": self.text, "words": words}
        found |= {"log_probability": round(self.log_probability, 6), "seconds": round(self.seconds, 3)}
        others = [
            {"text": other.text, "log_probability": round(other.log_probability, 6), "score": round(other.score, 6)}
            for other in self.others
        ]
        score = {} if self.score is None else {"score": round(self.score, 6)}
        return found | (score | {"others": others} if others else {})

    def ranked(self) -> list[tuple[float, str]]:
        """Return the score and the text of this transcript and of the others, best first."""
        best = self.log_probability if self.score is None else self.score
        return [(best, self.text), *((other.score, other.text) for other in self.others)]


def later(word: Word, seconds: float) -> Word:
    """A word so many seconds later."""
    return word._replace(begin=word.begin + seconds, end=word.end + seconds)


def joined(parts: Sequence[Sequence[Word]], cuts: Sequence[float]) -> list[Word]:
    """The words of overlapping pieces of a recording, cut at `cuts` in seconds: those whose middle lies in a piece's own
    part; one at a cut that both or neither would count is taken once.
    """
    found = list[Word]()
    for i, words in enumerate(parts):
        low, high = cuts[i - 1] if i else -np.inf, cuts[i] if i < len(cuts) else np.inf
        own = [w for w in words if low <= (w.begin + w.end) / 2 < high]
        if i:
            behind = [w for w in parts[i - 1] if (w.begin + w.end) / 2 >= low]
            before = [w for w in words if (w.begin + w.end) / 2 < low]
            if found and own and _same(found[-1], own[0]):
                own = own[1:]
            elif behind and before and _same(behind[0], before[-1]):
                own = [behind[0], *own]
        found += own
    return found


def _same(one: Word, other: Word) -> bool:
    """Whether two words are one, heard twice."""
    return one.text == other.text and one.begin < other.end and other.begin < one.end
