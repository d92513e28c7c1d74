"""Several models that step as one: the mean of their probabilities (an ensemble).

P(y<t>) = 1/M sum over m of P_m(y<t> | x, y<1> ... y<t-1>)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled.types import State, Stepper

__all__ = ["Ensemble", "Joint"]


class Joint(tuple[State, ...]):
    """The states of several models, side by side."""

    def __new__(cls, *states: State) -> Joint:
        return super().__new__(cls, states)

    @property
    def attention(self) -> Tensor | None:
        """Where the models look on average (R, S); None unless all of them look."""
        looked = [getattr(state, "attention", None) for state in self]
        return None if any(one is None for one in looked) else torch.stack(looked).mean(0)  # type: ignore[arg-type]


class Ensemble:
    """A `Stepper` of steppers that read the same sources and write the same symbols."""

    def __init__(self, models: Sequence[Stepper]) -> None:
        self.models = models

    def start(self, source: Any) -> tuple[list[Any], Joint]:
        """Read `source` with each model."""
        begun = [model.start(source) for model in self.models]
        return [memory for memory, _ in begun], Joint(*(state for _, state in begun))

    def step(self, last: Tensor, state: State, memory: list[Any], sentence_of_row: Tensor) -> tuple[Tensor, State]:
        """log of the mean probability (R, V), and the next states."""
        stepped = [
            model.step(last, of, memory[m], sentence_of_row)
            for m, (model, of) in enumerate(zip(self.models, state, strict=True))
        ]
        logits = torch.stack([one.log_softmax(1) for one, _ in stepped])
        return logits.logsumexp(0) - math.log(len(stepped)), Joint(*(after for _, after in stepped))
