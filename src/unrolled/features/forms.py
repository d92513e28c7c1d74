"""Words as taggers read them: each different word once, as a row of the vocabulary and as its letters.

A word is looked up in lower case; its letters are read as they are written, so that capitals, endings and words that no
training text had still say something.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np

from unrolled.errors import DataError

__all__ = ["Forms", "WordForms"]

#: Letters read of a word: of a longer one the first and the last half of these.
_LETTERS = 24


class Forms(NamedTuple):
    """The F different words of some sentences, and these as their numbers.

    rows (F,) in the vocabulary, V for a word that is not in it, V + 1 + i for word i of `WordForms.given`; letters (F, C)
    int64, sizes (F,); numbers (N,) of all words, of sentence i at starts[i]:starts[i + 1].
    """

    rows: np.ndarray
    letters: np.ndarray
    sizes: np.ndarray
    numbers: np.ndarray
    starts: np.ndarray


@dataclass(frozen=True)
class WordForms:
    """What is known: words in lower case, most frequent first; letters, others having the number after the last.

    Words are looked up in Unicode's normal form C; normalization is "none" in models of older versions, which did not.
    given: further words in lower case that have a vector and no place in the training sentences.
    """

    words: list[str]
    letters: list[str]
    normalization: str = "nfc"
    given: Sequence[str] = ()

    @staticmethod
    def learned(sentences: Iterable[Sequence[str]], min_count: int = 2, most: int | None = None) -> WordForms:
        """Words that occur `min_count` times or more, at most `most`; all letters of these. DataError without any."""
        written: Counter[str] = Counter()
        for word, n in Counter(chain.from_iterable(sentences)).items():
            written[unicodedata.normalize("NFC", word)] += n
        counts: Counter[str] = Counter()
        for word, n in written.items():
            counts[word.lower()] += n
        words = [word for word, n in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])) if n >= min_count][:most]
        if not words:
            raise DataError(f"no word occurs {min_count} times. Take a smaller --min-count, or give more text.")
        letters: Counter[str] = Counter()
        for word, n in written.items():
            letters.update(dict.fromkeys(word, n))
        return WordForms(words, sorted(letter for letter, n in letters.items() if n >= min_count))

    def encode(self, sentences: Sequence[Sequence[str]]) -> Forms:
        """The sentences by their different words."""
        number: dict[str, int] = {}
        numbers = np.fromiter((number.setdefault(word, len(number)) for word in chain.from_iterable(sentences)), np.int64)
        starts = np.concatenate([[0], np.cumsum([len(words) for words in sentences])]).astype(np.int64)
        read = [unicodedata.normalize("NFC", word) if self.normalization == "nfc" else word for word in number]
        rows = np.fromiter((self._row.get(word.lower(), len(self.words)) for word in read), np.int64, len(read))
        shown = [word if len(word) <= _LETTERS else word[: _LETTERS // 2] + word[-_LETTERS // 2 :] for word in read]
        sizes = np.array([len(word) for word in shown], np.int64)
        letters = np.full((len(shown), int(sizes.max(initial=1))), len(self.letters), np.int64)
        for line, word in zip(letters, shown, strict=True):
            line[: len(word)] = [self._letter.get(letter, len(self.letters)) for letter in word]
        return Forms(rows, letters, sizes, numbers, starts)

    def unknown_share(self, forms: Forms) -> float:
        """The share of letters that are not known, each word as often as it occurs; 0 without any."""
        inside = np.arange(forms.letters.shape[1]) < forms.sizes[:, None]  # (F, C)
        counts = np.bincount(forms.numbers, minlength=len(forms.rows))
        unknown = ((forms.letters == len(self.letters)) & inside).sum(1)
        return float((unknown * counts).sum() / max(1, (forms.sizes * counts).sum()))

    @cached_property
    def _row(self) -> dict[str, int]:
        unknown = len(self.words)
        return dict(zip(self.given, range(unknown + 1, unknown + 1 + len(self.given)), strict=True)) | {
            word: row for row, word in enumerate(self.words)
        }

    @cached_property
    def _letter(self) -> dict[str, int]:
        return {letter: i for i, letter in enumerate(self.letters)}
