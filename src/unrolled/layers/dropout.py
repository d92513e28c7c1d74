"""The dropout kinds of recurrent language models. All take the probability of dropping and do nothing at 0.

- `locked`: one mask for all time steps of a row (variational dropout; Gal and Ghahramani 2016, arXiv:1512.05287)
- `weight_drop`: a mask on a weight matrix, the same for all rows and steps (DropConnect on the recurrent matrix; Merity et
  al. 2017, arXiv:1708.02182, section 3)
- `word_dropout`: whole words of the vocabulary are dropped, wherever they stand (Gal and Ghahramani 2016, section 4.2)

Kept values are scaled by 1 / (1 - probability), so that nothing needs to change at evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from unrolled.errors import ConfigError

__all__ = ["Dropout", "locked", "weight_drop", "word_dropout"]


@dataclass(frozen=True)
class Dropout:
    """Probabilities inside a deep recurrent layer.

    between: on the outputs of each layer but the last; one mask a row if `lock`, else a fresh one at every step
    weight: on the recurrent matrices
    """

    between: float = 0.0
    weight: float = 0.0
    lock: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, bool) and not 0 <= value <= 1:
                raise ConfigError(f"dropout probability '{field.name}' must lie in 0..1, got {value}")

    def mask_between(self, x: Tensor, training: bool) -> Tensor:
        """Apply the dropout between layers to x (T, B, H)."""
        return locked(x, self.between, training) if self.lock else functional.dropout(x, self.between, training)


def locked(x: Tensor, probability: float, training: bool) -> Tensor:
    """Dropout on x (T, B, D) with one mask (1, B, D) for all time steps."""
    if not training or not probability:
        return x
    return x * functional.dropout(x.new_ones(1, *x.shape[1:]), probability)


def weight_drop(weight: Tensor, probability: float, training: bool) -> Tensor:
    """Dropout on the entries of a weight matrix."""
    return functional.dropout(weight, probability, training) if probability else weight


def word_dropout(table: Tensor, probability: float, training: bool) -> Tensor:
    """Dropout on whole rows of an embedding table (V, D): a mask (V, 1) to multiply the looked-up rows with."""
    if not training or not probability:
        return torch.ones(len(table), 1, dtype=table.dtype, device=table.device)
    return functional.dropout(table.new_ones(len(table), 1), probability)
