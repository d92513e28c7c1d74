"""Search among listed symbols: every sentence has a list of its own, and what the model scores and the beam chooses are
places in it. What is prescribed is put into places before the search, what was found into symbols after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from unrolled.decoding.beam import Found
from unrolled.decoding.required import Prescribed

__all__ = ["Lists"]


class Lists(NamedTuple):
    """symbols (B, C): the list of each sentence, padded at its end; the last place stands for the symbol fed first."""

    symbols: np.ndarray

    @property
    def begin(self) -> int:
        """The place of what is fed first."""
        return self.symbols.shape[1] - 1

    def prescribed(self, given: Sequence[Prescribed]) -> list[Prescribed]:
        """What the sequences of each sentence must have, as places."""
        return [
            Prescribed(self._places(i, one.prefix), [self._places(i, p) for p in one.phrases])
            for i, one in enumerate(given)
        ]

    def _places(self, i: int, symbols: Iterable[int]) -> list[int]:
        return [int(np.flatnonzero(self.symbols[i] == symbol)[0]) for symbol in symbols]

    def told(self, found: Sequence[Found]) -> list[Found]:
        """What was found for each sentence, in symbols."""
        return [self._told(one, symbols) for one, symbols in zip(found, self.symbols, strict=True)]

    def _told(self, found: Found, symbols: np.ndarray) -> Found:
        hypotheses = [h._replace(symbols=symbols[h.symbols].tolist()) for h in found.hypotheses]
        tree = found.tree and [[node._replace(symbol=int(symbols[node.symbol])) for node in step] for step in found.tree]
        return found._replace(hypotheses=hypotheses, tree=tree)
