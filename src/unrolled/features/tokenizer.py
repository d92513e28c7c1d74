"""The interface of all tokenizers: text -> symbols and back.

Text is brought to Unicode's normal form C before it is split, here and nowhere else, so that texts which look alike are
alike. `normalization` says so in model folders. Folders of older versions lack it: there it is "none", and words are cut
at combining marks as they were when those models learned.
"""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from unrolled.data.valid_text import check_text

__all__ = ["Tokenizer"]


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
    #: "nfc", or "none" in models of older versions.
    normalization: str = "nfc"

    def normalize(self, text: str) -> str:
        """The text as `split` reads it."""
        return unicodedata.normalize("NFC", text) if self.normalization == "nfc" else text

    def train(self, texts: Iterable[str], size: int) -> None:
        """Learn from the training text; most tokenizers have nothing to learn."""

    def split(self, text: str) -> list[str]:
        """Text -> symbols. DataError for a text with a half of a surrogate pair."""
        check_text(text, nul=False)
        return self._split(self.normalize(text))

    @abstractmethod
    def _split(self, text: str) -> list[str]:
        """Normalized text -> symbols."""

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
        return {"name": self.name} | self._described()

    def _described(self) -> dict[str, str]:
        return {} if self.normalization == "none" else {"normalization": self.normalization}

    def restore(self, data: dict[str, Any]) -> None:
        """Take back what `to_json` wrote."""
