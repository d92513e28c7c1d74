"""Texts from the probabilities of frames, by the collapse rule of CTC: repetitions become one, then blanks vanish.

greedy          the likeliest symbol of each frame, collapsed: the likeliest alignment, whose text need not be the likeliest
prefix_search   the likeliest texts: a beam over prefixes, each with all its alignments (`kernels.ctc_search`)

Graves et al. 2006; Graves and Jaitly 2014; Hannun et al. 2014, arXiv:1408.2873.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from unrolled.errors import ConfigError, ShapeError
from unrolled.kernels.ctc_search import search

__all__ = ["Spelled", "collapse", "greedy", "prefix_search"]


class Spelled(NamedTuple):
    """symbols, and the log of the probability of all alignments that were found for them."""

    symbols: list[int]
    log_probability: float


def collapse(alignment: Sequence[int], blank: int = 0) -> list[int]:
    """The symbols of an alignment, one symbol or blank a frame: [0, 3, 3, 0, 3, 1] -> [3, 3, 1]."""
    return [k for k, _ in groupby(alignment) if k != blank]


def greedy(log_probabilities: np.ndarray, blank: int = 0) -> Spelled:
    """The likeliest alignment of log-probabilities (T, K), collapsed; its own log-probability."""
    logs = _frames(log_probabilities, blank)
    return Spelled(collapse(logs.argmax(1).tolist(), blank), float(logs.max(1).sum()))


def prefix_search(
    log_probabilities: np.ndarray, width: int = 25, blank: int = 0, *, n_best: int = 1, least: float = 1e-3
) -> list[Spelled]:
    """The likeliest texts of log-probabilities (T, K), at most `n_best`, likeliest first.

    width: prefixes that live side by side; least: a symbol that is less likely in a frame is not considered there.
    What the beam prunes is missing from the probabilities: they are lower bounds, exact where nothing was pruned.
    """
    if not (1 <= n_best <= width and 0 <= least < 1):
        raise ConfigError(f"prefix search needs 1 <= n_best <= width and 0 <= least < 1, got {n_best}, {width}, {least}")
    p = np.exp(_frames(log_probabilities, blank))
    nodes, logs, (parent, symbol) = search(p, blank, width, least)
    found = []
    for node, log_probability in zip(nodes[:n_best].tolist(), logs[:n_best].tolist(), strict=True):
        symbols = list[int]()
        while node:
            symbols.append(int(symbol[node]))
            node = parent[node]
        found.append(Spelled(symbols[::-1], log_probability))
    return found


def _frames(log_probabilities: np.ndarray, blank: int) -> np.ndarray:
    if log_probabilities.ndim != 2 or not 0 <= blank < log_probabilities.shape[1]:
        raise ShapeError(
            f"frames are log-probabilities (T, K) with the blank {blank} among K, got {log_probabilities.shape}"
        )
    return np.ascontiguousarray(log_probabilities)
