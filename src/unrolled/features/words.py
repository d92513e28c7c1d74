"""Text -> words -> ids for word vectors: counted and numbered in one pass, at the speed at which the text can be read.

words = read_words(documents, reader, spool)      # every word and its count; the text as their numbers
kept = choose(words.counts, min_count=5)          # numbers of the words that get a vector, most frequent first
ids = words.ids(rows_of(kept, len(words)), spool) # the text as ids, rare words left out, -1 at the end of each line
"""

from __future__ import annotations

import importlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from unrolled.data.characters import HAN, UNSPACED, ZWJ, is_format, is_han, is_mark, is_modifier, marks
from unrolled.data.text import Document, code_points
from unrolled.errors import MissingExtra
from unrolled.features.graphemes import graphemes
from unrolled.features.numbering import Spool
from unrolled.features.tokenizers import ChineseWords
from unrolled.kernels.words import (
    ALONE,
    BLANK,
    FORMAT,
    JOINING,
    LETTER,
    LINE,
    LONGEST,
    MARK,
    REGIONAL,
    SIGN,
    ZERO_WIDTH_JOINER,
    WordTable,
    new_table,
    number_words,
)

__all__ = ["LEFT_OUT", "READERS", "Reader", "Words", "choose", "read_words", "reader_for", "rows_of"]

#: The row of a word that gets no vector.
LEFT_OUT = -2
_CODE_POINTS = 0x110000
_APOSTROPHES = "'’"
_BLOCK = 1 << 22


def _plain_word_character(character: str) -> int | None:
    """Return the class of a character that is the same in every version; None for marks, joiners and signs."""
    if character == "\n":
        return LINE
    if is_han(character):
        return ALONE
    if character in _APOSTROPHES:
        return JOINING
    return LETTER if character.isalnum() else None


def _word_character(character: str) -> int:
    """Words of letters, digits and marks, an apostrophe between them; a Han character is a word. Signs are left out."""
    kind = _plain_word_character(character)
    if kind is not None:
        return kind
    if is_modifier(character):
        return MARK
    if character == ZWJ:
        return ZERO_WIDTH_JOINER
    if is_format(character):
        return FORMAT
    return BLANK if character.isspace() or unicodedata.category(character) == "Cf" else SIGN


def _word_or_sign(character: str) -> int:
    """Words as `_word_character` has them, and every other sign is a word, with what modifies it."""
    kind = _word_character(character)
    if kind == SIGN:
        return REGIONAL if "\U0001f1e6" <= character <= "\U0001f1ff" else ALONE
    return kind


def _cut_at_marks(character: str) -> int:
    """Words as older versions read them: marks are letters, joiners are not."""
    kind = _plain_word_character(character)
    if kind is not None:
        return kind
    return LETTER if is_mark(character) else BLANK


def _cut_at_marks_or_sign(character: str) -> int:
    kind = _cut_at_marks(character)
    return ALONE if kind == BLANK and not character.isspace() else kind


def _between_blanks(character: str) -> int:
    """Whatever stands between blanks."""
    return LINE if character == "\n" else BLANK if character.isspace() else LETTER


#: What a character is, by (kind of reader, normalization).
_KINDS: dict[tuple[str, str], Callable[[str], int]] = {
    ("words", "nfc"): _word_character,
    ("words", "none"): _cut_at_marks,
    ("words-and-marks", "nfc"): _word_or_sign,
    ("words-and-marks", "none"): _cut_at_marks_or_sign,
    ("whitespace", "nfc"): _between_blanks,
    ("whitespace", "none"): _between_blanks,
}


@dataclass(frozen=True)
class Reader:
    """What a word is.

    kind: a name in _KINDS; lower: whether case counts not; cut: what cuts text without blanks first: "dictionary" (Chinese
    words), "graphemes", or nothing; normalization: "nfc", or "none" in models of older versions.
    """

    kind: str
    lower: bool
    cut: str = ""
    normalization: str = "nfc"

    def tables(self, alphabet: str) -> tuple[np.ndarray, np.ndarray]:
        """For each code point of the alphabet, at least, what it is, and what it is written as."""
        known, kinds, written = _tables(self)
        kind_of = _KINDS[self.kind, self.normalization]
        for character in set(alphabet) - known:
            kinds[ord(character)] = kind_of(character)
            if self.lower and len(character.lower()) == 1:
                written[ord(character)] = ord(character.lower())
            known.add(character)
        return kinds, written

    def changes(self, alphabet: str) -> bool:
        """Whether `prepared` may put other characters into a text of this alphabet."""
        return bool(self.cut) or (self.normalization == "nfc" and not all(map(_is_inert, alphabet)))

    def prepared(self, chunk: str) -> str:
        """The text of a chunk, normalized, with blanks between its words where they must be found first."""
        text = unicodedata.normalize("NFC", chunk) if self.normalization == "nfc" else chunk
        if self.cut == "graphemes":
            return _unspaced().sub(lambda found: f" {' '.join(graphemes(found[0]))} ", text)
        if not self.cut:
            return text
        try:
            split = ChineseWords().split if self.normalization == "nfc" else importlib.import_module("rjieba").cut
        except (ImportError, MissingExtra):
            raise MissingExtra("rjieba", "zh", "Cutting Chinese text into words") from None
        words = (word for line in text.split("\n") for word in (*split(line), "\n"))
        return " ".join(word for word in words if word == "\n" or any(c.isalnum() for c in word))


@cache
def _is_inert(character: str) -> bool:
    """Whether normal form C never changes the character, nor puts it together with others."""
    if character < "\u0300":
        return True
    jamo = "\u1100" <= character <= "\u11ff"
    return not (jamo or is_mark(character) or unicodedata.decomposition(character))


@cache
def _unspaced() -> re.Pattern[str]:
    """A run of scripts without blanks, with all its marks."""
    return re.compile(f"[{HAN}{UNSPACED}][{HAN}{UNSPACED}{marks()}\u200c\u200d]*")


@cache
def _tables(_: Reader) -> tuple[set[str], np.ndarray, np.ndarray]:
    """Of each reader: the characters that its tables know so far, and the tables."""
    return set(), np.zeros(_CODE_POINTS, np.uint8), np.arange(_CODE_POINTS, dtype=np.uint32)


#: What a word is, by the name of the option.
READERS = {
    "words": Reader("words", True),
    "cased-words": Reader("words", False),
    "words-and-marks": Reader("words-and-marks", True),
    "whitespace": Reader("whitespace", False),
    "graphemes": Reader("words", True, "graphemes"),
    "graphemes-and-marks": Reader("words-and-marks", True, "graphemes"),
    "chinese-words": Reader("whitespace", True, "dictionary"),
}


def reader_for(tokens: str, normalization: str) -> Reader:
    """The reader of this name, as a model of that normalization reads."""
    return replace(READERS[tokens], normalization=normalization)


class Words:
    """Every word of a text and its count, and the text as numbers of words, -1 at the end of a line.

    counts (n,); numbers (N,) int32; spelled: the words of given numbers.
    """

    def __init__(self, counts: np.ndarray, numbers: np.ndarray, spelled: Callable[[Iterable[int]], list[str]]) -> None:
        self.counts, self.numbers, self.spelled = counts, numbers, spelled

    def __len__(self) -> int:
        return len(self.counts)

    def ids(self, rows: np.ndarray, spool: Spool) -> np.ndarray:
        """The text (N,) int32: the row of each word, from rows (n_words,), or none if it is LEFT_OUT; -1 ends a line."""
        table = np.append(rows, -1).astype(np.int32)
        return spool.pile("ids", self._blocks(table), np.dtype(np.int32))

    def _blocks(self, table: np.ndarray) -> Iterator[np.ndarray]:
        last = -1
        for at in range(0, len(self.numbers), _BLOCK):
            found = table[self.numbers[at : at + _BLOCK]]
            found = found[found != LEFT_OUT]
            before = np.concatenate([[last], found[:-1]])
            found = found[(found != -1) | (before != -1)]  # no line without words
            if len(found):
                last = found[-1]
                yield found


def read_words(documents: Sequence[Document], reader: Reader, spool: Spool) -> Words:
    """Count and number the words of all documents. The numbers (4 bytes a word) are kept where the spool keeps them."""
    size = sum(document.size for document in documents) + len(documents) + 1
    held = [new_table(min(1 << 16, size), min(1 << 20, size + LONGEST))]
    numbers = spool.pile("appeared", _numbered(documents, reader, held), np.dtype(np.int32))
    table = held[0]

    @cache
    def letters() -> str:
        return table.letters[: table.starts[table.n[0]]].tobytes().decode("utf-32-le")

    def spelled(wanted: Iterable[int]) -> list[str]:
        which = np.fromiter(wanted, np.int64)
        ends = zip(table.starts[which].tolist(), table.starts[which + 1].tolist(), strict=True)
        return [letters()[start:end] for start, end in ends]

    return Words(table.counts[: table.n[0]], numbers, spelled)


def _numbered(documents: Sequence[Document], reader: Reader, held: list[WordTable]) -> Iterator[np.ndarray]:
    """The numbers of the words, a chunk after another; the table in `held` grows."""
    room = np.empty(0, np.int32)
    for document in documents:
        alphabet = document.facts().alphabet
        changes = reader.changes(alphabet)
        kinds, lower = reader.tables(alphabet + " \n")
        for chunk in document.chunks():
            text = reader.prepared(chunk) if changes else chunk
            if changes:
                kinds, lower = reader.tables("".join(set(text)))
            codes, at = code_points(text), 0
            if len(room) < len(codes) + 8:
                room = np.empty(len(codes) + 8, np.int32)
            while at < len(codes):
                at, found = number_words(codes, at, kinds, lower, held[0], room)
                yield room[:found].copy()
                if at < len(codes):
                    held[0] = _larger(held[0])
        yield np.array([-1], np.int32)


def _larger(table: WordTable) -> WordTable:
    """The same words with room for more."""
    words, letters = len(table.counts), len(table.letters)
    full_of_words = table.n[0] >= words
    return new_table(2 * words if full_of_words else words, letters if full_of_words else 2 * letters, table)


def choose(counts: np.ndarray, *, min_count: int, most: int | None = None) -> np.ndarray:
    """Numbers of the words seen at least so often, most frequent first, at most so many; equally frequent in order of
    appearance.
    """
    kept = np.argsort(-counts, kind="stable")[:most]
    return kept[counts[kept] >= min_count]


def rows_of(kept: np.ndarray, n_words: int) -> np.ndarray:
    """The row of each of n words (n,): its place in `kept`, or LEFT_OUT."""
    rows = np.full(n_words, LEFT_OUT, np.int32)
    rows[kept] = np.arange(len(kept), dtype=np.int32)
    return rows
