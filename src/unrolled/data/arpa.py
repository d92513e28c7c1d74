"""N-gram language models in the ARPA format, as KenLM, SRILM and others write them; .gz too.

    log10 P(w | u v) = what stands there for "u v w", or else backoff("u v") + log10 P(w | v)

Jurafsky and Martin, Speech and Language Processing, chapter 3.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unrolled.data.text import Document, lines_of, read_documents
from unrolled.errors import DataError

__all__ = ["NGrams", "read_arpa"]

_LN10 = math.log(10)
#: log10 P of an unknown word where a model has no <unk>: KenLM's `unknown_missing_logprob`.
_NEVER = -100.0
_COUNT = re.compile(r"ngram\s+(\d+)\s*=\s*(\d+)")
#: Between fields. U+00A0, U+3000 and others occur within words.
_BETWEEN = " \t\r\n"
_BLANK = re.compile(r"[ \t]+")
#: What a blank is called in models of characters.
_BLANKS = ("<space>", "▁", "|", "_")

Gram = tuple[str, ...]


class NGrams:
    """A `decoding.scorers.TextModel`: log P of a token after up to n - 1 others. A context is a tuple of tokens."""

    def __init__(self, grams: dict[Gram, tuple[float, float]], order: int) -> None:
        self.grams, self.order = grams, order
        tokens = {gram[0] for gram in grams if len(gram) == 1} - {"<s>", "</s>", "<unk>", "<UNK>", *_BLANKS}
        self.words = any(len(token) > 1 for token in tokens)
        self._blank = next((name for name in _BLANKS if (name,) in grams), " ")
        self._unknown = next((name for name in ("<unk>", "<UNK>") if (name,) in grams), "<unk>")

    def first(self) -> Gram:
        return ("<s>",) if ("<s>",) in self.grams else ()

    def read(self, asked: Sequence[tuple[Any, str]]) -> list[tuple[float, Any]]:
        found = []
        for context, token in asked:
            token = self._blank if not self.words and token.isspace() else token
            token = token if (token,) in self.grams else self._unknown
            found.append((_LN10 * self._log10(context, token), (*context, token)[-max(1, self.order - 1) :]))
        return found

    def ending(self, contexts: Sequence[Any]) -> list[float]:
        known = ("</s>",) in self.grams
        return [_LN10 * self._log10(context, "</s>") if known else 0.0 for context in contexts]

    def _log10(self, context: Gram, token: str) -> float:
        total, context = 0.0, context[-(self.order - 1) :] if self.order > 1 else ()
        while True:
            found = self.grams.get((*context, token))
            if found is not None:
                return total + found[0]
            if not context:
                return total + _NEVER
            total += self.grams.get(context, (0.0, 0.0))[1]
            context = context[1:]


def read_arpa(path: str | Path) -> NGrams:
    """Read a file. DataError naming the line that is not as the format has it, or what is missing of the file."""
    (document,) = read_documents([path], "utf-8")
    return _parsed(document)


def _parsed(document: Document) -> NGrams:
    """Read the sections; each has as many n-grams as the counts at the file's begin say."""
    counts, grams = dict[int, int](), dict[Gram, tuple[float, float]]()
    n, begun, ended = 0, False, False
    for number, line in enumerate(lines_of(document), start=1):
        place, text = f"{document.name}, line {number}", line.strip(_BETWEEN)
        if text == "\\data\\":
            begun = True
        elif text == "\\end\\":
            ended = True
            break
        elif not begun or not text:  # what comes before \data\ is a comment
            continue
        elif text.startswith("\\") and text.endswith("-grams:"):
            _check_count(document.name, grams, counts, n)
            n = _order(text, n, counts, place)
        elif n == 0:
            counts |= _count(text, place)
        else:
            gram, values = _gram(text, n, place)
            if gram in grams:
                raise DataError(f"{place}: the n-gram {' '.join(gram)!r} is there twice. Fix: make the file anew.")
            grams[gram] = values
    if not begun or not grams:
        raise DataError(f"{document.name}: is no language model in the ARPA format: it has no \\data\\ and \\1-grams:.")
    _check_count(document.name, grams, counts, n)
    missing = next((order for order, count in sorted(counts.items()) if order > n and count), 0)
    if missing or not ended:
        what = f"its \\{missing}-grams: are missing" if missing else "it has no \\end\\"
        raise DataError(f"{document.name}: is cut off: {what}. Fix: copy it again.")
    return NGrams(grams, n)


def _count(text: str, place: str) -> dict[int, int]:
    """A line such as "ngram 2=17"."""
    match = _COUNT.fullmatch(text)
    if match is None:
        raise DataError(f"{place}: got {text[:60]!r}, expected a count as in 'ngram 1=5000', or \\1-grams:.")
    return {int(match[1]): int(match[2])}


def _order(text: str, before: int, counts: dict[int, int], place: str) -> int:
    """The order of a section such as \\2-grams:, which follows that of the order below."""
    order = text[1:].removesuffix("-grams:")
    if order != str(before + 1) or before + 1 not in counts:
        count = "" if order != str(before + 1) else f" with a count 'ngram {order}=' at the file's begin"
        raise DataError(f"{place}: got {text[:60]!r}, expected \\{before + 1}-grams:{count}. Fix: make the file anew.")
    return before + 1


def _check_count(name: str, grams: dict[Gram, tuple[float, float]], counts: dict[int, int], n: int) -> None:
    """DataError where a section has fewer or more n-grams than the file's begin says."""
    found = len(grams) - sum(count for order, count in counts.items() if order < n)
    if n and found != counts[n]:
        fix = "The file is cut off, or was changed. Fix: copy or make it again."
        raise DataError(f"{name}: has {found:,} {n}-grams, but its \\data\\ promises {counts[n]:,}. {fix}")


def _gram(text: str, n: int, place: str) -> tuple[Gram, tuple[float, float]]:
    """Tokens, log10 P and backoff of a line; spaces and tabs alone are between tokens, as in KenLM."""
    fields = _BLANK.split(text)
    try:
        p, backoff = float(fields[0]), float(fields[n + 1]) if len(fields) > n + 1 else 0.0
    except ValueError:
        p = backoff = math.nan
    if not n + 1 <= len(fields) <= n + 2:
        p = math.nan
    if not p <= 0 or not math.isfinite(backoff):
        raise DataError(
            f"{place}: got {text[:60]!r}, expected log10 P, at most 0, {n} token{'s' * (n > 1)} and perhaps a backoff. "
            "Fix: correct the line, or make the file anew."
        )
    return tuple(fields[1 : n + 1]), (p, backoff)
