"""How good captions are, against several references each: BLEU by sacrebleu, ROUGE-L and CIDEr-D, without Java.

Words are compared in lower case, without punctuation (`plain_words`).

ROUGE-L   F of the longest common subsequence, the best precision and the best recall among the references of an image,
          recall counting 1.2 times as much; the mean over images. Lin 2004.
CIDEr-D   n-grams of 1 to 4 words, each weighed by how rare it is: g(n, w) = count of w log(images / images with w); then
          10 / 4 sum over n of the mean over references r of
              exp(-(l(c) - l(r))^2 / 72)  min(g(n, c), g(n, r)) . g(n, r) / (|g(n, c)| |g(n, r)|)
          the mean over images, 0 to 10. Vedantam, Zitnick and Parikh 2015, arXiv:1411.5726; rarity from the references.
"""

from __future__ import annotations

import importlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from unrolled.errors import MissingExtra

__all__ = ["caption_scores", "cider_d", "plain", "plain_words", "rouge_l"]

_LONGEST = 4
_RECALL = 1.2
_SIGMA = 6.0
#: Scripts that put no blank between words: each character counts as one.
_ALONE = re.compile("([\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])")

Grams = Counter[tuple[str, ...]]


def plain_words(text: str) -> list[str]:
    """The words of a caption in lower case, without punctuation; each Han or Kana character is one."""
    return _ALONE.sub(r" \1 ", plain(text)).split()


def plain(text: str) -> str:
    """A caption in lower case, without punctuation: letters with their marks, and digits, one blank between words."""
    return " ".join(unicodedata.normalize("NFC", text.lower()).translate(_MARKS).split())


class _Letters(dict[int, int | str | None]):
    """Characters that are neither letters nor marks of letters nor digits become blanks; apostrophes nothing."""

    def __missing__(self, code: int) -> int | str:
        found = code if unicodedata.category(chr(code))[0] in "LMN" else " "
        self[code] = found
        return found


_MARKS = _Letters({ord("'"): None, ord("’"): None})


def caption_scores(found: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Any]:
    """BLEU-1 to BLEU-4 (0 to 100), ROUGE-L (0 to 100) and CIDEr-D of captions (n) against the references of each.

    MissingExtra without sacrebleu.
    """
    try:
        metrics = importlib.import_module("sacrebleu.metrics")
    except ImportError:
        raise MissingExtra("sacrebleu", "vision", "Measuring BLEU") from None
    words, wanted = list(map(plain_words, found)), [list(map(plain_words, some)) for some in references]
    most = max(map(len, wanted))
    columns = [[" ".join(some[i]) if i < len(some) else None for some in wanted] for i in range(most)]
    bleu = metrics.BLEU(tokenize="none", smooth_method="none", force=True)
    counted = bleu.corpus_score([" ".join(one) for one in words], columns)
    scores: dict[str, Any] = {}
    for n in range(1, _LONGEST + 1):
        some = [p / 100 for p in counted.precisions[:n]]
        scores[f"bleu_{n}"] = 100 * counted.bp * math.exp(sum(map(math.log, some)) / n) if min(some) > 0 else 0.0
    scores |= {"rouge_l": 100 * float(np.mean(rouge_l(words, wanted))), "cider_d": float(np.mean(cider_d(words, wanted)))}
    return scores | {"bleu_signature": str(bleu.get_signature())}


def rouge_l(found: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> list[float]:
    """ROUGE-L of each caption, words (n), against its references; 0 to 1."""
    scores = []
    for words, wanted in zip(found, references, strict=True):
        common = [_common(words, one) for one in wanted]
        if not any(common):
            scores.append(0.0)
            continue
        precision = max(common) / len(words)
        recall = max(n / len(one) for n, one in zip(common, wanted, strict=True) if one)
        scores.append((1 + _RECALL**2) * precision * recall / (recall + _RECALL**2 * precision))
    return scores


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for word in a:
        before = 0
        for j, other in enumerate(b, start=1):
            before, row[j] = row[j], before + 1 if word == other else max(row[j], row[j - 1])
    return row[-1]


def cider_d(found: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> list[float]:
    """CIDEr-D of each caption, words (n), against its references; 0 to 10."""
    counted = [[_grams(one) for one in some] for some in references]
    images = Counter(gram for some in counted for gram in set().union(*some))
    log_n = math.log(max(len(references), 1))

    def weighed(grams: Grams) -> list[dict[tuple[str, ...], float]]:
        """g(n, .) for each n."""
        g: list[dict[tuple[str, ...], float]] = [{} for _ in range(_LONGEST)]
        for gram, count in grams.items():
            g[len(gram) - 1][gram] = count * (log_n - math.log(max(1, images[gram])))
        return g

    scores = []
    for words, some, texts in zip(found, counted, references, strict=True):
        g = weighed(_grams(words))
        each = [
            sum(map(_alike, g, weighed(grams))) * math.exp(-((len(words) - len(text)) ** 2) / (2 * _SIGMA**2))
            for grams, text in zip(some, texts, strict=True)
        ]
        scores.append(10 * sum(each) / len(each) / _LONGEST)
    return scores


def _grams(words: Sequence[str]) -> Grams:
    return Counter(tuple(words[i : i + n]) for n in range(1, _LONGEST + 1) for i in range(len(words) - n + 1))


def _alike(g: dict[tuple[str, ...], float], of: dict[tuple[str, ...], float]) -> float:
    """Cosine of two weighings, that of `of` not exceeded."""
    sizes = math.hypot(*g.values()) * math.hypot(*of.values())
    return sum(min(weight, of[gram]) * of[gram] for gram, weight in g.items() if gram in of) / sizes if sizes else 0.0
