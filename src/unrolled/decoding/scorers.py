"""What is known of texts besides their sound, for the prefix search of CTC: language models, and words to listen for.

    score(text) = log P(text | sound) + weight log P(text) + reward (words or symbols of it)         shallow fusion

A symbol adds a piece of text; pieces of words begin without a blank. A model of words is asked when a word has ended, a
model of symbols at every one. Gulcehre et al. 2015, arXiv:1503.03535; Hannun et al. 2014, arXiv:1408.2873.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from unrolled.errors import ConfigError, ShapeError

__all__ = ["Hotwords", "SymbolModel", "TextModel", "WordModel"]


class TextModel(Protocol):
    """A language model that is asked for one token after another. A context is what has been read, whatever it is."""

    #: Whether tokens are words; else they are single characters.
    words: bool

    def first(self) -> Any:
        """The context before a text."""
        ...

    def read(self, asked: Sequence[tuple[Any, str]]) -> list[tuple[float, Any]]:
        """For each context and token: log P of the token there, in nats, and the context behind it."""
        ...

    def ending(self, contexts: Sequence[Any]) -> list[float]:
        """log P, in nats, that the text ends there."""
        ...


def _check_weights(*weights: float) -> None:
    """ConfigError for a weight or a reward that is NaN or infinite."""
    if not all(map(math.isfinite, weights)):
        raise ConfigError(f"weights and rewards of a search must be finite numbers, got {', '.join(map(str, weights))}")


def _check_ids(parents: np.ndarray, symbols: np.ndarray, n_prefixes: int, n_pieces: int) -> None:
    """ShapeError for a prefix that was not made yet, or a symbol that has no piece of text."""
    for name, ids, n in (("prefix", parents, n_prefixes), ("symbol", symbols, n_pieces)):
        if len(ids) and not 0 <= ids.min() <= ids.max() < n:
            raise ShapeError(f"got {name} {ids.min()}..{ids.max()}, expected 0..{n - 1}")


class SymbolModel:
    """A `Scorer` by a model of characters. pieces: the text that each symbol of the recogniser adds."""

    def __init__(self, model: TextModel, pieces: Sequence[str], weight: float, reward: float) -> None:
        _check_weights(weight, reward)
        self.model, self.pieces, self.weight, self.reward = model, pieces, weight, reward
        self._contexts: list[Any] = []

    def begin(self) -> None:
        self._contexts = [self.model.first()]

    def grow(self, parents: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        _check_ids(parents, symbols, len(self._contexts), len(self.pieces))
        asked = [(self._contexts[n], self.pieces[k]) for n, k in zip(parents.tolist(), symbols.tolist(), strict=True)]
        found, contexts = np.zeros(len(asked)), [context for context, _ in asked]
        for place in range(max((len(piece) for _, piece in asked), default=0)):
            which = [i for i, (_, piece) in enumerate(asked) if place < len(piece)]
            answers = self.model.read([(contexts[i], asked[i][1][place]) for i in which])
            for i, (log_probability, context) in zip(which, answers, strict=True):
                found[i] += self.weight * log_probability + self.reward
                contexts[i] = context
        self._contexts += contexts
        return found

    def end(self, prefixes: np.ndarray) -> np.ndarray:
        return self.weight * np.array(self.model.ending([self._contexts[n] for n in prefixes.tolist()]))


class _Text(NamedTuple):
    """A context, and the letters of the word that has begun."""

    context: Any
    word: str


class WordModel:
    """A `Scorer` by a model of words, asked at the end of each."""

    def __init__(self, model: TextModel, pieces: Sequence[str], weight: float, reward: float) -> None:
        _check_weights(weight, reward)
        self.model, self.pieces, self.weight, self.reward = model, pieces, weight, reward
        self._texts: list[_Text] = []

    def begin(self) -> None:
        self._texts = [_Text(self.model.first(), "")]

    def grow(self, parents: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        _check_ids(parents, symbols, len(self._texts), len(self.pieces))
        found, ended = np.zeros(len(parents)), list[tuple[int, _Text, str]]()
        first = len(self._texts)
        for i, (n, k) in enumerate(zip(parents.tolist(), symbols.tolist(), strict=True)):
            before, piece = self._texts[n], self.pieces[k]
            if piece[:1].isspace() and before.word:
                ended.append((i, before, piece.strip()))
                self._texts.append(before)
            else:
                self._texts.append(_Text(before.context, before.word + piece.strip()))
        if ended:
            answers = self.model.read([(before.context, before.word) for _, before, _ in ended])
            for (i, _, piece), (log_probability, context) in zip(ended, answers, strict=True):
                found[i] = self.weight * log_probability + self.reward
                self._texts[first + i] = _Text(context, piece)
        return found

    def end(self, prefixes: np.ndarray) -> np.ndarray:
        texts, found = [self._texts[n] for n in prefixes.tolist()], np.zeros(len(prefixes))
        last = [i for i, text in enumerate(texts) if text.word]
        contexts = [text.context for text in texts]
        answers = self.model.read([(texts[i].context, texts[i].word) for i in last])
        for i, (log_probability, context) in zip(last, answers, strict=True):
            found[i] = self.weight * log_probability + self.reward
            contexts[i] = context
        return found + self.weight * np.array(self.model.ending(contexts))


class _Match(NamedTuple):
    """letters: of whole phrases that have been heard; open: those under way, each a place in the tree of phrases and how
    many of its letters have been counted, as a shorter phrase; letter: the last, or a blank at the beginning.
    """

    letters: int
    open: tuple[tuple[int, int], ...]
    letter: str


class Hotwords:
    """A `Scorer` for words and phrases that are likely here: each letter of one adds `weight`, and is taken back if the
    phrase does not come to its end at the end of a word. The cost of a step does not grow with the number of phrases.
    """

    def __init__(self, phrases: Sequence[str], pieces: Sequence[str], weight: float) -> None:
        _check_weights(weight)
        self.pieces, self.weight = pieces, weight
        self._next: list[dict[str, int]] = [{}]
        self._depth, self._whole = [0], [False]
        for phrase in phrases:
            self._add(" ".join(phrase.split()))
        if len(self._next) == 1:
            raise ConfigError("there are no words to listen for")
        self._texts: list[_Match] = []

    def _add(self, phrase: str) -> None:
        node = 0
        for letter in phrase:
            if letter not in self._next[node]:
                self._next[node][letter] = len(self._next)
                self._next.append({})
                self._depth.append(self._depth[node] + 1)
                self._whole.append(False)
            node = self._next[node][letter]
        self._whole[node] = node != 0

    def begin(self) -> None:
        self._texts = [_Match(0, (), " ")]

    def _value(self, match: _Match) -> float:
        under_way = max((self._depth[node] - counted for node, counted in match.open), default=0)
        return self.weight * (match.letters + under_way)

    def _after(self, match: _Match, letter: str) -> _Match:
        letter = " " if re.match(r"\s", letter) else letter
        letters, under_way = match.letters, match.open
        if letter == " ":
            ended = max((self._depth[n] - counted for n, counted in under_way if self._whole[n]), default=0)
            letters += ended
            under_way = tuple((n, self._depth[n] if self._whole[n] else counted) for n, counted in under_way)
        elif match.letter == " ":
            under_way = (*under_way, (0, 0))
        going = tuple((self._next[n][letter], counted) for n, counted in under_way if letter in self._next[n])
        return _Match(letters, going, letter)

    def grow(self, parents: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        _check_ids(parents, symbols, len(self._texts), len(self.pieces))
        found = np.zeros(len(parents))
        for i, (n, k) in enumerate(zip(parents.tolist(), symbols.tolist(), strict=True)):
            match = before = self._texts[n]
            for letter in self.pieces[k]:
                match = self._after(match, letter)
            self._texts.append(match)
            found[i] = self._value(match) - self._value(before)
        return found

    def end(self, prefixes: np.ndarray) -> np.ndarray:
        texts = [self._texts[n] for n in prefixes.tolist()]
        return np.array([self._value(self._after(text, " ")._replace(open=())) - self._value(text) for text in texts])
