"""How good translations are: BLEU and chrF by sacrebleu, whose signatures say how they were counted."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from unrolled.errors import MissingExtra

__all__ = ["corpus_scores", "loops"]


def corpus_scores(found: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """BLEU and chrF (0 to 100) of whole translations (n) against one reference each, and their signatures.

    Words as sacrebleu finds them (13a); in references that are mostly Han characters, each of these is one (zh).
    MissingExtra without sacrebleu.
    """
    try:
        metrics = importlib.import_module("sacrebleu.metrics")
    except ImportError:
        raise MissingExtra("sacrebleu", "translate", "Measuring BLEU and chrF") from None
    han = sum("\u3400" <= letter <= "\u9fff" for text in references for letter in text)
    words = "zh" if 2 * han > sum(map(len, references)) else "13a"
    scores: dict[str, Any] = {}
    for name, metric in (("bleu", metrics.BLEU(tokenize=words)), ("chrf", metrics.CHRF())):
        scores[name] = metric.corpus_score(list(found), [list(references)]).score
        scores[f"{name}_signature"] = str(metric.get_signature())
    return scores


def loops(symbols: Sequence[object], longest: int = 4, times: int = 3) -> bool:
    """Whether some run of up to `longest` symbols stands there `times` times in a row."""
    n = len(symbols)
    for size in range(1, longest + 1):
        equal = 0
        for i in range(size, n):
            equal = equal + 1 if symbols[i] == symbols[i - size] else 0
            if equal >= size * (times - 1):
                return True
    return False
