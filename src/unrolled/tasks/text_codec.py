"""Text <-> ids of a text task: tokenizer, vocabulary and spelling together, as they stand in a model folder."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unrolled.errors import DataError, FolderError
from unrolled.features.spelling import Spelling
from unrolled.features.tokenizers import Tokenizer, load_tokenizer, sequences
from unrolled.features.vocabulary import END, UNKNOWN, Vocabulary
from unrolled.folders import read_json, write_json
from unrolled.metrics.perplexity import Tally

__all__ = ["TextCodec", "Written"]


class TextCodec(NamedTuple):
    """How text becomes ids and back."""

    tokenizer: Tokenizer
    vocabulary: Vocabulary
    spelling: Spelling
    sentences: bool

    @staticmethod
    def fit(tokenizer: Tokenizer, counts: Counter[str], options: Any) -> TextCodec:
        """Build vocabulary and spelling from the symbols of the training text. `options`: the section [data]."""
        size = options.vocabulary_size or tokenizer.default_size
        minimum = options.min_count or tokenizer.default_min_count
        vocabulary = Vocabulary.build(counts, min_count=minimum, max_size=size, always=tokenizer.alphabet())
        if len(vocabulary) - (1 if counts[END] else 2) < 2:
            raise DataError(
                f"the training text has {len(vocabulary) - 2} different {tokenizer.unit}, but a language model needs at "
                "least two to choose between. Is this the right file? Are --tokens, --min-count, --vocabulary-size right?"
            )
        rare = [s for s in counts if s not in vocabulary] or [s for s, n in counts.items() if n == 1] or list(counts)
        return TextCodec(tokenizer, vocabulary, Spelling.fit(rare), options.sentences)

    def texts(self, text: str) -> list[list[str]]:
        """The token sequences that are read from their own start: the text, or each of its lines under `sentences`."""
        return sequences(self.tokenizer, text, sentences=self.sentences)

    def pieces(self, symbols: list[str]) -> Iterator[str]:
        """The text that each symbol of one sequence stands for; an end of line under `sentences`."""
        plain = symbols[:-1] if self.sentences and self.tokenizer.name != "whitespace" else symbols
        yield from itertools.islice(self.tokenizer.pieces(plain), len(plain))
        yield from ("\n" for _ in symbols[len(plain) :])

    def tally(self, symbols: list[str], ids: np.ndarray, nats: float) -> Tally:
        """Count what a text of these symbols cost."""
        spelling = None if self._untold(UNKNOWN) and UNKNOWN in symbols else sum(self.spelled(symbols, ids))
        characters = sum(map(len, self.pieces(symbols)))
        return Tally(nats, len(symbols), int((ids == Vocabulary.unknown).sum()), characters, spelling)

    def spelled(self, symbols: list[str], ids: np.ndarray) -> list[float]:
        """Nats to spell each symbol that is unknown; nothing where the text itself does not tell the word."""
        unknown = (ids == Vocabulary.unknown).tolist()
        return [self.spelling.cost(s) if u and not self._untold(s) else 0.0 for s, u in zip(symbols, unknown, strict=True)]

    def _untold(self, symbol: str) -> bool:
        """Whether the symbol stands for a word that was taken out of the text."""
        return symbol == UNKNOWN and self.tokenizer.name == "whitespace"

    def save(self, folder: Path) -> None:
        """Write vocabulary.json, tokenizer.json and spelling.json."""
        write_json(folder / "vocabulary.json", self.vocabulary.to_json())
        write_json(folder / "tokenizer.json", self.tokenizer.to_json() | {"sentences": self.sentences})
        write_json(folder / "spelling.json", self.spelling.to_json())

    @staticmethod
    def load(folder: Path) -> TextCodec:
        """Read what `save` wrote."""
        stored = read_json(folder / "tokenizer.json")
        try:
            vocabulary = Vocabulary.from_json(read_json(folder / "vocabulary.json"))
            spelling = Spelling.from_json(read_json(folder / "spelling.json"))
            return TextCodec(load_tokenizer(stored), vocabulary, spelling, bool(stored["sentences"]))
        except (KeyError, TypeError, AttributeError, DataError) as error:
            raise FolderError(f"{folder}: vocabulary or tokenizer is damaged ({error}). Copy the folder again.") from None


class Written:
    """The text of one sample as its symbols come: tokenizers yield one piece for each symbol they are given."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._next: str | None = None
        self._pieces = tokenizer.pieces(self._symbols())

    def _symbols(self) -> Iterator[str]:
        while self._next is not None:
            yield self._next

    def add(self, symbol: str) -> str:
        """The text that this symbol adds."""
        self._next = symbol
        return next(self._pieces)

    def finish(self) -> str:
        """What was held back."""
        self._next = None
        return "".join(self._pieces)
