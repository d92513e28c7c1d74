"""Unicode's normal form C with the way back: places in the normal form refer to the text that was passed in."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

import numpy as np

from unrolled.data.characters import marks

__all__ = ["compose"]


@cache
def _segment() -> re.Pattern[str]:
    """A character with the marks and Hangul vowels and finals behind it: what normal form C may put together."""
    return re.compile(rf"[\s\S][{marks()}\u1160-\u11ff]*")


def compose(text: str) -> tuple[str, np.ndarray]:
    """The text in normal form C, of n characters, and where each begins in the text, then its end (n + 1,) int64.

    >>> composed, places = compose("cafe\\u0301!")
    >>> composed, places.tolist()
    ('café!', [0, 1, 2, 3, 5, 6])
    """
    if unicodedata.is_normalized("NFC", text):
        return text, np.arange(len(text) + 1)
    composed: list[str] = []
    places: list[int] = []
    for found in _segment().finditer(text):
        part = unicodedata.normalize("NFC", found[0])
        size = found.end() - found.start()
        places += [found.start() + i * size // len(part) for i in range(len(part))]
        composed.append(part)
    return "".join(composed), np.array([*places, len(text)], np.int64)
