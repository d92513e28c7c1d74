"""What of a transcript is learned: its spelling is made the same before it becomes symbols.

>>> Spoken(lower=True, marks=False)("Hello -- it's 5 o'clock!")
"hello it's 5 o'clock"
"""

from __future__ import annotations

import unicodedata
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Spoken"]

_APOSTROPHES = {"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\uff07": "'"}


@dataclass(frozen=True)
class Spoken:
    """lower: in lower case; marks: punctuation stays. Unicode is composed (NFC), and blanks are one between words."""

    lower: bool = True
    marks: bool = False

    def __call__(self, text: str) -> str:
        """The text as it is learned and compared."""
        text = unicodedata.normalize("NFC", text)
        text = text.lower() if self.lower else text
        if not self.marks:
            text = "".join(_APOSTROPHES.get(letter, letter) for letter in text)
            text = "".join(letter if self._said(letter) else " " for letter in text)
            text = " ".join(word.strip("'") for word in text.split())
        return " ".join(text.split())

    @staticmethod
    def _said(letter: str) -> bool:
        """Letters, their marks, digits and the apostrophe."""
        return letter == "'" or unicodedata.category(letter)[0] in "LMN"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
