"""N-gram language models in the ARPA format, as KenLM, SRILM and others write them; .gz too.

    log10 P(w | u v) = what stands there for "u v w", or else backoff("u v") + log10 P(w | v)

Jurafsky and Martin, Speech and Language Processing, chapter 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unrolled.data.text import Document, lines_of, read_documents
from unrolled.errors import DataError

__all__ = ["NGrams", "read_arpa"]

_LN10 = math.log(10)
_NEVER = -99.0
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
    """Read a file. DataError naming the line that is not as the format has it."""
    (document,) = read_documents([path], "utf-8")
    return _parsed(document)


def _parsed(document: Document) -> NGrams:
    grams, order, n = dict[Gram, tuple[float, float]](), 0, 0
    for number, line in enumerate(lines_of(document), start=1):
        text = line.strip("\r\n")
        if text.startswith("\\") and text.rstrip().endswith("-grams:"):
            n = int(text[1:].partition("-")[0])
            order = max(order, n)
        elif text.startswith("\\end\\"):
            break
        elif n and text.strip():
            fields = text.split("\t") if "\t" in text else text.split()
            tokens = tuple(fields[1].split()) if "\t" in text and len(fields) > 1 else tuple(fields[1 : n + 1])
            rest = fields[2:] if "\t" in text else fields[n + 1 :]
            try:
                values = float(fields[0]), float(rest[0]) if rest else 0.0
            except ValueError:
                values = None
            if values is None or len(tokens) != n:
                raise DataError(
                    f"{document.name}, line {number}: expected log10 P, {n} tokens and perhaps a backoff: {text[:60]!r}"
                )
            grams[tokens] = values
    if not grams:
        raise DataError(f"{document.name}: is no language model in the ARPA format: it has no \\1-grams:.")
    return NGrams(grams, order)
