"""Which script a text is written in, and the tokens that `--tokens auto` takes for it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from unrolled.data.characters import is_han
from unrolled.data.text import CHUNK, code_points

__all__ = ["AutomaticTokens", "dominant_script", "has_chinese_words"]

#: Least share of kana among the Han and kana of Japanese texts. Chinese ones have 1 % at most, Japanese ones 20 % or more.
_LEAST_KANA = 0.05
#: First and last code point of scripts without blanks between words.
_BLOCKS = {
    "kana": ((0x3041, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F), (0x1B000, 0x1B16F)),
    "thai": ((0x0E00, 0x0E7F),),
    "lao": ((0x0E80, 0x0EFF),),
    "khmer": ((0x1780, 0x17FF), (0x19E0, 0x19FF)),
    "burmese": ((0x1000, 0x109F), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F)),
}


@lru_cache(maxsize=1 << 16)
def _script(code: int) -> str:
    """The script of a letter; "" for what is no letter (digits, marks, punctuation), "other" for scripts with blanks."""
    character = chr(code)
    if not character.isalpha():
        return ""
    if is_han(character):
        return "han"
    return next((name for name, blocks in _BLOCKS.items() if any(a <= code <= b for a, b in blocks)), "other")


def dominant_script(texts: Iterable[str]) -> str:
    """The script of more than half of the letters: "han", "japanese", "thai", "lao", "khmer", "burmese", or else "other".

    Han and kana count together: with 5 % of kana among them they are Japanese.
    """
    counts = np.zeros(0x110000, np.int64)
    for text in _in_pieces(texts):
        found = np.bincount(code_points(text))
        counts[: len(found)] += found
    letters: dict[str, int] = {}
    for code in np.flatnonzero(counts).tolist():
        script = _script(code)
        if script:
            letters[script] = letters.get(script, 0) + int(counts[code])
    kana = letters.pop("kana", 0)
    cjk = letters.pop("han", 0) + kana
    letters["japanese" if kana > _LEAST_KANA * cjk else "han"] = cjk
    half = sum(letters.values()) / 2
    return next((script for script, n in letters.items() if n > half and script != "other"), "other")


def _in_pieces(texts: Iterable[str]) -> Iterable[str]:
    """Short texts joined, so that an array is made of many at once."""
    held: list[str] = []
    size = 0
    for text in texts:
        held.append(text)
        size += len(text)
        if size >= CHUNK:
            yield "\n".join(held)
            held, size = [], 0
    if held:
        yield "\n".join(held)


def has_chinese_words() -> bool:
    """Whether the extra `zh` is installed."""
    return importlib.util.find_spec("rjieba") is not None


class AutomaticTokens(NamedTuple):
    """What `--tokens auto` takes in a task, by the script: with blanks between words; Han; Japanese, Thai, Lao, Khmer and
    Burmese. han_without: for Han where the extra `zh` is not installed.
    """

    spaced: str
    han: str
    han_without: str
    unspaced: str

    def choose(self, texts: Iterable[str]) -> str:
        """The tokens for these texts."""
        return self.of_script(dominant_script(texts))

    def of_script(self, script: str) -> str:
        """The tokens for texts of a script as `dominant_script` names it."""
        if script == "han":
            return self.han if has_chinese_words() else self.han_without
        return self.spaced if script == "other" else self.unspaced
