"""How good labels of words are: by label, and by whole entities where labels say where an entity begins and ends.

B-X begins an entity of kind X, I-X (or M-X) goes on, E-X (or L-X) ends it, S-X (or U-X) is one of a single word, O is none.
I-X after something else begins one too: the rule of the CoNLL shared tasks, so that IOB1, IOB2 and IOBES are all read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

__all__ = ["entities", "entity_scores", "label_scores", "marks_entities"]

_PARTS = re.compile(r"([BIESLUM])-(.+)")


def marks_entities(labels: Iterable[str]) -> bool:
    """Whether labels say where entities are: O, and others by the rule above."""
    others = [label for label in labels if label != "O"]
    return bool(others) and all(_PARTS.fullmatch(label) for label in others)


def entities(labels: Sequence[str]) -> set[tuple[int, int, str]]:
    """The entities of a sentence: first word, end (the word after the last), kind."""
    found: set[tuple[int, int, str]] = set()
    begun: tuple[int, str] | None = None
    for i, label in enumerate([*labels, "O"]):
        match = _PARTS.fullmatch(label)
        part, kind = match.groups() if match else ("O", "")
        if begun and (part in "OBSU" or kind != begun[1]):
            found.add((begun[0], i, begun[1]))
            begun = None
        if match and begun is None:
            begun = i, kind
        if begun and part in "ELSU":
            found.add((begun[0], i + 1, begun[1]))
            begun = None
    return found


def entity_scores(given: Iterable[Sequence[str]], answered: Iterable[Sequence[str]]) -> dict[str, dict[str, Any]]:
    """Precision, recall, F1 and support of whole entities, of each kind and of "all"; one counts if ends and kind agree."""
    right, wanted, said = Counter[str](), Counter[str](), Counter[str]()
    for truth, answer in zip(given, answered, strict=True):
        there, found = entities(truth), entities(answer)
        for counter, which in ((right, there & found), (wanted, there), (said, found)):
            counter.update(kind for _, _, kind in which)
            counter["all"] += len(which)
    kinds = ["all", *sorted((wanted | said).keys() - {"all"})]
    return {kind: _scores(right[kind], wanted[kind], said[kind]) for kind in kinds}


def label_scores(confusion: np.ndarray) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support of each label, from how often label i (row) was answered with j (column)."""
    both, wanted, said = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    return [_scores(int(b), int(w), int(s)) for b, w, s in zip(both, wanted, said, strict=True)]


def _scores(both: int, wanted: int, said: int) -> dict[str, Any]:
    return {
        "precision": both / said if said else None,
        "recall": both / wanted if wanted else None,
        "f1": 2 * both / (wanted + said) if wanted + said else None,
        "support": wanted,
    }
