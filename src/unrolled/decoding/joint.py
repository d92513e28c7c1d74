"""A decoder with attention and CTC, which search together (hybrid): each corrects what the other is bad at.

    log P(y<t>) = (1 - w) log P_attention(y<t> | y<1> ... y<t-1>) + w log P_ctc(y<t> | y<1> ... y<t-1>)

CTC's probability of a symbol is that of all texts that go on with it, over that of all that begin as far
(`kernels.ctc_prefix`). What the two do not agree on is left to the unknown symbol, which is never written, so that nothing
is divided out: where they contradict each other a text becomes unlikely. Watanabe et al. 2017.
"""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unrolled.errors import ConfigError, ShapeError
from unrolled.kernels.ctc_prefix import prefix_probabilities
from unrolled.types import State, Stepper

__all__ = ["Both", "JointStepper"]

_LEAST = 1e-300


class Both(NamedTuple):
    """The decoder's state; CTC's sums symbols and blanks (R, T) of each text, and its last symbol (R,)."""

    written: State
    symbols: Tensor
    blanks: Tensor
    last: Tensor

    @property
    def attention(self) -> Tensor | None:
        """Where the decoder looked (R, S)."""
        return getattr(self.written, "attention", None)


class JointStepper:
    """A `Stepper`. Its source is that of the decoder, log-probabilities (B, T, V) of the steps, and lengths (B,).

    weight: w; blank: its id, which is the end's; begin: what is fed first; unknown: see above. ConfigError for a weight
    out of range, ShapeError for symbols, lengths and rows that are.
    """

    def __init__(self, decoder: Stepper, weight: float, *, blank: int, begin: int, unknown: int) -> None:
        if not 0 <= weight <= 1:
            raise ConfigError(f"the weight of CTC must lie in 0..1, got {weight:g}")
        self.decoder, self.weight = decoder, weight
        self.blank, self.begin, self.unknown = (int(operator.index(k)) for k in (blank, begin, unknown))

    def start(self, source: tuple[Any, Tensor, Tensor]) -> tuple[Any, Both]:
        """Read what is heard."""
        given, logs, lengths = source
        if logs.dim() != 3 or not logs.is_floating_point() or lengths.shape != logs.shape[:1]:
            raise ShapeError(f"CTC needs log-probabilities (B, T, V) and lengths (B,), got {logs.shape}, {lengths.shape}")
        n_symbols = logs.shape[2]
        for name, ids, most in (
            ("length", lengths, logs.shape[1]),
            ("the blank", torch.tensor([self.blank]), n_symbols - 1),
            ("the unknown symbol", torch.tensor([self.unknown]), n_symbols - 1),
        ):
            _check_range(name, ids, most)
        memory, written = self.decoder.start(given)
        p = logs.detach().cpu().double().exp().contiguous().numpy()
        nothing = torch.zeros(p.shape[:2], dtype=torch.float64)
        last = torch.full((len(p),), self.begin)
        return (memory, p, lengths.long().cpu().numpy()), Both(written, nothing, nothing, last)

    def step(self, last: Tensor, state: State, memory: Any, sentence_of_row: Tensor) -> tuple[Tensor, State]:
        """Feed symbols (R,), each `begin` or in 0..V-1: log P (R, V), and the next state."""
        assert isinstance(state, Both)
        of_decoder, p, lengths = memory
        rows = last.shape
        sums = (*rows, p.shape[1])
        fits = all(part.shape == sums and part.dtype == torch.float64 for part in (state.symbols, state.blanks))
        if last.dim() != 1 or sentence_of_row.shape != rows or state.last.shape != rows or not fits:
            raise ShapeError(
                f"symbols {tuple(rows)} need a sentence for each, got {tuple(sentence_of_row.shape)}, and a state "
                f"{(*rows, p.shape[1])}, got {tuple(state.symbols.shape)}"
            )
        _check_range("symbol", torch.where(last == self.begin, 0, last), p.shape[2] - 1)
        _check_range("sentence of a row", sentence_of_row, len(p) - 1)
        logits, written = self.decoder.step(last, state.written, of_decoder, sentence_of_row)
        symbols, blanks = torch.empty_like(state.symbols), torch.empty_like(state.blanks)
        found = np.empty((len(last), p.shape[2]))
        texts = sentence_of_row.numpy(), last.numpy(), state.last.numpy(), self.blank, self.begin
        sums = (x.contiguous().numpy() for x in (state.symbols, state.blanks))
        prefix_probabilities(p, lengths, *texts, *sums, symbols.numpy(), blanks.numpy(), found)
        found = np.maximum(found, _LEAST)
        of_ctc = torch.from_numpy(np.log(found / found.sum(1, keepdims=True)))
        both = (1 - self.weight) * logits.log_softmax(1).double() + self.weight * of_ctc
        both[:, self.unknown] = -torch.inf
        agreed = both.exp().sum(1)
        both[:, self.unknown] = (1 - agreed).clamp_min(_LEAST).log()
        return both.float(), Both(written, symbols, blanks, last)


def _check_range(name: str, values: Tensor, most: int) -> None:
    """ShapeError unless all are integers in 0..most."""
    if values.is_floating_point() or (len(values) and not 0 <= int(values.min()) <= int(values.max()) <= most):
        raise ShapeError(f"{name}: got {values.tolist()}, expected integers in 0..{most}")
