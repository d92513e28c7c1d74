"""Unicode character classes: the one definition of a word character, for regular expressions and for tables.

A word consists of letters, digits, combining marks and, where a tokenizer says so, connectors (Unicode categories L, N, M,
Pc). Format characters (Cf: zero width joiner and non-joiner, soft hyphen, directional marks) belong to it between two of
these, and a zero width joiner also at its end (Malayalam chillus, Arabic abbreviations). The zero width space separates
words. A Han character with its marks is a word. Signs keep what modifies them: marks, skin tones, tags, and the other
parts of an emoji sequence (Unicode Technical Standard 51).

Older model folders cut words at marks (`normalization` is "none" there): see `features/tokenizers.py`, `features/words.py`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from functools import cache
from itertools import chain

__all__ = [
    "HAN",
    "PICTOGRAPHS",
    "UNSPACED",
    "ZWJ",
    "as_class",
    "connectors",
    "formats",
    "is_format",
    "is_han",
    "is_mark",
    "is_modifier",
    "marks",
    "modifiers",
    "sign_pattern",
    "word_pattern",
]

#: Han characters, as the inside of a class of a regular expression.
HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
#: Kana, Thai, Lao, Khmer and Burmese, which are written without blanks between words, as the inside of a class.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u19e0-\u19ff\u3041-\u30ff\u31f0-\u31ff\ua9e0-\ua9ff\uaa60-\uaa7f"
    "\uff66-\uff9f\U0001b000-\U0001b16f"
)
ZWJ = "\u200d"
_ZERO_WIDTH_SPACE = "\u200b"
_REGIONAL = "\U0001f1e6-\U0001f1ff"
#: Skin tones, and the tags of flags of regions.
_EMOJI_MODIFIERS = "\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f"
#: Extended_Pictographic of emoji-data.txt, as the inside of a class.
PICTOGRAPHS = (
    "\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u2199\u21a9\u21aa\u231a\u231b\u2328\u2388\u23cf\u23e9-\u23f3\u23f8-\u23fa"
    "\u24c2\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe\u2600-\u2605\u2607-\u2612\u2614-\u2685\u2690-\u2705\u2708-\u2712\u2714\u2716"
    "\u271d\u2721\u2728\u2733\u2734\u2744\u2747\u274c\u274e\u2753-\u2755\u2757\u2763-\u2767\u2795-\u2797\u27a1\u27b0\u27bf"
    "\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u3030\u303d\u3297\u3299\U0001f000-\U0001f0ff\U0001f10d-\U0001f10f"
    "\U0001f12f\U0001f16c-\U0001f171\U0001f17e\U0001f17f\U0001f18e\U0001f191-\U0001f19a\U0001f1ad-\U0001f1e5"
    "\U0001f201-\U0001f20f\U0001f21a\U0001f22f\U0001f232-\U0001f23a\U0001f23c-\U0001f23f\U0001f249-\U0001f3fa"
    "\U0001f400-\U0001f53d\U0001f546-\U0001f64f\U0001f680-\U0001f6ff\U0001f774-\U0001f77f\U0001f7d5-\U0001f7ff"
    "\U0001f80c-\U0001f80f\U0001f848-\U0001f84f\U0001f85a-\U0001f85f\U0001f888-\U0001f88f\U0001f8ae-\U0001f8ff"
    "\U0001f90c-\U0001f93a\U0001f93c-\U0001f945\U0001f947-\U0001faff\U0001fc00-\U0001fffd"
)


def is_mark(character: str) -> bool:
    """Whether it is a combining mark (categories Mn, Mc, Me)."""
    return unicodedata.category(character)[0] == "M"


def is_modifier(character: str) -> bool:
    """Whether it modifies the character before it: marks, skin tones, tags."""
    return is_mark(character) or "\U0001f3fb" <= character <= "\U0001f3ff" or "\U000e0020" <= character <= "\U000e007f"


def is_format(character: str) -> bool:
    """Whether it belongs to a word where it stands between word characters."""
    return unicodedata.category(character) == "Cf" and character != _ZERO_WIDTH_SPACE


def is_han(character: str) -> bool:
    """Whether it is a Han character."""
    return (
        "\u3400" <= character <= "\u4dbf"
        or "\u4e00" <= character <= "\u9fff"
        or "\uf900" <= character <= "\ufaff"
        or "\U00020000" <= character <= "\U000323af"
    )


def as_class(codes: Iterable[int]) -> str:
    """Ascending code points as the inside of a class of a regular expression."""
    ranges: list[list[int]] = []
    for code in codes:
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)


def _class_where(holds: Callable[[str], bool]) -> str:
    # Marks and format characters lie in planes 0, 1 and in the first block of plane 14.
    return as_class(code for code in chain(range(0x20000), range(0xE0000, 0xE0200)) if holds(chr(code)))


@cache
def marks() -> str:
    """All combining marks, as the inside of a class."""
    return _class_where(is_mark)


@cache
def formats() -> str:
    """All characters for which `is_format` holds, as the inside of a class."""
    return _class_where(is_format)


@cache
def connectors() -> str:
    """All connectors but the underscore, which is in \\w, as the inside of a class."""
    return _class_where(lambda character: unicodedata.category(character) == "Pc" and character != "_")


@cache
def modifiers() -> str:
    """Marks, skin tones and tags: all that modifies the character before it, as the inside of a class."""
    return marks() + _EMOJI_MODIFIERS


@cache
def word_pattern(joining: str, *, with_connectors: bool, alone: str = HAN) -> str:
    """A regular expression for one word.

    joining: signs that belong to a word between two letters or digits, as the inside of a class; with_connectors: whether
    the underscore and its like are word characters; alone: characters that are words by themselves, with their marks.
    """
    letter = rf"[^\W{alone}]" if with_connectors else rf"[^\W_{alone}]"
    other = f"[{marks()}{connectors() if with_connectors else ''}]"
    rest = f"(?:{letter}++|{other}++|{ZWJ}++|[{formats()}]++(?={letter}|{other}))*+"
    return f"(?=\\w)[{alone}][{marks()}]*+|(?:{letter}|{other}){rest}{f'(?:[{joining}]{letter}{rest})*' if joining else ''}"


@cache
def sign_pattern() -> str:
    """A regular expression for one sign (any character) with what modifies it, or an emoji sequence, or a flag."""
    modified = f"[{modifiers()}]*+"
    return f"[{_REGIONAL}]{{2}}|.{modified}(?:{ZWJ}[{PICTOGRAPHS}]{modified})*+"
