"""How good word vectors are: word similarity (Spearman's rank correlation with people's judgements) and analogies."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["ranks", "spearman"]


def ranks(values: np.ndarray) -> np.ndarray:
    """The rank of each value (N,), from 1; equal ones share the mean of their ranks.

    >>> ranks(np.array([10.0, 30.0, 20.0, 30.0]))
    array([1. , 3.5, 2. , 3.5])
    """
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[group]


def spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    """The correlation of the ranks of a and b (N,), -1 to 1; None where it is not defined: all are equal."""
    if len(a) < 2:
        return None
    x, y = ranks(a) - (len(a) + 1) / 2, ranks(b) - (len(b) + 1) / 2
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / scale if scale else None
