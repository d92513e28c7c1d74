"""Tokenizers: text -> symbols and back. One class each; `TOKENIZERS` names them.

    char            every character (code point) is a symbol
    graphemes       what a reader takes for one character: a letter with its marks, a Hangul syllable, an emoji sequence
    words           words, numbers, punctuation; Unicode-aware, a Han character is a word; lossless
    whitespace      text that is tokenised already: symbols between blanks, each line end one `<eos>`
    bpe, unigram    learned pieces over bytes (the `tokenizers` library); lossless, nothing is unknown
    chinese-words   dictionary words (the `rjieba` library); lossless

Lossless: `join(split(text))` is the text in Unicode's normal form C, see `tokenizer.py`. `pieces` yields the text of one
symbol after another, so that generated text can be shown as it comes.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from unrolled.data.characters import HAN, UNSPACED, sign_pattern, word_pattern
from unrolled.errors import DataError, MissingExtra
from unrolled.features.graphemes import graphemes
from unrolled.features.subword_tokenizers import BPE, Unigram
from unrolled.features.tokenizer import Tokenizer
from unrolled.features.vocabulary import END
from unrolled.features.word_tokenizer import Words, words_in

__all__ = [
    "BPE",
    "TOKENIZERS",
    "Characters",
    "ChineseWords",
    "Graphemes",
    "Tokenizer",
    "Unigram",
    "Whitespace",
    "Words",
    "as_sentence",
    "load_tokenizer",
    "sequences",
    "words_in",
]


class Characters(Tokenizer):
    """Every character is a symbol."""

    name, unit = "char", "characters"

    def _split(self, text: str) -> list[str]:
        return list(text)

    def pieces(self, symbols: Iterable[str]) -> Iterator[str]:
        yield from symbols


class Graphemes(Tokenizer):
    """Every extended grapheme cluster is a symbol."""

    name, unit = "graphemes", "characters"

    def _split(self, text: str) -> list[str]:
        return graphemes(text)

    def pieces(self, symbols: Iterable[str]) -> Iterator[str]:
        yield from symbols


class Whitespace(Tokenizer):
    """Already tokenised text: symbols stand between blanks, every line ends with one `<eos>`.

    A literal `<unk>` is the unknown word. Runs of blanks are not kept: the text of the symbols has single blanks.
    """

    name, unit = "whitespace", "words"
    lossless = False

    def _split(self, text: str) -> list[str]:
        lines = text.split("\n")
        if not lines[-1].strip():
            lines.pop()
        return [symbol for line in lines for symbol in (*line.split(), END)]

    def pieces(self, symbols: Iterable[str]) -> Iterator[str]:
        start = True
        for symbol in symbols:
            yield "\n" if symbol == END else symbol if start else f" {symbol}"
            start = symbol == END


class ChineseWords(Tokenizer):
    """Dictionary words of Chinese text, by rjieba."""

    name, unit = "chinese-words", "words"
    default_size, default_min_count = 30_000, 2

    def __init__(self) -> None:
        try:
            self._jieba: Any = importlib.import_module("rjieba")
        except ImportError:
            raise MissingExtra("rjieba", "zh", "The tokenizer 'chinese-words'") from None

    def _split(self, text: str) -> list[str]:
        found = list(self._jieba.cut(text))
        return found if self.normalization == "none" else _rejoin(text, found)

    def pieces(self, symbols: Iterable[str]) -> Iterator[str]:
        yield from symbols


#: Characters beside which the dictionary's cuts are right: ASCII, Han, and the marks of Chinese text.
_CUT_WELL = re.compile(rf"[\x00-\x7f{HAN}\u2010-\u2027\u3000-\u3002\u3008-\u301f\uff01-\uff5e]*")


@cache
def _uncut() -> re.Pattern[str]:
    """Words of scripts with blanks, other letters with their marks, and signs with what modifies them."""
    word = word_pattern("", with_connectors=False, alone=HAN + UNSPACED)
    return re.compile(f"{word}|{sign_pattern()}", re.DOTALL)


def _rejoin(text: str, pieces: list[str]) -> list[str]:
    """The pieces of a text, those put together that are parts of one word or sign: the dictionary cuts other scripts
    into single characters.
    """
    if _CUT_WELL.fullmatch(text):
        return pieces
    inside = {
        place
        for found in _uncut().finditer(text)
        if found.end() > found.start() + 1 and not found[0].isascii()
        for place in range(found.start() + 1, found.end())
    }
    joined: list[str] = []
    at = 0
    for piece in pieces:
        if at in inside:
            joined[-1] += piece
        else:
            joined.append(piece)
        at += len(piece)
    return joined


def sequences(tokenizer: Tokenizer, text: str, *, sentences: bool) -> list[list[str]]:
    """The token sequences that are read from their own start: the text, or each of its lines that are not blank."""
    if not sentences:
        return [tokenizer.split(text)]
    return [as_sentence(tokenizer.split(line)) for line in text.split("\n") if line.strip()]


def as_sentence(symbols: list[str]) -> list[str]:
    """The symbols with one end, at the end."""
    return [symbol for symbol in symbols if symbol != END] + [END]


TOKENIZERS: dict[str, type[Tokenizer]] = {
    kind.name: kind for kind in (Characters, Graphemes, Words, Whitespace, BPE, Unigram, ChineseWords)
}


def load_tokenizer(data: dict[str, Any]) -> Tokenizer:
    """The tokenizer that `to_json` described."""
    name = data.get("name")
    if name not in TOKENIZERS:
        raise DataError(f"unknown tokenizer {name!r}; this version knows {', '.join(TOKENIZERS)}")
    tokenizer = TOKENIZERS[name]()
    tokenizer.normalization = data.get("normalization", "none")
    tokenizer.restore(data)
    return tokenizer
