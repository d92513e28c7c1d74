"""How much of the texts a model does not know: symbols outside its vocabulary cannot be told apart, nor be written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

__all__ = ["UnknownRate", "unknown_share"]

#: Share of unknown symbols from which a training run warns.
_MOST = 0.1


class UnknownRate(NamedTuple):
    """Share of unknown symbols in the training and in the validation texts, from 0 to 1; unit: what the symbols are.

    valid: None without validation texts.
    """

    train: float
    valid: float | None
    unit: str

    @staticmethod
    def of_sentences(train: Iterable[np.ndarray], valid: Iterable[np.ndarray], unit: str) -> UnknownRate:
        """From the ids of sentences, whose last is the end and does not count."""
        return UnknownRate(unknown_share(row[:-1] for row in train), unknown_share(row[:-1] for row in valid), unit)

    @property
    def worst(self) -> float:
        """The larger share."""
        return max(self.train, self.valid or 0.0)

    def to_metrics(self) -> dict[str, float]:
        """What a model's metrics say of it."""
        valid = {} if self.valid is None else {"unknown_rate": self.valid}
        return valid | {"unknown_rate_train": self.train}

    def warning(self) -> str | None:
        """A warning with its remedy where more than 10 % are unknown."""
        if self.worst <= _MOST:
            return None
        shares = f"{self.train:.0%} in training texts"
        if self.valid is not None:
            shares += f", {self.valid:.0%} in validation texts"
        return (
            f"warning: many {self.unit} are unknown to the model ({shares}). Fix: other --tokens, a smaller --min-count, "
            "a larger --vocabulary-size, or more text."
        )


def unknown_share(rows: Iterable[np.ndarray], unknown: int = 0) -> float:
    """The share of the id `unknown` among all ids of some rows; 0 without any."""
    n = n_unknown = 0
    for row in rows:
        n += len(row)
        n_unknown += int((row == unknown).sum())
    return n_unknown / max(1, n)
