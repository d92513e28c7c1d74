"""Extended grapheme clusters (Unicode Standard Annex #29): what a reader takes for one character.

The clusters are those of the standard but for one thing: all combining marks stay with the character before them, also
the few Burmese vowel signs (U+102B, U+102C, U+1038 and their like) that the standard sets apart.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from unrolled.data.characters import PICTOGRAPHS, ZWJ, as_class, modifiers

__all__ = ["graphemes"]

#: Characters that stand before the character which they belong to (Prepend).
_PREPENDED = (
    "\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\u0d4e\U000110bd\U000110cd\U000111c2\U000111c3\U0001193f\U00011941"
    "\U00011a3a\U00011a84-\U00011a89\U00011d46\U00011f02"
)
#: Letters and format characters that extend the character before them: the non-joiner, Thai and Lao AM, halfwidth voicing.
_EXTENDING = "\u200c\u0e33\u0eb3\uff9e\uff9f"
_LEADING, _VOWEL, _TRAILING = "\u1100-\u115f\ua960-\ua97c", "\u1160-\u11a7\ud7b0-\ud7c6", "\u11a8-\u11ff\ud7cb-\ud7fb"
#: Consonants that a linker (virama) binds together, and the linkers (Indic_Conjunct_Break).
_CONSONANTS = (
    "\u0915-\u0939\u0958-\u095f\u0978-\u097f\u0995-\u09a8\u09aa-\u09b0\u09b2\u09b6-\u09b9\u09dc\u09dd\u09df\u09f0\u09f1"
    "\u0a95-\u0aa8\u0aaa-\u0ab0\u0ab2\u0ab3\u0ab5-\u0ab9\u0af9\u0b15-\u0b28\u0b2a-\u0b30\u0b32\u0b33\u0b35-\u0b39"
    "\u0b5c\u0b5d\u0b5f\u0b71\u0c15-\u0c28\u0c2a-\u0c39\u0c58-\u0c5a\u0d15-\u0d3a\u1000-\u102a\u103f\u1050-\u1055"
    "\u105a-\u105d\u1061\u1065\u1066\u106e-\u1070\u1075-\u1081\u108e\u1780-\u17b3"
)
_LINKERS = "\u094d\u09cd\u0acd\u0b4d\u0c4d\u0d4d\u1039\u17d2"
_REGIONAL = "\U0001f1e6-\U0001f1ff"


def _is_control(character: str) -> bool:
    # Format characters that extend or precede are matched before; tags (U+E0020 to U+E007F) are modifiers.
    code = ord(character)
    return unicodedata.category(character) in ("Cc", "Zl", "Zp") or (
        unicodedata.category(character) == "Cf" and character != ZWJ and not 0xE0020 <= code <= 0xE007F
    )


@cache
def _pattern() -> re.Pattern[str]:
    codes = [*range(0x20000), *range(0xE0000, 0xE1000)]
    prepended = re.compile(f"[{_PREPENDED}{_EXTENDING}]")
    controls = as_class(code for code in codes if _is_control(chr(code)) and not prepended.match(chr(code)))
    extending = f"[{modifiers()}{_EXTENDING}{ZWJ}]"
    syllable, open_syllable = as_class(range(0xAC00, 0xD7A4)), as_class(range(0xAC00, 0xD7A4, 28))
    core = "|".join(
        [
            f"[{_REGIONAL}]{{2}}",
            f"[{_LEADING}]*(?:[{_VOWEL}]+|[{open_syllable}][{_VOWEL}]*|[{syllable}])[{_TRAILING}]*|[{_LEADING}]+|[{_TRAILING}]+",
            f"[{PICTOGRAPHS}](?:[{modifiers()}{_EXTENDING}]*{ZWJ}[{PICTOGRAPHS}])*",
            f"[{_CONSONANTS}](?:(?:(?![{_LINKERS}]){extending})*+[{_LINKERS}]{extending}*+[{_CONSONANTS}])*",
            f"[^{controls}]",
        ]
    )
    return re.compile(rf"\r\n|[{controls}]|[{_PREPENDED}]*(?:{core}){extending}*|[{_PREPENDED}]+|.", re.DOTALL)


def graphemes(text: str) -> list[str]:
    """The grapheme clusters of a text; together they are the text.

    >>> graphemes("नमस्ते"), graphemes("ก็ 👩‍👧🇩🇪")
    (['न', 'म', 'स्ते'], ['ก็', ' ', '👩‍👧', '🇩🇪'])
    """
    return _pattern().findall(text)
