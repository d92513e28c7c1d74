"""Sentences <-> ids, on both sides of a translation: a tokenizer and a vocabulary each, as they stand in a model folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unrolled.errors import DataError, FolderError
from unrolled.features.tokenizers import TOKENIZERS, Tokenizer, load_tokenizer
from unrolled.features.vocabulary import END, Vocabulary
from unrolled.folders import read_json, write_json

__all__ = ["PairCodec", "Side"]


class Side(NamedTuple):
    """How sentences of one language become ids and back; the end is a symbol of its own."""

    tokenizer: Tokenizer
    vocabulary: Vocabulary

    @staticmethod
    def fit(texts: Sequence[str], tokens: str, size: int | None, min_count: int | None) -> Side:
        """Learn tokenizer and vocabulary from sentences."""
        tokenizer = TOKENIZERS[tokens]()
        size = size or tokenizer.default_size
        tokenizer.train(texts, size or 1)
        counts = Counter(chain.from_iterable(tokenizer.split(text) for text in texts))
        found = Vocabulary.build(
            counts, min_count=min_count or tokenizer.default_min_count, max_size=size, always=tokenizer.alphabet()
        )
        if len(found) < 4:
            raise DataError("the sentences have fewer than two different symbols on a side: there is nothing to learn.")
        return Side(tokenizer, found)

    def symbols(self, text: str) -> list[str]:
        """The symbols of a sentence, without its end."""
        return [symbol for symbol in self.tokenizer.split(text) if symbol != END]

    def inside(self, phrase: str) -> list[str]:
        """The symbols of a phrase as they are in the middle of a sentence."""
        before = self.tokenizer.split("a")
        found = self.tokenizer.split(f"a {phrase.strip()}")[len(before) :]
        return found[1:] if found and found[0].isspace() else found

    def encode(self, text: str) -> np.ndarray:
        """int64 ids (T,) of a sentence, its end last."""
        return np.append(self.vocabulary.encode(self.symbols(text)), self.vocabulary.end).astype(np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        """The sentence of ids, an end left out."""
        return self.join(self.vocabulary.decode(ids))

    def name(self, symbol: int) -> str:
        """What an id is called, for people."""
        return self.tokenizer.shown(self.vocabulary.symbols[symbol])

    def join(self, symbols: Iterable[str]) -> str:
        """The sentence of symbols, an end left out."""
        return self.tokenizer.join(symbol for symbol in symbols if symbol != END).strip()

    def save(self, folder: Path, name: str) -> None:
        """Write NAME-vocabulary.json and NAME-tokenizer.json."""
        write_json(folder / f"{name}-vocabulary.json", self.vocabulary.to_json())
        write_json(folder / f"{name}-tokenizer.json", self.tokenizer.to_json())

    @staticmethod
    def load(folder: Path, name: str) -> Side:
        """Read what `save` wrote. FolderError if it is damaged."""
        try:
            vocabulary = Vocabulary.from_json(read_json(folder / f"{name}-vocabulary.json"))
            return Side(load_tokenizer(read_json(folder / f"{name}-tokenizer.json")), vocabulary)
        except (KeyError, TypeError, AttributeError, DataError) as error:
            raise FolderError(f"{folder}: the {name} vocabulary is damaged ({error}). Copy the folder again.") from None


class PairCodec(NamedTuple):
    """Both sides; the same one twice where they share a vocabulary."""

    source: Side
    target: Side

    @staticmethod
    def fit(sources: Sequence[str], targets: Sequence[str], options: Any) -> PairCodec:
        """Learn both. options: the section [data]."""
        rest = options.tokens, options.vocabulary_size, options.min_count
        if options.shared:
            both = Side.fit([*sources, *targets], *rest)
            return PairCodec(both, both)
        return PairCodec(Side.fit(sources, *rest), Side.fit(targets, *rest))

    def to_json(self) -> list[dict[str, Any]]:
        """All that says how text becomes ids."""
        return [{"vocabulary": side.vocabulary.to_json(), "tokenizer": side.tokenizer.to_json()} for side in self]

    def save(self, folder: Path) -> None:
        """Write both sides."""
        self.source.save(folder, "source")
        self.target.save(folder, "target")

    @staticmethod
    def load(folder: Path) -> PairCodec:
        """Read what `save` wrote."""
        return PairCodec(Side.load(folder, "source"), Side.load(folder, "target"))
