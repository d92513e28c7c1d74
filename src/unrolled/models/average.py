"""The averaged classifier of the notes: the mean of the vectors of a text's words, then a softmax.

    h = sum of E[f] / (r + n) over the n features f of the text      words, and word n-grams if there are any
    z = W h + b,   P = softmax(z)                                   or 1 / (1 + exp(-z)) for labels that are independent

With r = 0, h is the mean. It sees no order but that within an n-gram. Since h is a mean, z is a sum over the features: what
each contributes is known exactly. b is the log prior of the labels and not learned, so that a text without evidence has
the prior. Joulin et al. 2017, arXiv:1607.01759 (fastText); Iyyer et al. 2015 (word dropout).
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol
from weakref import ref

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.kernels.bags import ACROSS, score_bags, train_bags
from unrolled.kernels.bounds import check_ids, check_kind, check_shape, check_starts

__all__ = ["AverageClassifier", "AverageConfig", "Sums", "TextBags"]


#: Arrays that were found to be in bounds, and the bounds: a training run passes the same ones at each of its many steps.
_checked: deque[tuple[tuple[ref[np.ndarray], ...], tuple[int, int]]] = deque(maxlen=16)


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

    The output starts at zero, vectors small and at random, so that the first step moves the output alone.
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
        ShapeError for arrays that do not fit each other, and for features, labels or texts out of range.
        """
        _check_texts((bags.features, bags.starts, *targets), self.config.n_features, self.config.n_outputs)
        check_ids("order", order, len(bags.starts) - 1)
        check_shape("order", order.shape, (None,))
        check_shape("random", random.shape, (1,))
        check_kind("random", random, np.uint64)
        self._check_tables()
        tables = tuple(tensor.numpy() for tensor in (self.vectors, self.importance, self.output, self.bias))
        rule = (float(self.config.rest), float(dropout), self.config.independent, frozen)
        return Sums(*train_bags((bags.features, bags.starts, *targets), order, tables, rates, rule, random))

    def logits(self, bags: TextBags) -> np.ndarray:
        """z (n, K) of each text; the bias where a text has no feature that is known. ShapeError as `step`."""
        check_shape("features", bags.features.shape, (None,))
        check_kind("features", bags.features, np.int32)
        check_kind("starts of texts", bags.starts, np.int64)
        check_ids("features", bags.features, self.config.n_features)
        check_starts("starts of texts", bags.starts, len(bags.features))
        self._check_tables()
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
        check_ids("features", features, self.config.n_features)
        shares = self.importance.numpy()[features] if len(self.importance) else np.ones(len(features), np.float32)
        total = self.config.rest + shares.sum()
        parts = self.vectors.numpy()[features] @ self.output.numpy().T
        return parts * (shares / total if total > 0 else shares)[:, None]

    def _check_tables(self) -> None:
        """ShapeError unless parameters have the shapes that the configuration gives them."""
        size = -(-self.config.vector_size // ACROSS) * ACROSS
        check_shape("vectors", self.vectors.shape, (self.config.n_features, size))
        check_shape("output", self.output.shape, (self.config.n_outputs, size))
        check_shape("bias", self.bias.shape, (self.config.n_outputs,))
        check_shape("importance", self.importance.shape, (self.config.n_features if len(self.importance) else 0,))


def _check_texts(arrays: tuple[np.ndarray, ...], n_features: int, n_outputs: int) -> None:
    """ShapeError unless texts fit: features (N,), starts (n + 1,), labels (M,), label_starts (n + 1,), weights (n,)."""
    bounds = n_features, n_outputs
    for seen, seen_bounds in list(_checked):
        if seen_bounds == bounds and all(a() is b for a, b in zip(seen, arrays, strict=True)):
            return
    features, starts, labels, label_starts, weights = arrays
    for name, array, kind in (
        ("features", features, np.int32),
        ("starts of texts", starts, np.int64),
        ("labels", labels, np.int32),
        ("starts of labels", label_starts, np.int64),
        ("weights", weights, np.float32),
    ):
        check_kind(name, array, kind)
    check_shape("features", features.shape, (None,))
    check_ids("features", features, n_features)
    check_starts("starts of texts", starts, len(features))
    check_shape("labels", labels.shape, (None,))
    check_ids("labels", labels, n_outputs)
    check_starts("starts of labels", label_starts, len(labels))
    check_shape("starts of labels", label_starts.shape, starts.shape)
    check_shape("weights", weights.shape, (len(starts) - 1,))
    _checked.append((tuple(map(ref, arrays)), bounds))
