"""The best sequence of all, with proof: best-first search, within a budget of steps.

What has come so far can end with a score of at most `BeamOptions.most`. The most hopeful beginning is continued first;
when none can beat the best complete sequence, that is the model's own favourite (Stahlberg and Byrne 2019,
arXiv:1908.10090, do the same depth first). A beam's result to begin with cuts off what cannot beat it.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unrolled.decoding.beam import Hypothesis
from unrolled.decoding.scoring import BeamOptions
from unrolled.errors import ConfigError
from unrolled.types import State, Stepper, map_state

__all__ = ["Exact", "exact_search"]

#: Beginnings that are continued in one step of the model.
_TOGETHER = 32


class Exact(NamedTuple):
    """The best sequence found, None if there is none; proved: no other is better; bound: no sequence has a higher score;
    steps: beginnings continued.
    """

    best: Hypothesis | None
    proved: bool
    bound: float
    steps: int


class _Begun(NamedTuple):
    """A beginning after which the model has stepped. children, their token_scores, likeliest first; state: (1, ...)."""

    symbols: list[int]
    token_scores: list[float]
    children: np.ndarray
    scores: np.ndarray
    state: State


@torch.no_grad()
def exact_search(
    model: Stepper,
    source: Any,
    begin: Tensor,
    options: BeamOptions,
    *,
    end: int,
    forbidden: Sequence[int] = (),
    known: Hypothesis | None = None,
    budget: int = 10_000,
) -> Exact:
    """The best sequence for one sentence, begin (1,); known: the best so far, of a beam. ConfigError for options that make
    a score depend on more than log P and length.
    """
    if options.no_repeat or options.coverage:
        raise ConfigError("exact search knows neither no-repeat nor coverage: leave them out")
    if not 1 <= budget <= 10**8:
        raise ConfigError(f"the budget of exact search must lie in 1..100000000, got {budget}")
    search = _Search(options, end, list(forbidden), options.limit + 1, known)
    memory, state = model.start(source)
    rows, last, steps = [([], [])], begin, 0
    while rows:
        logits, state = model.step(last, state, memory, torch.zeros(len(rows), dtype=torch.long))
        steps += len(rows)
        logp = logits.double().log_softmax(1).numpy()
        for i, (symbols, scores) in enumerate(rows):
            search.open(symbols, scores, logp[i], map_state(lambda s, i=i: s[i : i + 1], state))
        taken = search.take(min(_TOGETHER, budget - steps))
        rows = [([*b.symbols, symbol], [*b.token_scores, score]) for b, symbol, score in taken]
        if rows:
            last = torch.tensor([symbols[-1] for symbols, _ in rows])
            state = map_state(lambda *parts: torch.cat(parts), *(b.state for b, _, _ in taken))
    hope = search.hope()
    best = search.best
    proved = best is not None and best.score >= hope
    return Exact(best, proved, hope if best is None else max(hope, best.score), steps)


class _Search:
    """The beginnings, the most hopeful first, and the best complete sequence."""

    def __init__(
        self, options: BeamOptions, end: int, forbidden: list[int], longest: int, known: Hypothesis | None
    ) -> None:
        self.options, self.end, self.forbidden, self.longest, self.best = options, end, forbidden, longest, known
        self.heap: list[tuple[float, int, int, _Begun]] = []
        self.n = 0

    def open(self, symbols: list[int], scores: list[float], logp: np.ndarray, state: State) -> None:
        """What may follow a beginning, log P (V,) of each symbol: its end is compared with the best, the rest wait."""
        length, options = len(symbols), self.options
        logp = logp.copy()
        logp[self.forbidden] = -np.inf
        ending, logp[self.end] = logp[self.end], -np.inf
        if length >= options.min_length and np.isfinite(ending):
            whole = [*scores, float(ending)]
            score = float(options.score(np.array(np.sum(whole)), length + 1))
            if self.best is None or score > self.best.score:
                self.best = Hypothesis([*symbols, self.end], whole, score)
        if length >= options.limit:
            return
        enough = -np.inf if self.best is None else options.least(self.best.score, length + 1, self.longest)
        children = np.flatnonzero(np.isfinite(logp) & (np.sum(scores) + logp > enough))
        children = children[np.argsort(-logp[children], kind="stable")]
        self._wait(_Begun(symbols, scores, children, logp[children], state), 0)

    def _wait(self, begun: _Begun, rank: int) -> None:
        """Put the child of this rank among those that wait, unless it cannot win."""
        if rank == len(begun.children):
            return
        total = float(np.sum(begun.token_scores)) + begun.scores[rank : rank + 1]
        hope = float(self.options.most(total, len(begun.symbols) + 1, self.longest)[0])
        if self.best is None or hope > self.best.score:
            self.n += 1
            heapq.heappush(self.heap, (-hope, -self.n, rank, begun))  # of equals the latest: it is the longer one

    def take(self, most: int) -> list[tuple[_Begun, int, float]]:
        """Up to `most` children to continue, the most hopeful ones; none when none can win."""
        taken = []
        while self.heap and len(taken) < most and (self.best is None or -self.heap[0][0] > self.best.score):
            _, _, rank, begun = heapq.heappop(self.heap)
            taken.append((begun, int(begun.children[rank]), float(begun.scores[rank])))
            self._wait(begun, rank + 1)
        return taken

    def hope(self) -> float:
        """The highest score that what waits can end with; -inf if nothing does."""
        return -self.heap[0][0] if self.heap else -np.inf
