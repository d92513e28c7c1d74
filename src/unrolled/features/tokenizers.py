"""Tokenizers: text -> symbols and back. One class each; `TOKENIZERS` names them.

    char            every character is a symbol
    words           words, numbers, punctuation; Unicode-aware, a Han character is a word; lossless
    whitespace      text that is tokenised already: symbols between blanks, each line end one `<eos>`
    bpe, unigram    learned pieces over bytes (the `tokenizers` library); lossless, nothing is unknown
    chinese-words   dictionary words (the `rjieba` library); lossless

Lossless: `join(split(text)) == text` for any text. `pieces` yields the text of one symbol after another, so that
generated text can be shown as it comes.
"""

from __future__ import annotations

import codecs
import importlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, ClassVar

from unrolled.errors import ConfigError, DataError, MissingExtra
from unrolled.features.vocabulary import END, UNKNOWN

__all__ = [
    "BPE",
    "TOKENIZERS",
    "Characters",
    "ChineseWords",
    "Tokenizer",
    "Unigram",
    "Whitespace",
    "Words",
    "as_sentence",
    "load_tokenizer",
    "sequences",
    "words_in",
]


class Tokenizer(ABC):
    """Text -> symbols and back."""

    name: ClassVar[str]
    #: What one symbol is called in reports.
    unit: ClassVar[str] = "tokens"
    #: Whether symbols outside the vocabulary can occur in new text.
    lossless: ClassVar[bool] = True
    #: Size limit and frequency cut-off of the vocabulary unless the user says otherwise.
    default_size: ClassVar[int | None] = None
    default_min_count: ClassVar[int] = 1

    def train(self, texts: Iterable[str], size: int) -> None:
        """Learn from the training text; most tokenizers have nothing to learn."""

    @abstractmethod
    def split(self, text: str) -> list[str]:
        """Text -> symbols."""

    @abstractmethod
    def pieces(self, symbols: Iterable[str]) -> Iterator[str]:
        """The text of each symbol in turn; their concatenation is the text."""

    def join(self, symbols: Iterable[str]) -> str:
        """Symbols -> text."""
        return "".join(self.pieces(symbols))

    def shown(self, symbol: str) -> str:
        """One symbol as people read it: pieces over bytes as the letters they stand for, a blank before a word as one."""
        return symbol

    def alphabet(self) -> Iterable[str]:
        """Symbols that belong into the vocabulary whether they were seen or not."""
        return ()

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name}

    def restore(self, data: dict[str, Any]) -> None:
        """Take back what `to_json` wrote."""


class Characters(Tokenizer):
    """Every character is a symbol."""

    name, unit = "char", "characters"

    def split(self, text: str) -> list[str]:
        return list(text)

    def pieces(self, symbols: Iterable[str]) -> Iterator[str]:
        yield from symbols


class Whitespace(Tokenizer):
    """Already tokenised text: symbols stand between blanks, every line ends with one `<eos>`.

    A literal `<unk>` is the unknown word. Runs of blanks are not kept: the text of the symbols has single blanks.
    """

    name, unit = "whitespace", "words"
    lossless = False

    def split(self, text: str) -> list[str]:
        lines = text.split("\n")
        if not lines[-1].strip():
            lines.pop()
        return [symbol for line in lines for symbol in (*line.split(), END)]

    def pieces(self, symbols: Iterable[str]) -> Iterator[str]:
        start = True
        for symbol in symbols:
            yield "\n" if symbol == END else symbol if start else f" {symbol}"
            start = symbol == END


_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_WORD = re.compile(rf"[{_HAN}]|(?:(?![{_HAN}])\w)+(?:['’.,](?:(?![{_HAN}])\w)+)*|\s+|.", re.DOTALL)
_HAN_OR_CJK = re.compile(rf"[{_HAN}\u3000-\u30ff\uff00-\uffef]")
_NO_SPACE_BEFORE = frozenset(".,;:!?)]}%’”…")
_NO_SPACE_AFTER = frozenset("([{‘“$£€#@")
_GLUE = "<glue>"  # never a word by itself: the pattern splits it into "<", "glue", ">"


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

    def split(self, text: str) -> list[str]:
        symbols: list[str] = []
        expect = _Expectation()
        gap = ""
        for symbol in _WORD.findall(text):
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


def words_in(text: str) -> list[str]:
    """The words and marks of a text, without what tells their gaps.

    >>> words_in('He said, "No  way."')
    ['He', 'said', ',', '"', 'No', 'way', '.', '"']
    """
    return [symbol for symbol in _WORD.findall(text) if not symbol.isspace()]


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


class ChineseWords(Tokenizer):
    """Dictionary words of Chinese text, by rjieba."""

    name, unit = "chinese-words", "words"
    default_size, default_min_count = 30_000, 2

    def __init__(self) -> None:
        try:
            self._jieba: Any = importlib.import_module("rjieba")
        except ImportError:
            raise MissingExtra("rjieba", "zh", "The tokenizer 'chinese-words'") from None

    def split(self, text: str) -> list[str]:
        return list(self._jieba.cut(text))

    def pieces(self, symbols: Iterable[str]) -> Iterator[str]:
        yield from symbols


class _Subword(Tokenizer):
    """Pieces over bytes, learned from the training text. 256 bytes are always there, so nothing is unknown."""

    unit = "pieces"
    default_size = 8_000

    def __init__(self) -> None:
        self._model: Any = None
        self._symbols: list[str] = []

    @abstractmethod
    def _new(self) -> tuple[Any, Any]:
        """An untrained model and its trainer class."""

    def train(self, texts: Iterable[str], size: int) -> None:
        library = importlib.import_module("tokenizers")
        model, trainer = self._new()
        self._model = library.Tokenizer(model)
        self._model.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._model.decoder = library.decoders.ByteLevel()
        alphabet = library.pre_tokenizers.ByteLevel.alphabet()
        learn = trainer(vocab_size=max(size - 2, len(alphabet)), initial_alphabet=alphabet, show_progress=False)
        self._model.train_from_iterator((chunk for text in texts for chunk in _chunks(text)), learn)
        self._ready()

    def split(self, text: str) -> list[str]:
        if self._model is None:
            raise ConfigError(f"the tokenizer '{self.name}' was not trained")
        found = self._model.encode_batch_fast(list(_chunks(text)), add_special_tokens=False)
        return [self._symbols[i] for part in found for i in part.ids]

    def alphabet(self) -> Iterable[str]:
        return self._symbols

    def shown(self, symbol: str) -> str:
        found = self.join([symbol])
        return symbol if "\ufffd" in found else found  # a part of a letter

    def pieces(self, symbols: Iterable[str]) -> Iterator[str]:
        """Bytes of a character that is not complete yet are held back."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for symbol in symbols:
            raw = b"".join(_BYTES.get(c, c.encode()) for c in symbol) if symbol != UNKNOWN else symbol.encode()
            yield decoder.decode(raw)
        yield decoder.decode(b"", final=True)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "model": json.loads(self._model.to_str())}

    def restore(self, data: dict[str, Any]) -> None:
        try:
            self._model = importlib.import_module("tokenizers").Tokenizer.from_str(json.dumps(data["model"]))
        except Exception as error:  # the library raises bare Exception
            raise DataError(f"the stored tokenizer cannot be read: {error}") from None
        self._ready()

    def _ready(self) -> None:
        self._model.encode_special_tokens = True  # what a user types is text; the library does not store this flag
        pieces = self._model.get_vocab()
        self._symbols = sorted(pieces, key=pieces.__getitem__)


class BPE(_Subword):
    """Byte-pair encoding (Sennrich et al. 2016): the same pieces at every training."""

    name = "bpe"

    def _new(self) -> tuple[Any, Any]:
        library = importlib.import_module("tokenizers")
        return library.models.BPE(), library.trainers.BpeTrainer


class Unigram(_Subword):
    """Unigram pieces (Kudo 2018). Training is not repeatable to the last digit, so the trained pieces are kept."""

    name = "unigram"

    def _new(self) -> tuple[Any, Any]:
        library = importlib.import_module("tokenizers")
        return library.models.Unigram(), library.trainers.UnigramTrainer


def _byte_symbols() -> dict[str, bytes]:
    """The byte-level alphabet: printable bytes stand for themselves, the others for characters from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): bytes([b]) for b in printable} | {chr(256 + i): bytes([b]) for i, b in enumerate(others)}


_BYTES = _byte_symbols()


def sequences(tokenizer: Tokenizer, text: str, *, sentences: bool) -> list[list[str]]:
    """The token sequences that are read from their own start: the text, or each of its lines that are not blank."""
    if not sentences:
        return [tokenizer.split(text)]
    return [as_sentence(tokenizer.split(line)) for line in text.split("\n") if line.strip()]


def as_sentence(symbols: list[str]) -> list[str]:
    """The symbols with one end, at the end."""
    return [symbol for symbol in symbols if symbol != END] + [END]


def _chunks(text: str, size: int = 10_000) -> Iterator[str]:
    """Cut long text after line ends, so that the library can work on many pieces at once."""
    start = 0
    while start < len(text):
        cut = text.find("\n", start + size)
        end = len(text) if cut < 0 else cut + 1
        yield text[start:end]
        start = end


TOKENIZERS: dict[str, type[Tokenizer]] = {
    kind.name: kind for kind in (Characters, Words, Whitespace, BPE, Unigram, ChineseWords)
}


def load_tokenizer(data: dict[str, Any]) -> Tokenizer:
    """The tokenizer that `to_json` described."""
    name = data.get("name")
    if name not in TOKENIZERS:
        raise DataError(f"unknown tokenizer {name!r}; this version knows {', '.join(TOKENIZERS)}")
    tokenizer = TOKENIZERS[name]()
    tokenizer.restore(data)
    return tokenizer
