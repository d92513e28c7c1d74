"""How good predicted labels and probabilities are: accuracy, F1, confusion, calibration; and what is chosen on validation.

Probabilities P are (n, C), answers are columns of P. Where examples may have several labels, answers are a (n, C) table of
zeros and ones and each column is judged by itself.
"""

from __future__ import annotations

from collections.abc import Callable
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
    "reliability",
    "temperature_for",
    "threshold_for_f1",
    "threshold_for_precision",
]

_LEAST = 1e-12


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
    """Mean of -log P of what is right, in nats; over columns that are independent if `given` is a table."""
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


def temperature_for(loss: Callable[[float], float]) -> float:
    """The temperature T, between 1/20 and 20, at which the validation loss of logits / T is least. Golden section in log T.

    Guo et al. 2017, arXiv:1706.04599, section 4.2: one number for all classes, so that no decision changes.
    """
    low, high, ratio = np.log(0.05), np.log(20.0), (np.sqrt(5) - 1) / 2
    while high - low > 1e-3:
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if loss(float(np.exp(a))) <= loss(float(np.exp(b))) else (a, high)
    return float(np.exp((low + high) / 2))


def threshold_for_f1(given: np.ndarray, probability: np.ndarray) -> float:
    """The threshold of one class (n,) at which F1 is highest; .5 if the class never occurs."""
    order = np.argsort(-probability, kind="stable")
    hits = np.cumsum(given[order])
    if not len(hits) or not hits[-1]:
        return 0.5
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1])
    return _between(probability[order], int(f1.argmax()))


def threshold_for_precision(given: np.ndarray, probability: np.ndarray, target: float) -> float | None:
    """The lowest threshold of one class (n,) at which at least `target` of what is answered is right; None if none does."""
    order = np.argsort(-probability, kind="stable")
    sorted_, hits = probability[order], np.cumsum(given[order])
    ends = np.flatnonzero(np.append(sorted_[1:] != sorted_[:-1], True)) if len(sorted_) else np.zeros(0, int)
    reached = ends[hits[ends] >= target * (ends + 1)]
    return _between(sorted_, int(reached[-1])) if len(reached) else None


def confidence_for_precision(right: np.ndarray, confidence: np.ndarray, target: float) -> float | None:
    """The lowest confidence from which on at least `target` of the answers (n,) are right; None if there is none."""
    return threshold_for_precision(right.astype(np.int64), confidence, target)


def _between(falling: np.ndarray, last: int) -> float:
    """A threshold that the probabilities up to place `last` reach, and the next one does not."""
    if last + 1 == len(falling):
        return float(falling[last])
    return float((falling[last] + falling[last + 1]) / 2)


def mean_distance(given: np.ndarray, predicted: np.ndarray) -> float:
    """Mean distance in classes, where classes are ordered."""
    return float(np.abs(given - predicted).mean())


def macro_f1(values: list[dict[str, Any]]) -> float | None:
    """The macro F1: mean over the classes that occur or were answered."""
    known = [row["f1"] for row in values if row["f1"] is not None]
    return float(np.mean(known)) if known else None
