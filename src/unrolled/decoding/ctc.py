"""Texts from the probabilities of frames, by the collapse rule of CTC: repetitions become one, then blanks vanish.

greedy          the likeliest symbol of each frame, collapsed: the likeliest alignment, whose text need not be the likeliest
prefix_search   the likeliest texts: a beam over prefixes, each with all its alignments (`kernels.ctc_search`); scorers add
                what they know of texts to log P: language models, words to listen for (`decoding.scorers`)
closed          the likeliest of given texts, all of them compared

Graves et al. 2006; Graves and Jaitly 2014; Hannun et al. 2014, arXiv:1408.2873.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple, Protocol

import numpy as np

from unrolled.decoding.frames import check_frames, check_symbols, log_occupancy, probabilities
from unrolled.errors import ConfigError
from unrolled.kernels.ctc import log_likelihoods
from unrolled.kernels.ctc_search import extend, grown, likely, rest, search, stay

__all__ = ["Scorer", "Spelled", "closed", "collapse", "greedy", "prefix_search"]

#: Prefixes of a search: more of them would be counted in numbers that overflow.
_MOST_WIDTH = 2**20


class Spelled(NamedTuple):
    """symbols; the log of the probability of all alignments that were found for them; score: with what scorers add."""

    symbols: list[int]
    log_probability: float
    score: float


class Scorer(Protocol):
    """What is known of texts besides their sound. Prefixes are numbered as they are made; 0 is the empty one."""

    def begin(self) -> None:
        """A search begins; what is known of earlier prefixes is forgotten."""
        ...

    def grow(self, parents: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        """The next n prefixes are those of `parents` (n,) with a symbol more (n,): what each adds to the score (n,)."""
        ...

    def end(self, prefixes: np.ndarray) -> np.ndarray:
        """What each prefix adds by ending there (n,)."""
        ...


def collapse(alignment: Sequence[int], blank: int = 0) -> list[int]:
    """The symbols of an alignment, one symbol or blank a frame: [0, 3, 3, 0, 3, 1] -> [3, 3, 1]."""
    return [k for k, _ in groupby(alignment) if k != blank]


def greedy(log_probabilities: np.ndarray, blank: int = 0) -> Spelled:
    """The likeliest alignment of log-probabilities (T, K), collapsed; its own log-probability.

    ShapeError and DataError as `check_frames` says.
    """
    logs = check_frames(log_probabilities, blank)
    log_probability = float(logs.max(1).sum())
    return Spelled(collapse(logs.argmax(1).tolist(), blank), log_probability, log_probability)


def prefix_search(
    log_probabilities: np.ndarray,
    width: int = 25,
    blank: int = 0,
    *,
    n_best: int = 1,
    least: float = 1e-3,
    scorers: Sequence[Scorer] = (),
) -> list[Spelled]:
    """The best texts of log-probabilities (T, K), at most `n_best`, best first: none where no text has any probability.

    width: prefixes that live side by side; least: a symbol that is less likely in a frame is not considered there.
    What the beam prunes is missing from the probabilities: they are lower bounds, exact where nothing was pruned.
    ConfigError for options out of range, ShapeError and DataError as `check_frames` says.
    """
    n_best, width = int(operator.index(n_best)), int(operator.index(width))
    if not (1 <= n_best <= width <= _MOST_WIDTH and 0 <= least < 1):
        raise ConfigError(
            f"prefix search needs 1 <= n_best <= width <= {_MOST_WIDTH:,} and 0 <= least < 1, "
            f"got {n_best}, {width}, {least}"
        )
    p, blank = probabilities(check_frames(log_probabilities, blank)), int(blank)
    if scorers:
        nodes, logs, scores, (parent, symbol) = _scored(p.astype(np.float64), blank, width, least, scorers)
    else:
        nodes, logs, (parent, symbol) = search(p, blank, width, least)
        possible = np.isfinite(logs)
        nodes, logs = nodes[possible], logs[possible]
        scores = logs
    found = []
    for node, log_probability, score in zip(nodes[:n_best].tolist(), logs.tolist(), scores.tolist(), strict=False):
        symbols = list[int]()
        while node:
            symbols.append(int(symbol[node]))
            node = parent[node]
        found.append(Spelled(symbols[::-1], log_probability, score))
    return found


def _scored(
    p: np.ndarray, blank: int, width: int, least: float, scorers: Sequence[Scorer]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The twin of `kernels.ctc_search.search` that asks scorers: nodes, log P and scores, best first; the tree."""
    room = width * (p.shape[1] + 1)
    tree, some = np.full((6, 1024), -1), np.zeros(p.shape[1], np.int64)
    beam, blanks, symbols = np.zeros(width, np.int64), np.zeros(width), np.zeros(width)
    nodes, to_blanks, to_symbols = np.zeros(room, np.int64), np.zeros(room), np.zeros(room)
    blanks[0], size, n_nodes, log_scale, added = 1.0, 1, 1, 0.0, np.zeros(1024)
    for scorer in scorers:
        scorer.begin()
    for t in range(len(p)):
        n_some = likely(p[t], blank, least, some)
        if n_some:
            tree, before = grown(tree, n_nodes + size * n_some), n_nodes
            found, n_nodes = extend(
                p[t], t, blank, some[:n_some], tree, n_nodes, beam[:size], blanks, symbols, nodes, to_blanks, to_symbols
            )
            added = np.concatenate((added, np.zeros(tree.shape[1] - len(added))))
            if n_nodes > before:
                parents, new = tree[0, before:n_nodes], tree[1, before:n_nodes]
                scores = (_scores_of(scorer, scorer.grow(parents, new), len(new)) for scorer in scorers)
                added[before:n_nodes] = added[parents] + sum(scores)
            with np.errstate(divide="ignore"):
                totals = np.log(to_blanks[:found] + to_symbols[:found]) + added[nodes[:found]]
            totals = np.exp(totals - max(totals.max(), -1e300))
            size = stay(totals, width, nodes, to_blanks, to_symbols, beam, blanks, symbols)
        else:
            rest(p[t], blank, tree, beam[:size], blanks, symbols)
        most = (blanks[:size] + symbols[:size]).max()
        if most == 0:
            return nodes[:0], added[:0], added[:0], tree[:2]
        log_scale += float(np.log(most))
        blanks[:size] /= most
        symbols[:size] /= most
    with np.errstate(divide="ignore"):
        logs = np.log(blanks[:size] + symbols[:size]) + log_scale
    ends = (_scores_of(scorer, scorer.end(beam[:size]), size) for scorer in scorers)
    scores = logs + added[beam[:size]] + sum(ends)
    order = np.argsort(-scores, kind="stable")
    order = order[np.isfinite(scores[order])]
    return beam[order], logs[order], scores[order], tree[:2]


def _scores_of(scorer: Scorer, values: Any, n: int) -> np.ndarray:
    """Return what a scorer answered (n,). ConfigError if it is another shape, NaN or infinite; -inf forbids a prefix."""
    scores = np.asarray(values, np.float64)
    if scores.shape != (n,) or np.isnan(scores).any() or scores.max(initial=0.0) == np.inf:
        raise ConfigError(f"{type(scorer).__name__} must return {n} finite numbers, got {scores.shape}: {scores}")
    return scores


def closed(log_probabilities: np.ndarray, texts: Sequence[np.ndarray], blank: int = 0) -> np.ndarray:
    """log P (n,) of each of n texts, ids (U,) each, given log-probabilities (T, K); the best is the largest.

    -inf for a text that does not fit into the frames, or needs a symbol of probability 0; NaN for all if frames hold NaN.
    ShapeError for a text with the blank, or with an id that is no symbol, and as `check_frames` says.
    """
    logs, blank = check_frames(log_probabilities, blank, nan=True), int(blank)
    labels, starts = check_symbols(texts, logs.shape[1], blank)
    if np.isnan(logs).any():
        return np.full(len(texts), np.nan)
    found = log_likelihoods(np.exp(logs.astype(np.float64)), labels, starts, blank)
    for i in np.flatnonzero(np.isnan(found)):
        found[i] = log_occupancy(logs, labels[starts[i] : starts[i + 1]], blank)[1]
    return found
