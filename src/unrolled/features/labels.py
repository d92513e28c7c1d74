"""Labels -> what a classifier is to give out, and back: its logits -> the probabilities of the labels.

    one       y is one of C labels           K = C outputs, softmax
    many      any number of C labels         K = C outputs, a sigmoid each
    ordered   one of C labels in an order    K = C - 1 outputs: output k says P(y > k), so P(y = k) = P(y > k-1) - P(y > k)

Ordered labels as Frank and Hall 2001, "A simple approach to ordinal classification".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from unrolled.data.labelled import Labelled
from unrolled.errors import ConfigError, DataError, nearest

__all__ = ["LabelSet", "check_known"]

_SHOWN = 10


def check_known(unknown: Mapping[str, int], total: int, names: Sequence[str], name: str) -> None:
    """DataError where all `total` labels of the data called `name` are unknown to a model with the labels `names`."""
    if not total or sum(unknown.values()) < total:
        return
    theirs, ours = (
        ", ".join([*(repr(label[:40]) for label in list(some)[:_SHOWN]), *(["..."] if len(some) > _SHOWN else [])])
        for some in (unknown, names)
    )
    raise DataError(
        f"{name}: got the labels {theirs}, none of which the model knows; expected {ours}. "
        "Fix: evaluate on data of the same task, or name the right column."
    )


@dataclass(frozen=True)
class LabelSet:
    """The labels by name; kind: one, many or ordered (then names are in order, lowest first)."""

    names: tuple[str, ...]
    kind: str

    @staticmethod
    def learned(examples: Labelled, kind: str, order: str | None = None) -> LabelSet:
        """The labels of training examples. DataError for one label only."""
        counts = Counter(label for labels in examples.labels for label in labels)
        if len(counts) < 2 - (kind == "many"):
            examples_have = "the example has" if len(examples) == 1 else f"all {len(examples)} examples have"
            only = f"{examples_have} the label {next(iter(counts))!r}" if counts else "no example has a label"
            raise DataError(f"{only}: there is nothing to tell apart. Give examples of two labels or more.")
        return LabelSet(_in_order(counts, order) if kind == "ordered" else tuple(sorted(counts)), kind)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def n_outputs(self) -> int:
        """K."""
        return len(self) - (self.kind == "ordered")

    @property
    def independent(self) -> bool:
        """Whether each output is a probability of its own."""
        return self.kind != "one"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def targets(self, labels: Sequence[tuple[str, ...]]) -> tuple[np.ndarray, np.ndarray]:
        """The outputs that are to be 1 (M,) int32, and where those of each text begin (n + 1,)."""
        place = self._place
        if self.kind == "ordered":
            rows = [range(place[label[0]]) for label in labels]
        else:
            rows = [[place[name] for name in label] for label in labels]  # type: ignore[misc]
        starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        return np.fromiter((i for row in rows for i in row), np.int32, starts[-1]), starts

    def given(self, labels: Sequence[tuple[str, ...]]) -> tuple[np.ndarray, Counter[str]]:
        """The right answers: places (n,), -1 for a label that is not known, or a table (n, C) for kind many; and how often
        each label that is not known occurs.
        """
        unknown = Counter(name for label in labels for name in label if name not in self._place)
        if self.kind == "many":
            table = np.zeros((len(labels), len(self)), np.int64)
            for row, label in zip(table, labels, strict=True):
                row[[self._place[name] for name in label if name in self._place]] = 1
            return table, unknown
        return np.array([self._place.get(label[0], -1) for label in labels], np.int64), unknown

    def prior(self, labels: Sequence[tuple[str, ...]], weights: np.ndarray) -> np.ndarray:
        """Return logits (K,) float64 of a text that nothing is known of: of the labels' frequencies, weights (n,) counted.

        Every label has occurred once more than it has, so that none is impossible.
        """
        flat, starts = self.targets(labels)
        counts = np.bincount(flat, np.repeat(weights, np.diff(starts)), minlength=self.n_outputs)
        if self.kind == "one":
            z = np.log(counts + 1)
            return z - z.mean()
        return np.log(counts + 1) - np.log(np.maximum(weights.sum() - counts, 0) + 1)

    def probabilities(self, z: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """Logits (n, K) -> P (n, C), in float64."""
        z = z.astype(np.float64) / temperature
        if self.kind == "one":
            e = np.exp(z - z.max(1, keepdims=True))
            return e / e.sum(1, keepdims=True)
        p = 1 / (1 + np.exp(-np.clip(z, -700, 700)))
        if self.kind == "many":
            return p
        above = np.minimum.accumulate(p, axis=1)
        ends = np.ones((len(p), 1)), np.zeros((len(p), 1))
        return -np.diff(np.concatenate([ends[0], above, ends[1]], axis=1), axis=1)

    @cached_property
    def _place(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}


def _in_order(counts: Counter[str], order: str | None) -> tuple[str, ...]:
    if order is not None:
        names = tuple(name.strip() for name in order.split(",") if name.strip())
        strange = next((name for name in counts if name not in names), None)
        if strange is not None:
            raise ConfigError(f"--order does not name the label {strange!r} of the examples.{nearest(strange, names)}")
        return tuple(name for name in names if name in counts)
    try:
        return tuple(sorted(counts, key=float))
    except ValueError:
        shown = ", ".join(sorted(counts)[:_SHOWN])
        raise ConfigError(
            f"--labels ordered needs an order, and the labels are not numbers ({shown}). Say --order LOWEST,...,HIGHEST"
        ) from None
