"""Translations: what is wished of them, what is told of them, long texts in parts, and how good they are by length."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from unrolled.data.pairs import Pairs
from unrolled.features.tokenizers import words_in
from unrolled.metrics.translation import bleu_tokenizer, corpus_scores

__all__ = ["Translation", "Wishes", "by_length", "in_parts", "joined"]


class Translation(NamedTuple):
    """text, its score (see `decoding.beam`), its symbols and log P of each; attention (T, S): how much each symbol looked
    at each symbol of the source, `read`; optimal: nothing that the beam could have reached is better; others: the next;
    parts: in how many the text was translated because it is too long.
    """

    source: str
    text: str
    score: float
    symbols: list[str]
    token_scores: list[float]
    read: list[str]
    attention: np.ndarray | None
    optimal: bool
    others: tuple[Translation, ...] = ()
    parts: int = 1

    def to_json(self) -> dict[str, Any]:
        """One JSON line of `predict`."""
        scored = zip(self.symbols, self.token_scores, strict=True)
        found: dict[str, Any] = {"source": self.source, "translation": self.text, "score": self.score}
        found["tokens"] = [{"token": symbol, "log_probability": round(p, 6)} for symbol, p in scored]
        found["read"] = self.read
        found |= {"optimal_in_beam": self.optimal}
        if self.attention is not None and self.parts == 1:  # of parts it is mostly zeros, and as long as wide
            found["attention"] = [[round(float(a), 4) for a in row] for row in self.attention]
        found |= {} if self.parts == 1 else {"parts": self.parts}
        return found | ({"others": [other.to_json() for other in self.others]} if self.others else {})


class Wishes(NamedTuple):
    """What is wished of translations. prefix: what each begins with; required: words or phrases that each has;
    replace_unknown: a word that the model cannot write is that of the source which it looked at most.
    """

    prefix: str = ""
    required: Sequence[str] = ()
    replace_unknown: bool = False


def joined(text: str, parts: list[Translation]) -> Translation:
    """The translation of a text from those of its parts."""
    if len(parts) == 1:
        return parts[0]._replace(source=text)
    if not parts:
        return Translation(text, "", 0.0, [], [], [], None, True)
    attention = None
    if all(part.attention is not None for part in parts):
        attention = np.zeros((sum(len(part.symbols) for part in parts), sum(len(part.read) for part in parts)))
        t = s = 0
        for part in parts:
            attention[t : (t := t + len(part.symbols)), s : (s := s + len(part.read))] = part.attention
    return Translation(
        text,
        " ".join(part.text for part in parts),
        sum(part.score for part in parts),
        [symbol for part in parts for symbol in part.symbols],
        [score for part in parts for score in part.token_scores],
        [symbol for part in parts for symbol in part.read],
        attention,
        all(part.optimal for part in parts),
        parts=len(parts),
    )


def in_parts(text: str, fits: Callable[[str], bool]) -> list[str]:
    """The text, or parts of it that fit: parted at the end of a sentence, else at a blank, as near its middle as can be."""
    if fits(text) or len(text) < 2:
        return [text]
    for pattern in (r"(?<=[.!?…])\s+|(?<=[。！？])", r"\s+", r"(?!^)(?!$)"):
        places = [found.span() for found in re.finditer(pattern, text) if found.start() > 0 and found.end() < len(text)]
        if places:
            first, last = min(places, key=lambda place: abs(place[0] + place[1] - len(text)))
            return [*in_parts(text[:first], fits), *in_parts(text[last:], fits)]
    return [text]


def by_length(pairs: Pairs, texts: Sequence[str]) -> list[dict[str, Any]]:
    """BLEU of sentences by the number of words of the source: quarters of the pairs."""
    lengths = np.array([len(words_in(source)) for source in pairs.sources])
    bounds = np.unique(np.quantile(lengths, (0, 0.25, 0.5, 0.75, 1), method="lower"))
    bounds = np.repeat(bounds, 2) if len(bounds) == 1 else bounds
    found, tokenizer = [], bleu_tokenizer(pairs.targets)
    for low, high in pairwise(bounds):
        which = np.flatnonzero((lengths >= low) & ((lengths < high) | (high == bounds[-1]))).tolist()
        scores = corpus_scores([texts[i] for i in which], [pairs.targets[i] for i in which], tokenizer)
        found.append({"words": [int(low), int(high)], "pairs": len(which), "bleu": scores["bleu"]})
    return found
