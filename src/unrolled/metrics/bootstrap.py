"""Intervals by resampling (Efron and Tibshirani 1993, chapter 13): what a figure would be on other text like this.

The units drawn are blocks of neighbouring tokens, because the losses of neighbours are not independent. Two models are
compared on the same draws, so that what makes a block hard for both does not blur their difference.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Interval", "intervals"]


class Interval(NamedTuple):
    """A figure, and the range that holds it in 95 of 100 resamples. below_zero: share of the resamples below zero."""

    value: float
    low: float
    high: float
    below_zero: float


def intervals(costs: np.ndarray, units: np.ndarray, *, draws: int = 2000, seed: int = 0) -> list[list[Interval]]:
    """Cost a unit of M models, and their differences: costs and units (M, blocks) -> (M, M).

    On the diagonal each model's own figure, at (i, j) that of j minus that of i.
    """
    rng = np.random.default_rng(seed)
    n_blocks = costs.shape[1]
    weights = rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=draws)  # (draws, blocks)
    values = costs.sum(1) / units.sum(1)
    drawn = (weights @ costs.T) / np.maximum(weights @ units.T, 1e-300)  # (draws, M)
    models = range(len(costs))
    return [
        [
            _interval(values[j], drawn[:, j]) if i == j else _interval(values[j] - values[i], drawn[:, j] - drawn[:, i])
            for j in models
        ]
        for i in models
    ]


def _interval(value: float, drawn: np.ndarray) -> Interval:
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Interval(float(value), float(low), float(high), float((drawn < 0).mean()))
