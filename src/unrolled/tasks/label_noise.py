"""Labels that are most likely wrong: each text is judged by an averaged classifier that has not seen it.

Confident learning (Northcutt, Jiang and Chuang 2021, arXiv:1911.00068, sections 3.1 and 3.2, pruned by noise rate). With
any number of labels a text, each label is judged by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from unrolled.data.labelled import Labelled
from unrolled.errors import ConfigError, DataError
from unrolled.features.fingerprints import fingerprints
from unrolled.metrics.classification import confusion
from unrolled.options.classify import ClassifyOptions
from unrolled.tasks.classify import AverageTraining, Split

__all__ = ["Checked", "Doubt", "check_labels"]


class Doubt(NamedTuple):
    """A label that is implausible. given: the labels that stand there; suggested: those that the classifier would give;
    p_given, p_suggested: the probability of the label in doubt, and of the one in its place.
    """

    place: str
    text: str
    given: tuple[str, ...]
    suggested: tuple[str, ...]
    p_given: float
    p_suggested: float


class Checked(NamedTuple):
    """doubts: the worst first; judged: texts that were; too_rare: those whose labels have too few examples to be judged."""

    doubts: list[Doubt]
    judged: int
    too_rare: int
    empty: int
    repeated: int
    contradictory: int
    labels: dict[str, int]
    accuracy: float

    def to_json(self) -> dict[str, Any]:
        return self._asdict() | {"doubts": [doubt._asdict() for doubt in self.doubts]}


def check_labels(
    options: ClassifyOptions, examples: Labelled, *, folds: int = 5, threads: int = 1
) -> Iterator[int | Checked]:
    """Judge each text by a classifier trained on the other parts: yields the folds done, then what was found."""
    if not 2 <= folds <= 100:
        raise ConfigError(f"the number of folds must lie in 2..100, got {folds}")
    counts = Counter(label for labels in examples.labels for label in labels)
    judged, which = _judgeable(examples, folds, options.training.seed)
    keys, p, split = fingerprints(judged.texts), np.zeros(0), None
    for fold in range(folds):
        inside = which == fold
        if inside.any():
            split = Split(options, judged.part(np.flatnonzero(~inside)), judged.part(np.flatnonzero(inside)))
            training = AverageTraining(options, split, threads=threads)
            for _ in training.train():
                pass
            found = training.trained().probabilities(split.valid.texts)
            p = np.zeros((len(judged), found.shape[1])) if not len(p) else p
            p[inside] = found
        yield fold + 1
    assert split is not None
    given, _ = split.labels.given(judged.labels)
    find = _many if given.ndim == 2 else _one
    doubts = sorted(find(judged, given, p, split.labels.names), key=lambda doubt: doubt.p_given - doubt.p_suggested)
    right = (p.argmax(1) == given) if given.ndim == 1 else ((p >= 0.5) == given).all(1)
    empty, repeated = examples.empty, len(judged) - len(np.unique(keys))
    rest = (empty, repeated, split.facts.contradictory, dict(counts), float(right.mean()))
    yield Checked(doubts, len(judged), len(examples) - len(judged), *rest)


def _judgeable(examples: Labelled, folds: int, seed: int) -> tuple[Labelled, np.ndarray]:
    """The texts without those whose labels are too rare, and the fold of each (n,). Of every label two texts or more stand
    outside of any fold, so that it can be learned there. DataError if too few are left.
    """
    rare: set[str] = set()
    while True:
        judged = examples.part(i for i, labels in enumerate(examples.labels) if not rare & set(labels))
        if len(judged) < 2 * folds:
            raise DataError(f"{len(judged)} texts are too few to be judged in {folds} parts: give more, or fewer --folds.")
        which = _folds(judged, fingerprints(judged.texts), folds, seed)
        spread: dict[str, Counter[int]] = {}
        for fold, labels in zip(which.tolist(), judged.labels, strict=True):
            for label in labels:
                spread.setdefault(label, Counter())[fold] += 1
        lonely = {label for label, of in spread.items() if of.total() - max(of.values()) < 2}
        if not lonely:
            return judged, which
        rare |= lonely


def _folds(examples: Labelled, keys: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each text (n,): of each label's texts about as many in every fold, equal texts in the same."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, labels in enumerate(examples.labels):
        groups.setdefault(labels, []).append(i)
    which, of_text = np.zeros(len(examples), np.int64), dict[int, int]()
    rng = np.random.default_rng(seed)
    for group in groups.values():
        start = int(rng.integers(folds))
        for at, i in enumerate(rng.permutation(group).tolist()):
            which[i] = of_text.setdefault(int(keys[i]), (start + at) % folds)
    return which


def _implausible(given: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The better label of each text (n,) whose given one is implausible, -1 of the others; given (n,), p (n, C).

    A text is counted to the likeliest label of those that reach the mean probability they have where they are given. Of the
    texts given i, the part counted to j says how many are j; it is those for which P(j) - P(i) is largest.
    """
    n_labels, rows = p.shape[1], np.arange(len(p))
    least = np.array([p[given == k, k].mean() if (given == k).any() else np.inf for k in range(n_labels)])
    reached = np.where(p >= least, p, -1.0)
    counted = reached.max(1) >= 0
    joint = confusion(given[counted], reached[counted].argmax(1), n_labels)
    better = np.full(len(p), -1)
    margin = p - p[rows, given][:, None]
    for i in range(n_labels):
        of_label = np.flatnonzero(given == i)
        part = joint[i] / max(1, joint[i].sum())
        for j in np.argsort(part):
            worst = of_label[np.argsort(-margin[of_label, j], kind="stable")[: round(part[j] * len(of_label))]]
            better[worst[margin[worst, j] > 0]] = j
    return better


def _one(examples: Labelled, given: np.ndarray, p: np.ndarray, names: tuple[str, ...]) -> list[Doubt]:
    """One label a text."""
    better = _implausible(given, p)
    return [
        _doubt(examples, i, (names[better[i]],), p[i, given[i]], p[i, better[i]])
        for i in np.flatnonzero(better >= 0).tolist()
    ]


def _many(examples: Labelled, given: np.ndarray, p: np.ndarray, names: tuple[str, ...]) -> list[Doubt]:
    """Any number of labels a text: each is there or not. A text stands here once, with its most doubtful label."""
    columns = (_implausible(there, np.stack((1 - q, q), 1)) for there, q in zip(given.T, p.T, strict=True))
    doubtful, of_given = np.stack([better >= 0 for better in columns], 1), np.where(given > 0, p, 1 - p)
    found = []
    for i in np.flatnonzero(doubtful.any(1)).tolist():
        least = float(np.where(doubtful[i], of_given[i], 1.0).min())
        suggested = tuple(name for j, name in enumerate(names) if bool(given[i, j]) != doubtful[i, j])
        found.append(_doubt(examples, i, suggested, least, 1 - least))
    return found


def _doubt(examples: Labelled, i: int, suggested: tuple[str, ...], p_given: float, p_suggested: float) -> Doubt:
    return Doubt(examples.places[i], examples.texts[i], examples.labels[i], suggested, float(p_given), float(p_suggested))
