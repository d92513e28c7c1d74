"""How good transcripts are: word and character error rates by jiwer, with intervals, and what was taken for what.

    WER = (words substituted + deleted + inserted) / words that were said          it can be more than 1

CER is the same for characters, blanks included. Words end at every white space of Unicode (tab, line end, no-break and
ideographic space) and at a zero-width space. For characters each of these counts as one blank, and those before and after a
text do not count. Byte order marks and word joiners are no characters. Intervals by drawing recordings anew
(`metrics.bootstrap`).
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from unrolled.errors import MissingExtra
from unrolled.metrics.bootstrap import Interval, intervals

__all__ = ["Rate", "Step", "aligned", "character_errors", "confusions", "error_rate", "word_errors"]


class Step(NamedTuple):
    """One step of an alignment: the word that was said and the one that was heard, None where there is none."""

    said: str | None
    heard: str | None


@dataclass(frozen=True)
class Rate:
    """Errors and what they are counted among, of each recording (n,); where nothing was said at all, they are counted
    among one.
    """

    errors: np.ndarray
    units: np.ndarray

    @property
    def value(self) -> float:
        """The rate of all recordings together."""
        return float(self.errors.sum() / (self.units.sum() or 1))

    @cached_property
    def interval(self) -> Interval:
        """The same with the range that it lies in: of recordings drawn anew, which takes its time."""
        units = self.units if self.units.sum() else np.full_like(self.units, 1 / max(1, len(self.units)))
        return intervals(self.errors[None], units[None])[0][0]


def _jiwer() -> Any:
    try:
        return importlib.import_module("jiwer")
    except ImportError:
        raise MissingExtra("jiwer", "speech", "Measuring word errors") from None


#: U+200B ends words in scripts without blanks; U+FEFF (byte order mark) and U+2060 (word joiner) are invisible.
_INVISIBLE = {0x200B: " ", 0xFEFF: None, 0x2060: None}


def _words(text: str) -> list[str]:
    """The words of a text."""
    return text.translate(_INVISIBLE).split()


def _characters(text: str) -> str:
    """The characters of a text: every white space as one blank, none before and after it."""
    lines = text.translate(_INVISIBLE).replace("\r\n", " ")
    return "".join(" " if letter.isspace() else letter for letter in lines).strip()


def aligned(said: str, heard: str) -> list[Step]:
    """The words of both, those that belong together beside each other."""
    words, found = _words(said), _words(heard)
    if not words or not found:
        return [Step(word, None) for word in words] + [Step(None, word) for word in found]
    steps = list[Step]()
    for chunk in _jiwer().process_words(" ".join(words), " ".join(found)).alignments[0]:
        left = words[chunk.ref_start_idx : chunk.ref_end_idx] or [None] * (chunk.hyp_end_idx - chunk.hyp_start_idx)
        right = found[chunk.hyp_start_idx : chunk.hyp_end_idx] or [None] * len(left)
        steps += [Step(*pair) for pair in zip(left, right, strict=True)]
    return steps


def word_errors(said: Sequence[str], heard: Sequence[str]) -> Rate:
    """Word error rate of texts (n,)."""
    errors = [sum(step.said != step.heard for step in aligned(*pair)) for pair in zip(said, heard, strict=True)]
    return error_rate(errors, [len(_words(text)) for text in said])


def character_errors(said: Sequence[str], heard: Sequence[str]) -> Rate:
    """Character error rate of texts (n,)."""
    said, heard = list(map(_characters, said)), list(map(_characters, heard))
    counted = (_jiwer().process_characters(a, b) if a and b else None for a, b in zip(said, heard, strict=True))
    errors = [
        found.substitutions + found.deletions + found.insertions if found else max(len(a), len(b))
        for a, b, found in zip(said, heard, counted, strict=True)
    ]
    return error_rate(errors, [len(text) for text in said])


def error_rate(errors: Sequence[int], units: Sequence[int]) -> Rate:
    """The rate of errors (n,) among units (n,)."""
    return Rate(np.array(errors, np.float64), np.array(units, np.float64))


def confusions(pairs: Sequence[tuple[str, str]], most: int = 20) -> list[tuple[str, str, int]]:
    """What was most often taken for what: (said, heard, times), "" where there is none; pairs: (said, heard) texts."""
    counts = Counter(step for pair in pairs for step in aligned(*pair) if step.said != step.heard)
    ordered = sorted(counts.items(), key=lambda one: (-one[1], str(one[0])))
    return [(step.said or "", step.heard or "", n) for step, n in ordered[:most]]
