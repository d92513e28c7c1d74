"""How good predicted labels and probabilities are: accuracy, F1, confusion, calibration; and what is chosen on validation.

Probabilities P are (n, C), answers are columns of P. Where examples may have several labels, answers are a (n, C) table of
zeros and ones and each column is judged by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "Bin",
    "calibration_error",
    "confidence_for_precision",
    "confusion",
    "f1_scores",
    "log_loss",
    "macro_f1",
    "mean_distance",
    "most_frequent_share",
    "reliability",
    "temperature_for",
    "threshold_for_f1",
    "threshold_for_precision",
]

_LEAST = 1e-12
#: Least and highest temperature.
_TEMPERATURES = (0.05, 1000.0)


class Bin(NamedTuple):
    """Answers of like confidence: how many, their mean confidence, and the part of them that is right."""

    n: int
    confidence: float
    right: float


def confusion(given: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """(C, C): how often class i (row) was answered with class j (column)."""
    return np.bincount(given * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)


def f1_scores(given: np.ndarray, predicted: np.ndarray) -> list[dict[str, float | int | None]]:
    """Precision, recall, F1 and support of each column of two (n, C) tables of zeros and ones; None for 0 / 0."""
    found = []
    for truth, answer in zip(given.T.astype(bool), predicted.T.astype(bool), strict=True):
        both, support, answered = int((truth & answer).sum()), int(truth.sum()), int(answer.sum())
        found.append(
            {
                "precision": both / answered if answered else None,
                "recall": both / support if support else None,
                "f1": 2 * both / (support + answered) if support + answered else None,
                "support": support,
            }
        )
    return found


def log_loss(given: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean of -log P of what is right, in nats; over columns that are independent if `given` is a table.

    Examples whose label is unknown, -1, are left out.
    """
    if given.ndim == 1:
        given, probabilities = given[given >= 0], probabilities[given >= 0]
    p = np.clip(probabilities, _LEAST, 1)
    if given.ndim == 1:
        return abs(float(np.log(p[np.arange(len(p)), given]).mean()))
    q = np.clip(1 - probabilities, _LEAST, 1)
    return abs(float(np.where(given > 0, np.log(p), np.log(q)).sum(1).mean()))


def reliability(confidence: np.ndarray, right: np.ndarray, n_bins: int = 15) -> list[Bin]:
    """The answers (n,) in bins of equal width between 0 and 1; bins without an answer are left out."""
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    inside = (bins == k for k in range(n_bins))
    return [
        Bin(int(which.sum()), float(confidence[which].mean()), float(right[which].mean()))
        for which in inside
        if which.any()
    ]


def calibration_error(bins: list[Bin]) -> float:
    """The expected calibration error: mean distance of confidence and part right, over all answers.

    Guo et al. 2017, arXiv:1706.04599, equation 3.
    """
    total = sum(b.n for b in bins)
    return sum(b.n * abs(b.confidence - b.right) for b in bins) / total if total else 0.0


def temperature_for(given: np.ndarray, probabilities: Callable[[float], np.ndarray]) -> float:
    """Return the temperature T at which n validation texts have the least log loss, but no more confidence than they show.

    Guo et al. 2017, arXiv:1706.04599, section 4.2. Where all texts are right the least loss is at T = 0. So the mean
    confidence is at most (n + 1) / (n + 2): what n right answers of n say of the next one (Laplace's rule of succession).

    Args:
        given: Right answers, shaped as in `log_loss`.
        probabilities: P (n, C) of the texts at a temperature.
    """
    low, high, ratio = *np.log(_TEMPERATURES), (np.sqrt(5) - 1) / 2
    while high - low > 1e-3:  # golden section in log T
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        loss_a, loss_b = (log_loss(given, probabilities(float(np.exp(t)))) for t in (a, b))
        low, high = (low, b) if loss_a <= loss_b else (a, high)
    temperature = float(np.exp((low + high) / 2))
    most = (len(given) + 1) / (len(given) + 2)
    if _confidence(given, probabilities(temperature)) <= most:
        return temperature
    low, high = np.log(temperature), np.log(_TEMPERATURES[1])
    while high - low > 1e-3:  # confidence falls with T
        middle = (low + high) / 2
        low, high = (middle, high) if _confidence(given, probabilities(float(np.exp(middle)))) > most else (low, middle)
    return float(np.exp(high))


def _confidence(given: np.ndarray, p: np.ndarray) -> float:
    """Return the mean probability of the answers, of all pairs of text and label if `given` is a table."""
    return float((p.max(1) if given.ndim == 1 else np.maximum(p, 1 - p)).mean())


def threshold_for_f1(given: np.ndarray, probability: np.ndarray) -> float:
    """Return the threshold of one class (n,) at which F1 is highest, the highest of equal ones; .5 if it never occurs."""
    falling, hits, ends = _answered(given, probability)
    if not len(hits) or not hits[-1]:
        return 0.5
    f1 = 2 * hits[ends] / (ends + 1 + hits[-1])
    return _between(falling, int(ends[f1.argmax()]))


def threshold_for_precision(given: np.ndarray, probability: np.ndarray, target: float) -> float | None:
    """The lowest threshold of one class (n,) at which at least `target` of what is answered is right; None if none does."""
    falling, hits, ends = _answered(given, probability)
    reached = ends[hits[ends] >= target * (ends + 1)]
    return _between(falling, int(reached[-1])) if len(reached) else None


def confidence_for_precision(right: np.ndarray, confidence: np.ndarray, target: float) -> float | None:
    """The lowest confidence from which on at least `target` of the answers (n,) are right; None if there is none."""
    return threshold_for_precision(right.astype(np.int64), confidence, target)


def _answered(given: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the probabilities (n,) from the highest on, the hits (n,) up to each, and the places at which a threshold can
    lie: those of the last of equal probabilities.
    """
    order = np.argsort(-probability, kind="stable")
    falling = probability[order]
    ends = np.flatnonzero(np.append(falling[1:] != falling[:-1], True)) if len(falling) else np.zeros(0, int)
    return falling, np.cumsum(given[order]), ends


def _between(falling: np.ndarray, last: int) -> float:
    """A threshold that the probabilities up to place `last` reach, and the next one does not."""
    if last + 1 == len(falling):
        return float(falling[last])
    return float((falling[last] + falling[last + 1]) / 2)


def most_frequent_share(train: Iterable[Hashable], valid: Iterable[Hashable]) -> float:
    """Return how often the most frequent answer of training is right in validation: what every model should exceed."""
    answer = Counter(train).most_common(1)[0][0]
    answers = list(valid)
    return answers.count(answer) / max(1, len(answers))


def mean_distance(given: np.ndarray, predicted: np.ndarray) -> float:
    """Mean distance in classes, where classes are ordered."""
    return float(np.abs(given - predicted).mean())


def macro_f1(values: list[dict[str, Any]]) -> float | None:
    """The macro F1: mean over the classes that occur or were answered."""
    known = [row["f1"] for row in values if row["f1"] is not None]
    return float(np.mean(known)) if known else None
