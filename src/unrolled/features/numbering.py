"""Text of any length -> symbol counts, then ids: the text goes by in chunks and its ids pile up in memory or in a file.

    numbering = numbering_for(tokenizer, sentences=False, spool=Spool(folder))
    numbering.read(documents)                       # each an iterable of chunks: split, count
    vocabulary = Vocabulary.build(numbering.counts(), ...)
    ids = numbering.ids(vocabulary)                 # (N,) in the smallest integers that hold them

Characters are counted and looked up as arrays, without a Python object for each. Other symbols are split only once: they
get numbers in order of appearance, which become ids when the vocabulary is known.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from unrolled.data.text import code_points
from unrolled.features.tokenizers import Characters, Tokenizer, sequences
from unrolled.features.vocabulary import END, UNKNOWN, Vocabulary

__all__ = ["Numbering", "Spool", "mapped", "numbering_for"]

#: Different symbols held while counting; beyond it those seen once are given up, and counted as unknown.
_MOST_SYMBOLS = 4_000_000
#: Ids changed at once.
_BLOCK = 1 << 22


class Spool:
    """Arrays of numbers one after another, in memory, or in files below `folder`."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def pile(self, name: str, blocks: Iterable[np.ndarray], dtype: np.dtype) -> np.ndarray:
        """All blocks as one array (N,) of the type; in a folder, the file `name` of it, mapped into memory."""
        if self.folder is None:
            parts = [block.astype(dtype, copy=False) for block in blocks]
            return np.concatenate(parts) if parts else np.zeros(0, dtype)
        with (self.folder / name).open("wb") as file:
            for block in blocks:
                block.astype(dtype, copy=False).tofile(file)
        return mapped(self.folder / name, dtype)


def mapped(path: Path, dtype: np.dtype) -> np.ndarray:
    """A file of numbers as an array that is read where it lies."""
    return np.memmap(path, dtype, "r") if path.stat().st_size else np.zeros(0, dtype)


class Numbering(ABC):
    """Symbols counted, then numbered."""

    def __init__(self, tokenizer: Tokenizer, *, sentences: bool, spool: Spool) -> None:
        self.tokenizer, self.sentences, self.spool = tokenizer, sentences, spool

    @abstractmethod
    def read(self, documents: Iterable[Iterable[str]]) -> None:
        """Read all documents, each an iterable of chunks that can be iterated over more than once."""

    @abstractmethod
    def counts(self) -> Counter[str]:
        """How often each symbol stands there."""

    @abstractmethod
    def _blocks(self, vocabulary: Vocabulary) -> Iterator[np.ndarray]:
        """The ids, a block after another."""

    def ids(self, vocabulary: Vocabulary) -> np.ndarray:
        """The ids (N,) of everything read."""
        return self.spool.pile("ids", self._blocks(vocabulary), vocabulary.dtype)


def numbering_for(tokenizer: Tokenizer, *, sentences: bool, spool: Spool) -> Numbering:
    """The numbering that suits the tokenizer."""
    kind = _CharacterNumbering if isinstance(tokenizer, Characters) else _SymbolNumbering
    return kind(tokenizer, sentences=sentences, spool=spool)


def _without_blank_lines(text: str) -> str:
    """The lines that hold something, each with its end."""
    return "".join(f"{line}\n" for line in text.split("\n") if line.strip())


class _CharacterNumbering(Numbering):
    """Tables over code points; the text is read twice."""

    def read(self, documents: Iterable[Iterable[str]]) -> None:
        self._documents = documents
        self._counts = np.zeros(0x110000, dtype=np.int64)
        for codes in self._codes():
            found = np.bincount(codes)
            self._counts[: len(found)] += found

    def _codes(self) -> Iterator[np.ndarray]:
        for chunks in self._documents:
            for chunk in chunks:
                text = self.tokenizer.normalize(chunk)
                yield code_points(_without_blank_lines(text) if self.sentences else text)

    def counts(self) -> Counter[str]:
        counts = Counter({chr(code): int(self._counts[code]) for code in np.flatnonzero(self._counts)})
        if self.sentences:
            counts[END] = counts.pop("\n", 0)
        return counts

    def _blocks(self, vocabulary: Vocabulary) -> Iterator[np.ndarray]:
        table = np.full(0x110000, vocabulary.unknown, dtype=vocabulary.dtype)
        for i, symbol in enumerate(vocabulary.symbols):
            if len(symbol) == 1:
                table[ord(symbol)] = i
        if self.sentences:
            table[ord("\n")] = vocabulary.end
        yield from (table[codes] for codes in self._codes())


class _SymbolNumbering(Numbering):
    """Numbers in order of appearance, spooled; they become ids through one table."""

    def read(self, documents: Iterable[Iterable[str]]) -> None:
        self._symbols: list[str] = []
        self._numbers: dict[str, int] = {}
        self._counts = np.zeros(1024, dtype=np.int64)
        found = (self._number(self._symbols_of(chunk)) for chunks in documents for chunk in chunks)
        self._appeared = self.spool.pile("appeared", found, np.dtype(np.int32))

    def _symbols_of(self, chunk: str) -> list[str]:
        return list(itertools.chain.from_iterable(sequences(self.tokenizer, chunk, sentences=self.sentences)))

    def _number(self, symbols: list[str]) -> np.ndarray:
        numbers = self._numbers
        new = dict.fromkeys(s for s in symbols if s not in numbers)
        numbers.update(zip(new, range(len(self._symbols), len(self._symbols) + len(new)), strict=True))
        self._symbols.extend(new)
        found = np.fromiter(map(numbers.__getitem__, symbols), dtype=np.int32, count=len(symbols))
        if len(self._symbols) > len(self._counts):
            self._counts = np.pad(self._counts, (0, 2 * len(self._symbols) - len(self._counts)))
        counted = np.bincount(found)
        self._counts[: len(counted)] += counted
        if len(numbers) > _MOST_SYMBOLS:
            self._forget_rare()
        return found

    def _forget_rare(self) -> None:
        """Give up the symbols seen once, and their text."""
        rare = [(symbol, number) for symbol, number in self._numbers.items() if self._counts[number] == 1]
        for symbol, number in rare:
            self._symbols[number] = UNKNOWN
            del self._numbers[symbol]

    def counts(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for symbol, n in zip(self._symbols, self._counts.tolist(), strict=False):
            counts[symbol] += n
        return counts

    def _blocks(self, vocabulary: Vocabulary) -> Iterator[np.ndarray]:
        table = vocabulary.encode(self._symbols).astype(vocabulary.dtype)
        for at in range(0, len(self._appeared), _BLOCK):
            yield table[self._appeared[at : at + _BLOCK]]
