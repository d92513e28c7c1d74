"""How sequences are scored, and what a search for the best of them may do.

l(y<1> ... y<T>) = sum over t of log P(y<t> | x, y<1> ... y<t-1>)      a product of so many probabilities would be 0
score            = (l + reward T) / norm(T)

norm     none: 1      average: T^alpha      gnmt: ((5 + T) / 6)^alpha (Wu et al. 2016, arXiv:1609.08144, equation 14)
coverage adds beta sum over s of log min(1, sum over t of alpha(t, s)): what was never looked at costs (ibid.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unrolled.errors import ConfigError, check_bounds, unknown_name

__all__ = ["NORMS", "BeamOptions"]

NORMS = ("none", "average", "gnmt")
#: The longest sequence, where nothing else is said.
_UNLESS_TOLD = 200


@dataclass(frozen=True)
class BeamOptions:
    """width: hypotheses that live side by side; n_best: how many are returned; norm, alpha, reward, coverage (beta): see
    above; min_length, max_length: symbols, the end not counted (0: up to 200, or what the task finds fit); no_repeat: no
    n-gram of so many symbols stands there twice (0: any may).
    """

    width: int = 5
    n_best: int = 1
    norm: str = "average"
    alpha: float = 1.0
    reward: float = 0.0
    coverage: float = 0.0
    min_length: int = 0
    max_length: int = 0
    no_repeat: int = 0

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise unknown_name("norm", self.norm, NORMS)
        bounds = {
            "width": (1, 10_000),
            "n_best": (1, 10_000),
            "alpha": (0, 10),
            "reward": (-100, 100),
            "coverage": (0, 100),
            "min_length": (0, 10**6),
            "max_length": (0, 10**6),
            "no_repeat": (0, 10**6),
        }
        check_bounds(self, bounds)
        if self.n_best > self.width:
            raise ConfigError(f"n-best is {self.n_best}, a beam of width {self.width} keeps {self.width}: raise --beam")
        if self.min_length > self.limit:
            raise ConfigError(f"min-length {self.min_length} is more than max-length {self.limit}")

    @property
    def limit(self) -> int:
        """Symbols of the longest sequence, the end not counted."""
        return self.max_length or _UNLESS_TOLD

    def score(self, log_probability: np.ndarray, length: np.ndarray | float) -> np.ndarray:
        """The score of sequences of `length` symbols, the end counted."""
        length = np.asarray(length, np.float64)
        return (log_probability + self.reward * length) / self._norm(length)

    def _norm(self, length: np.ndarray) -> np.ndarray:
        if self.norm == "none":
            return np.ones_like(length)
        return (length if self.norm == "average" else (5 + length) / 6) ** self.alpha

    def most(self, log_probability: np.ndarray, length: int, longest: int) -> np.ndarray:
        """The largest score that what has come so far, `length` symbols, can end with."""
        return self.score(log_probability[:, None], np.arange(length + 1, longest + 1)).max(1)

    def least(self, score: float, length: int, longest: int) -> float:
        """The smallest log P with which `length` symbols can still end with `score`: `most` turned round."""
        lengths = np.arange(length + 1, longest + 1, dtype=np.float64)
        return float((score * self._norm(lengths) - self.reward * lengths).min())
