"""Words and their vectors, however they were made: look-up, neighbours, analogies, tests. Cosines throughout.

vectors = unrolled.load("runs/vec")                  # or a file of vectors
vectors["king"]                                      # (D,)
vectors.neighbors("king", n=5)
vectors.analogy("man", "king", "woman")
vectors.matrix                                       # (V, D) tensor on the same memory
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unrolled.data.characters import is_han
from unrolled.data.vector_files import read_vectors, write_vectors
from unrolled.data.word_tests import Analogies, Similarities, read_word_test
from unrolled.errors import DataError
from unrolled.features.subwords import NGrams, Subwords
from unrolled.metrics.word_vectors import spearman
from unrolled.tasks.inputs import WORDS, evaluation_paths, iter_inputs, map_inputs

__all__ = ["Neighbor", "Vectors"]

#: Rows of the matrix, and questions, that are looked at together.
_ROWS, _QUESTIONS = 1 << 17, 512
#: Words among which a misspelt one is looked for.
_SUGGESTED = 200_000
#: Questions that are answered without an index.
_FEW = 50
#: Words, the most frequent first, that tell whether a text was in lower case.
_QUERY_SAMPLE = 10_000


class Neighbor(NamedTuple):
    """A word and the cosine between its vector and what was asked for."""

    word: str
    cosine: float


class Vectors:
    """Words (V,) and vectors (V, D) float32, which may lie in a file mapped into memory.

    subwords: what gives a vector to a word that has none of its own; `in`, look-up and queries know such words too.
    normalization: "nfc" where the words are in Unicode's normal form C, as trained ones are; "none" where nothing is known.
    """

    normalization: str = "none"

    def __init__(
        self,
        words: Sequence[str],
        array: np.ndarray,
        counts: np.ndarray | None = None,
        *,
        subwords: Subwords | None = None,
    ) -> None:
        if len(words) != len(array):
            raise DataError(f"{len(words)} words, but {len(array)} vectors")
        self.words, self.array, self.counts, self.subwords = words, array, counts, subwords
        self._questions = 0

    @staticmethod
    def from_file(path: str | Path, errors: str = "strict") -> Vectors:
        """The vectors in a file, see `data/vector_files.py`. DataError if it is damaged or of no known format.

        errors: what becomes of bytes in words that are not UTF-8: "strict", "replace", "ignore".
        """
        found = read_vectors(path, errors)
        if found.ngrams is None:
            return Vectors(found.words, np.require(found.vectors, requirements="A"), found.counts)
        shortest, longest, n_buckets, table = found.ngrams
        subwords = Subwords(NGrams(shortest, longest, n_buckets), table, len(found.words))
        array = subwords.vectors_of(found.words, np.arange(len(found.words)))
        return Vectors(found.words, array, found.counts, subwords=subwords)

    @cached_property
    def index(self) -> dict[str, int]:
        """The row of each word."""
        return {word: row for row, word in enumerate(self.words)}

    def _row(self, word: object) -> int | None:
        """The row of a word, or of its normal form C if the word as such has none."""
        row = self._exact_row(word)
        if row is None and isinstance(word, str) and (self.subwords is None or self.normalization == "nfc"):
            composed = unicodedata.normalize("NFC", word)
            return None if composed == word else self._exact_row(composed)
        return row

    def _exact_row(self, word: object) -> int | None:
        """The row of a word. Of millions of words no index is made for the first few questions: that takes seconds."""
        if "index" in self.__dict__ or len(self) < _SUGGESTED or self._questions >= _FEW:
            return self.index.get(word)  # type: ignore[arg-type]
        self._questions += 1
        try:
            return self.words.index(word)
        except ValueError:
            return None

    @property
    def matrix(self) -> Tensor:
        """The vectors (V, D) as a tensor on the same memory; changes do not reach a file it is mapped from."""
        return torch.from_numpy(self.array)

    @property
    def size(self) -> int:
        """D."""
        return int(self.array.shape[1])

    @cached_property
    def _lengths(self) -> np.ndarray:
        """The length of each vector (V,); 1 for those that are zero."""
        found = np.empty(len(self), np.float32)
        for first in range(0, len(self), _ROWS):
            found[first : first + _ROWS] = np.linalg.norm(self.array[first : first + _ROWS], axis=1)
        found[found == 0] = 1
        return found

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return self._row(word) is not None or (
            self.subwords is not None and isinstance(word, str) and self.subwords.has(self._spelled(word))
        )

    def __getitem__(self, word: str) -> np.ndarray:
        """The vector of a word (D,). DataError, with words spelled alike, if it has none."""
        row = self._row(word)
        if row is not None:
            return np.asarray(self.array[row])
        if word not in self:
            raise DataError(self.unknown(word))
        assert self.subwords is not None
        return np.asarray(self.subwords.vectors_of([self._spelled(word)])[0])

    def _spelled(self, word: str) -> str:
        """The word as its sub-words are spelled."""
        return unicodedata.normalize("NFC", word) if self.normalization == "nfc" else word

    def unknown(self, word: str) -> str:
        """The message for a word without a vector, with words spelled alike."""
        alike = [other for other in (word.lower(), word.capitalize()) if other != word and other in self]
        alike += [w for w in difflib.get_close_matches(word, self.words[:_SUGGESTED], n=3, cutoff=0.7) if w not in alike]
        hint = f" Nearest in spelling: {', '.join(alike[:3])}." if alike else ""
        hint += self._single_characters(word)
        return f"the word {word!r} has no vector: it is not among the {len(self):,} words.{hint}"

    def _single_characters(self, word: str) -> str:
        """A hint where each character of a word has a vector, as in vectors of Chinese text without a dictionary."""
        if len(word) < 2 or not all(is_han(c) and self._row(c) is not None for c in word):
            return ""
        return (
            " Its characters have vectors: these were trained on single characters. Fix: install the extra zh and train "
            "with --tokens chinese-words, or ask for one character."
        )

    def all_known(self, words: Sequence[str]) -> None:
        """DataError that names the words without a vector, if there are any."""
        problems = [self.unknown(word) for word in words if word not in self]
        if problems:
            raise DataError("\n".join(problems[:10]))

    @cached_property
    def _is_lower(self) -> bool:
        """Whether the text was in lower case: no word among the most frequent has a capital letter."""
        return all(word == word.lower() for word in self.words[:_QUERY_SAMPLE])

    def query(self, word: str) -> str:
        """Return a word as the vectors write words: in lower case, where all are and the word has no vector of its own."""
        return word.lower() if self._row(word) is None and self._is_lower else word

    def similarity(self, a: str, b: str) -> float:
        """The cosine between the vectors of two words."""
        x, y = self._unit(self.query(a)), self._unit(self.query(b))
        return float(x @ y)

    def _unit(self, word: str) -> np.ndarray:
        """The vector of a word, of length 1 (0 stays 0)."""
        vector = self[word].astype(np.float32)
        length = np.linalg.norm(vector)
        return vector / length if length else vector

    def neighbors(self, word: str | Iterable[str], n: int = 10) -> list[Any]:
        """Return the n words with the largest cosine to a word, itself left out; of an iterable of words, a list."""
        return map_inputs(WORDS, word, lambda words: self.neighbors_of(list(words), n))

    def neighbors_of(self, words: Iterable[str], n: int = 10) -> list[list[Neighbor]]:
        """`neighbors` of many words: one matrix product for hundreds of them. All are looked up before any is answered."""
        words = [self.query(word) for word in iter_inputs(WORDS, words)]
        if not words:
            return []
        self.all_known(words)
        return self.nearest(np.stack([self._unit(word) for word in words]), n, [[word] for word in words])

    def analogy(self, a: str, b: str, c: str, n: int = 10) -> list[Neighbor]:
        """Words that are to c as b is to a: nearest to b - a + c, each of length 1 (Mikolov et al. 2013); not a, b or c.

        `analogy("man", "king", "woman")` asks for queen.
        """
        a, b, c = self.query(a), self.query(b), self.query(c)
        self.all_known([a, b, c])
        asked = self._unit(b) - self._unit(a) + self._unit(c)
        return self.nearest(asked[None], n, [[a, b, c]])[0]

    def nearest(self, asked: np.ndarray, n: int = 10, without: Sequence[Iterable[str]] = ()) -> list[list[Neighbor]]:
        """For each of the vectors asked (Q, D) the n nearest words, exactly; `without`: words left out for each."""
        asked = np.asarray(asked, np.float32)
        if asked.ndim != 2 or asked.shape[1] != self.size:
            raise DataError(f"vectors of shape (Q, {self.size}) are needed, got {asked.shape}")
        left_out = [[row for w in some if (row := self._row(w)) is not None] for some in without] or [[]] * len(asked)
        found: list[list[Neighbor]] = []
        for first in range(0, len(asked), _QUESTIONS):
            some = slice(first, first + _QUESTIONS)
            rows, cosines = self._top(asked[some], n, left_out[some])
            found += [
                [Neighbor(self.words[row], float(c)) for row, c in zip(r, cs, strict=True) if np.isfinite(c)]
                for r, cs in zip(rows.tolist(), cosines.tolist(), strict=True)
            ]
        return found

    def _top(
        self, asked: np.ndarray, n: int, without: list[list[int]], rows: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows and cosines (Q, n) of the nearest words among the first `rows`, best first."""
        length = np.linalg.norm(asked, axis=1, keepdims=True)
        questions = torch.from_numpy(asked / np.where(length == 0, 1, length))
        rows = len(self) if rows is None else min(rows, len(self))
        best = torch.empty(len(asked), 0), torch.empty(len(asked), 0, dtype=torch.long)
        for first in range(0, rows, _ROWS):
            block = self.matrix[first : min(first + _ROWS, rows)]
            cosines = questions @ block.T / torch.from_numpy(self._lengths[first : first + len(block)])
            for q, some in enumerate(without):
                here = [row - first for row in some if first <= row < first + len(block)]
                cosines[q, here] = -torch.inf
            values, places = cosines.topk(min(n, len(block)), dim=1)
            joined = torch.cat([best[0], values], 1), torch.cat([best[1], places + first], 1)
            values, order = joined[0].topk(min(n, joined[0].shape[1]), dim=1)
            best = values, joined[1].gather(1, order)
        return best[1].numpy(), best[0].numpy()

    def evaluate(self, tests: Any, most: int | None = None, encoding: str = "utf-8") -> list[dict[str, Any]]:
        """`test` on one or several files of word pairs or analogies."""
        return [self.test(read_word_test(path, encoding), most) for path in evaluation_paths(tests, "word-vectors")]

    def test(self, questions: Similarities | Analogies, most: int | None = None) -> dict[str, Any]:
        """How well the vectors answer a test. Words are compared as written, then in lower case; `most`: only the first
        words take part, as in published figures with 30,000. What has words without a vector is left out, and counted.
        """
        if isinstance(questions, Similarities):
            return self._test_similarities(questions)
        return self._test_analogies(questions, len(self) if most is None else most)

    def _known(self, word: str, most: int | None = None) -> int | None:
        """The row of a word as written, or in lower case; None if it has none among the first `most`."""
        for form in (word, word.lower()):
            row = self.index.get(form)
            if row is not None and (most is None or row < most):
                return row
        return None

    def form(self, word: str) -> str | None:
        """A word as written, or in lower case, that has a vector; one of its own rather than of sub-words."""
        row = self._known(word)
        if row is not None:
            return self.words[row]
        return next((form for form in (word, word.lower()) if form in self), None)

    def _test_similarities(self, questions: Similarities) -> dict[str, Any]:
        forms = {word: self.form(word) for pair in questions.pairs for word in pair}
        known = [
            (found, score)
            for pair, score in zip(questions.pairs, questions.scores, strict=True)
            if None not in (found := [forms[word] for word in pair])
        ]
        cosines = [self.similarity(a, b) for (a, b), _ in known]  # type: ignore[arg-type]
        return {
            "test": questions.name,
            "measure": "similarity",
            "spearman": spearman(np.array(cosines), np.array([score for _, score in known])),
            "pairs": len(questions.pairs),
            "without_vector": len(questions.pairs) - len(known),
            "from_subwords": sum(any(form not in self.index for form in found) for found, _ in known),
        }

    def _test_analogies(self, questions: Analogies, most: int) -> dict[str, Any]:
        units = self.array / self._lengths[:, None] if len(self) <= _ROWS else None
        found: dict[str, dict[str, Any]] = {}
        for category, asked in questions.categories.items():
            rows = [r for r in ([self._known(word, most) for word in four] for four in asked) if None not in r]
            right = sum(
                self._right(np.array(rows[i : i + _QUESTIONS]), units, most) for i in range(0, len(rows), _QUESTIONS)
            )
            found[category] = {
                "accuracy": right / len(rows) if rows else None,
                "right": right,
                "asked": len(rows),
                "questions": len(asked),
            }
        asked, right, total = (sum(row[key] for row in found.values()) for key in ("asked", "right", "questions"))
        return {
            "test": questions.name,
            "measure": "analogies",
            "accuracy": right / asked if asked else None,
            "right": right,
            "asked": asked,
            "without_vector": total - asked,
            "categories": found,
        }

    def _right(self, rows: np.ndarray, units: np.ndarray | None, most: int) -> int:
        """How many of the questions (Q, 4) are answered rightly."""

        def unit(some: np.ndarray) -> np.ndarray:
            return units[some] if units is not None else self.array[some] / self._lengths[some, None]

        asked = unit(rows[:, 1]) - unit(rows[:, 0]) + unit(rows[:, 2])
        answers, _ = self._top(asked, 1, rows[:, :3].tolist(), most)
        return int((answers[:, 0] == rows[:, 3]).sum())

    def export(self, path: str | Path, kind: str) -> None:
        """Write the vectors to a file, in one of `unrolled.data.vector_files.FORMATS`."""
        write_vectors(path, self.words, self.array, kind)
