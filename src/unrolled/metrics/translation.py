"""How good translations are: BLEU and chrF by sacrebleu, whose signatures say how they were counted."""

from __future__ import annotations

import importlib
import importlib.util
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from unrolled.errors import MissingExtra

__all__ = ["bleu_tokenizer", "corpus_scores", "loops"]


#: Scripts that put no blanks between words, by their code points, and sacrebleu's tokenizer for each.
_UNSPACED = (
    ("zh", "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"),
    ("ja-mecab", "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fd-\u30ff\u31f0-\u31ff\uff66-\uff9d"),
    ("char", "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\ua9e0-\ua9ff\uaa60-\uaa7f"),  # Thai, Lao, Burmese, Khmer
)
_PATTERNS = tuple((tokenizer, re.compile(f"[{characters}]")) for tokenizer, characters in _UNSPACED)
#: Part of the Kana among the Kana and Han of Japanese: titles of Han alone in a Chinese text have less.
_KANA = 0.05


def bleu_tokenizer(references: Sequence[str]) -> str:
    """Return the name of sacrebleu's tokenizer for the script of more than half of the references' letters.

    13a for scripts with blanks between words; Chinese zh; Japanese ja-mecab where MeCab is installed, else char; Thai, Lao,
    Khmer and Burmese char.
    """
    text = "".join(references)
    letters = sum(unicodedata.category(letter)[0] in "LM" for letter in text)
    han, kana, others = (len(pattern.findall(text)) for _, pattern in _PATTERNS)
    if 2 * (han + kana + others) <= letters:
        return "13a"
    if others > han + kana:
        return "char"
    if kana <= _KANA * (han + kana):
        return "zh"
    return "ja-mecab" if all(importlib.util.find_spec(name) for name in ("MeCab", "ipadic")) else "char"


def corpus_scores(found: Sequence[str], references: Sequence[str], tokenizer: str | None = None) -> dict[str, Any]:
    """BLEU and chrF (0 to 100) of whole translations (n) against one reference each, and their signatures.

    tokenizer: sacrebleu's, for the words of BLEU; None: by `bleu_tokenizer`. The signature names it. MissingExtra without
    sacrebleu.
    """
    try:
        metrics = importlib.import_module("sacrebleu.metrics")
    except ImportError:
        raise MissingExtra("sacrebleu", "translate", "Measuring BLEU and chrF") from None
    bleu = metrics.BLEU(tokenize=tokenizer or bleu_tokenizer(references))
    scores: dict[str, Any] = {}
    for name, metric in (("bleu", bleu), ("chrf", metrics.CHRF())):
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
