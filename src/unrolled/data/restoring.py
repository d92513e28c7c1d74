"""Capitals and punctuation taken out of a text, so that a network can learn to put them back.

words, labels = taken_apart("Mr. Smith left. Why?")   # ['mr', 'smith', 'left', 'why'], ['Xx.', 'Xx', 'x.', 'Xx?']
restored(words, labels)                               # 'Mr. Smith left. Why?'

A label says how the word is written, `x` in lower case, `Xx` with a capital, `XX` in capitals, and which mark follows it.
Other signs (quotes, brackets, dashes between words, currencies) are left out. A mark may stand behind a blank.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest

__all__ = ["STRETCH", "restored", "taken_apart"]

#: Words read together in training; where they begin and end has nothing to do with sentences.
STRETCH = 100
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_LETTER = rf"(?![{_HAN}_])\w"
_WORD = re.compile(rf"[{_HAN}]|(?:{_LETTER})+(?:['’.,-](?:{_LETTER})+)*")
_MARKS = ".,;:!?。，、；：！？"
_CLOSING = "\"'”’»)]」』）"


def taken_apart(text: str) -> tuple[list[str], list[str]]:
    """The words of a text in lower case, and the label of each."""
    words, labels = [], []
    found = list(_WORD.finditer(text))
    for match, following in zip_longest(found, found[1:]):
        end = following.start() if following else len(text)
        after = text[match.end() : end].lstrip(f"{_CLOSING} \u00a0\u202f")
        mark = after[0] if after and after[0] in _MARKS else ""
        words.append(match[0].lower())
        labels.append(_written(match[0]) + mark)
    return words, labels


def _written(word: str) -> str:
    letters = [letter for letter in word if letter.isalpha()]
    if len(letters) > 1 and all(letter.isupper() for letter in letters):
        return "XX"
    return "Xx" if word[0].isupper() else "x"


def restored(words: Sequence[str], labels: Sequence[str]) -> str:
    """The text that words and labels stand for."""
    text = ""
    for word, label in zip(words, labels, strict=True):
        written = label.rstrip(_MARKS)
        shown = word.upper() if written == "XX" else word[:1].upper() + word[1:] if written == "Xx" else word
        touching = not text or (_is_han(word) and (_is_han(text[-1]) or text[-1] in _MARKS[6:]))
        text += f"{'' if touching else ' '}{shown}{label[len(written) :]}"
    return text


def _is_han(text: str) -> bool:
    return re.match(f"[{_HAN}]", text[:1]) is not None
