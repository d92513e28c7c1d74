"""Capitals and punctuation taken out of a text, so that a network can learn to put them back.

words, labels = taken_apart("Mr. Smith left. Why?")   # ['mr', 'smith', 'left', 'why'], ['Xx.', 'Xx', 'x.', 'Xx?']
restored(words, labels)                               # 'Mr. Smith left. Why?'

A label says how the word is written, `x` in lower case, `Xx` with a capital, `XX` in capitals, and which mark follows it.
Other signs (quotes, brackets, dashes between words, currencies) are left out. A mark may stand behind a blank.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from itertools import zip_longest

from unrolled.data.characters import HAN, word_pattern

__all__ = ["STRETCH", "restored", "taken_apart"]

#: Words read together in training; where they begin and end has nothing to do with sentences.
STRETCH = 100
_SPACED_MARKS, _HAN_MARKS = ".,;:!?", "。，、；：！？"
#: Danda, and the comma, semicolon, question mark and full stop of Arabic and Urdu.
_MARKS = _SPACED_MARKS + _HAN_MARKS + "।॥،؛؟۔"
_CLOSING = "\"'”’»)]」』）"
#: Older versions cut words at combining marks, and knew no others than these marks.
_LETTER = rf"(?![{HAN}_])\w"
_CUT_AT_MARKS = re.compile(rf"[{HAN}]|(?:{_LETTER})+(?:['’.,-](?:{_LETTER})+)*")
_KANA = "\u3041-\u30ff\u31f0-\u31ff"


@cache
def _pattern(normalization: str) -> re.Pattern[str]:
    return _CUT_AT_MARKS if normalization == "none" else re.compile(word_pattern("'’.,-", with_connectors=False))


def taken_apart(text: str, normalization: str = "nfc") -> tuple[list[str], list[str]]:
    """The words of a text in lower case, and the label of each.

    normalization: that of the model which reads them; "none": as older versions cut words.
    """
    words, labels = [], []
    known = _SPACED_MARKS + _HAN_MARKS if normalization == "none" else _MARKS
    found = list(_pattern(normalization).finditer(text))
    for match, following in zip_longest(found, found[1:]):
        end = following.start() if following else len(text)
        after = text[match.end() : end].lstrip(f"{_CLOSING} \u00a0\u202f")
        mark = after[0] if after and after[0] in known else ""
        words.append(match[0].lower())
        labels.append(_written(match[0]) + mark)
    return words, labels


def _written(word: str) -> str:
    letters = [letter for letter in word if letter.isalpha()]
    if len(letters) > 1 and all(letter.isupper() for letter in letters):
        return "XX"
    return "Xx" if word[0].isupper() else "x"


def restored(words: Sequence[str], labels: Sequence[str], normalization: str = "nfc") -> str:
    """The text that words and labels stand for."""
    text = ""
    for word, label in zip(words, labels, strict=True):
        written = label.rstrip(_MARKS)
        shown = word.upper() if written == "XX" else word[:1].upper() + word[1:] if written == "Xx" else word
        if shown != word and normalization != "none" and unicodedata.is_normalized("NFC", word):
            shown = unicodedata.normalize("NFC", shown)  # the capital of i̇ is İ
        blank = "" if not text or _touch(text[-1], word, normalization) else " "
        text += f"{blank}{shown}{label[len(written) :]}"
    return text


def _touch(last: str, word: str, normalization: str) -> bool:
    """Whether no blank stands between a character and a word: beside a Han character neither Han nor kana has one."""
    if normalization == "none":
        return _is_han(word) and (_is_han(last) or last in _HAN_MARKS)
    first_han, last_han = _is_han(word), _is_han(last)
    first_kana, last_kana = _is_kana(word), _is_kana(last)
    return (first_han or first_kana) and (last_han or last in _HAN_MARKS or (first_han and last_kana))


def _is_han(text: str) -> bool:
    return re.match(f"[{HAN}]", text[:1]) is not None


def _is_kana(text: str) -> bool:
    return re.match(f"[{_KANA}]", text[:1]) is not None
