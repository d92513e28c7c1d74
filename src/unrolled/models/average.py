"""The averaged classifier of the notes: the mean of the vectors of a text's words, then a softmax.

    h = sum of E[f] / (r + n) over the n features f of the text      words, and word n-grams if there are any
    z = W h + b,   P = softmax(z)                                   or 1 / (1 + exp(-z)) for labels that are independent

With r = 0, h is the mean. It sees no order but that within an n-gram. Since h is a mean, z is a sum over the features: what
each contributes is known exactly. Joulin et al. 2017, arXiv:1607.01759 (fastText); Iyyer et al. 2015 (word dropout).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.kernels.bags import ACROSS, score_bags, train_bags

__all__ = ["AverageClassifier", "AverageConfig", "Sums", "TextBags"]


class TextBags(Protocol):
    """Features of texts: see `features.bags.Bags`."""

    @property
    def features(self) -> np.ndarray: ...
    @property
    def starts(self) -> np.ndarray: ...


class Sums(NamedTuple):
    """Loss in nats and weight, each summed over the texts of a step."""

    loss: float
    weight: float


@dataclass(frozen=True)
class AverageConfig:
    """F features, K outputs, D numbers in a vector. rest: r, as many features that say nothing;
    independent: sigmoids instead of one softmax.
    """

    n_features: int
    n_outputs: int
    vector_size: int = 16
    rest: float = 0.0
    independent: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class AverageClassifier(nn.Module):
    """vectors (F, D), output (K, D), bias (K,), importance (F,) or none; D is filled up with zeros to a multiple of 16.

    Output and bias start at zero, vectors small and at random, so that the first step moves the output alone.
    """

    importance: Tensor

    def __init__(self, config: AverageConfig, *, weighted: bool = False) -> None:
        super().__init__()
        self.config = config
        size = -(-config.vector_size // ACROSS) * ACROSS
        vectors = torch.zeros(config.n_features, size)
        vectors[:, : config.vector_size].uniform_(-1 / config.vector_size, 1 / config.vector_size)
        self.vectors = nn.Parameter(vectors, requires_grad=False)  # the kernel moves them
        self.output = nn.Parameter(torch.zeros(config.n_outputs, size), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(config.n_outputs), requires_grad=False)
        self.register_buffer("importance", torch.ones(config.n_features if weighted else 0))

    def step(
        self,
        bags: TextBags,
        targets: tuple[np.ndarray, np.ndarray, np.ndarray],
        order: np.ndarray,
        *,
        rates: tuple[float, float],
        dropout: float,
        frozen: bool,
        random: np.ndarray,
    ) -> Sums:
        """Learn from the texts of `order`, one after another, on this thread, without the interpreter's lock.

        targets: labels (M,) and where those of each text begin (n + 1,), and the weight of each text (n,); rates: learning
        rate at the first and at the last text; random (1,) uint64: state of this thread's random numbers.
        """
        tables = tuple(tensor.numpy() for tensor in (self.vectors, self.importance, self.output, self.bias))
        rule = (float(self.config.rest), float(dropout), self.config.independent, frozen)
        return Sums(*train_bags((bags.features, bags.starts, *targets), order, tables, rates, rule, random))

    def logits(self, bags: TextBags) -> np.ndarray:
        """z (n, K) of each text; the bias where a text has no feature that is known."""
        z = np.zeros((len(bags.starts) - 1, self.config.n_outputs), np.float32)
        features, vectors, importance = bags.features, self.vectors.numpy(), self.importance.numpy()
        if len(features) * 4 < len(vectors):  # few of all features occur: those alone
            rows, places = np.unique(features, return_inverse=True)
            features, vectors = places.astype(np.int32), vectors[rows]
            importance = importance[rows] if len(importance) else importance
        scores = vectors @ self.output.numpy().T
        score_bags(features, bags.starts, scores, importance, float(self.config.rest), self.bias.numpy(), z)
        return z

    def contributions(self, features: np.ndarray) -> np.ndarray:
        """What each feature (N,) of one text adds to its logits: (N, K); with the bias they sum to z."""
        shares = self.importance.numpy()[features] if len(self.importance) else np.ones(len(features), np.float32)
        total = self.config.rest + shares.sum()
        parts = self.vectors.numpy()[features] @ self.output.numpy().T
        return parts * (shares / total if total > 0 else shares)[:, None]
