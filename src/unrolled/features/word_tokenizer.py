"""The tokenizer `words`: words, numbers and punctuation marks, lossless."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache

from unrolled.data.characters import HAN, sign_pattern, word_pattern
from unrolled.features.tokenizer import Tokenizer

__all__ = ["Words", "words_in"]

#: How older versions cut text: at every combining mark.
_CUT_AT_MARKS = re.compile(rf"[{HAN}]|(?:(?![{HAN}])\w)+(?:['’.,](?:(?![{HAN}])\w)+)*|\s+|.", re.DOTALL)
_HAN_OR_CJK = re.compile(rf"[{HAN}\u3000-\u30ff\uff00-\uffef]")
_NO_SPACE_BEFORE = frozenset(".,;:!?)]}%’”…")
_NO_SPACE_AFTER = frozenset("([{‘“$£€#@")
_GLUE = "<glue>"  # never a word by itself: the pattern splits it into "<", "glue", ">"


@cache
def _pattern(normalization: str) -> re.Pattern[str]:
    """Words, white space, signs."""
    if normalization == "none":
        return _CUT_AT_MARKS
    word = word_pattern("'’.,", with_connectors=True)
    return re.compile(rf"{word}|\s+|{sign_pattern()}", re.DOTALL)


class Words(Tokenizer):
    """Words, numbers, punctuation marks, and white space only where it is not what one expects.

    Between two symbols either one blank or nothing is expected (no blank before a comma, one after it, quotes by turns
    open and close within a line). What the text does otherwise becomes a symbol of its own: the white space itself, or
    `<glue>` for a missing blank. So the vocabulary holds clean words, and yet every text can be restored exactly.

    >>> Words().split('He said, "No  way."')
    ['He', 'said', ',', '"', 'No', '  ', 'way', '.', '"']
    >>> Words().join(_)
    'He said, "No  way."'
    """

    name, unit = "words", "words"
    default_size, default_min_count = 30_000, 2

    def _split(self, text: str) -> list[str]:
        symbols: list[str] = []
        expect = _Expectation()
        gap = ""
        for symbol in _pattern(self.normalization).findall(text):
            kind = _kind(symbol)
            if kind & _BLANK:
                gap = symbol
                continue
            if gap != expect.gap(kind):
                symbols.append(gap or _GLUE)
            symbols.append(symbol)
            expect.after(gap, kind)
            gap = ""
        if gap:
            symbols.append(gap)
        return symbols

    def pieces(self, symbols: Iterable[str]) -> Iterator[str]:
        expect = _Expectation()
        gap: str | None = None
        for symbol in symbols:
            if symbol == _GLUE:
                gap = ""
                yield ""
            elif symbol.isspace():
                gap = symbol
                yield symbol
            else:
                kind = _kind(symbol)
                expected = expect.gap(kind)
                yield symbol if gap is not None else expected + symbol
                expect.after(expected if gap is None else gap, kind)
                gap = None


def words_in(text: str, normalization: str = "nfc") -> list[str]:
    """The words and signs of a text as they are written, without what tells their gaps.

    normalization: that of the model which reads them; "none": as older versions cut words.

    >>> words_in('He said, "No  way."')
    ['He', 'said', ',', '"', 'No', 'way', '.', '"']
    """
    return [symbol for symbol in _pattern(normalization).findall(text) if not symbol.isspace()]


_BLANK, _NOTHING_BEFORE, _NOTHING_AFTER, _QUOTE, _CJK = 1, 2, 4, 8, 16


@lru_cache(maxsize=1 << 18)
def _kind(symbol: str) -> int:
    """What matters about a symbol for the gaps around it, as bits."""
    return (
        _BLANK * symbol.isspace()
        | _NOTHING_BEFORE * (symbol[0] in _NO_SPACE_BEFORE)
        | _NOTHING_AFTER * (symbol[-1] in _NO_SPACE_AFTER)
        | _QUOTE * (symbol == '"')
        | _CJK * bool(_HAN_OR_CJK.match(symbol))
    )


class _Expectation:
    """Which gap, one blank or none, is expected before the next symbol."""

    def __init__(self) -> None:
        self.last = _NOTHING_AFTER  # the beginning is as an opening bracket
        self.open_quote = False

    def gap(self, kind: int) -> str:
        """The expected gap before a symbol of this kind."""
        last = self.last
        if kind & _NOTHING_BEFORE or last & _NOTHING_AFTER or (kind | last) & _CJK:
            return ""
        return "" if self.open_quote and (kind | last) & _QUOTE else " "

    def after(self, gap: str, kind: int) -> None:
        """Take note of what stood there."""
        if "\n" in gap:
            self.open_quote = False
        if kind & _QUOTE:
            self.open_quote = not self.open_quote
        self.last = kind
