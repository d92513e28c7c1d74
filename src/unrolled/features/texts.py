"""Texts as rows of ids in batches of similar lengths. Batch k of epoch e is a pure function of (seed, e, k)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unrolled.features.batching import bounds_of

__all__ = ["Grouping", "TextRows", "TextsBatch", "padded_rows"]

#: By how much lengths are blurred before they are sorted, so that each epoch groups other texts.
_BLUR = 0.1


@dataclass(frozen=True)
class TextsBatch:
    """ids (B, T) int64; lengths (B,), each at least 1; targets (B, K) float: what each output is to be; weights (B,)."""

    ids: Tensor
    lengths: Tensor
    targets: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> TextsBatch:
        """The batch on a device; itself if it is there."""
        if self.ids.device == device:
            return self
        return TextsBatch(*(tensor.to(device) for tensor in (self.ids, self.lengths, self.targets, self.weights)))

    def shard(self, rank: int, size: int) -> TextsBatch:
        """Rows rank, rank + size, ...: what one of `size` processes reads; may be none."""
        return TextsBatch(*(t[rank::size] for t in (self.ids, self.lengths, self.targets, self.weights)))


def padded_rows(rows: Sequence[np.ndarray], fill: int) -> tuple[Tensor, Tensor]:
    """ids (B, T), `fill` behind a row's end, and lengths (B,); a row without words has one `fill`."""
    lengths = np.array([max(1, len(row)) for row in rows])
    ids = np.full((len(rows), int(lengths.max())), fill, np.int64)
    for line, row in zip(ids, rows, strict=True):
        line[: len(row)] = row
    return torch.from_numpy(ids), torch.from_numpy(lengths)


class Grouping:
    """Rows of given lengths (n,) in groups of similar length, about `tokens` ids each; other groups in each epoch."""

    def __init__(self, lengths: np.ndarray, tokens: int, seed: int) -> None:
        self.lengths, self.seed = lengths, seed
        self._bounds = bounds_of(np.sort(lengths), tokens)  # the same in all epochs
        self._grouped: tuple[int, np.ndarray, np.ndarray] = (-1, np.zeros(0), np.zeros(0))

    def __len__(self) -> int:
        """Groups in an epoch."""
        return len(self._bounds) - 1

    def group(self, epoch: int, k: int) -> np.ndarray:
        """The rows of group k, in an order of the epoch's own."""
        if self._grouped[0] != epoch:
            random = np.random.default_rng([self.seed, epoch])
            blurred = self.lengths * (1 + _BLUR * random.random(len(self.lengths)))
            self._grouped = epoch, np.argsort(blurred, kind="stable"), random.permutation(len(self))
        which = self._grouped[2][k]
        return self._grouped[1][self._bounds[which] : self._bounds[which + 1]]


class TextRows:
    """Texts, rows of ids one after another: those of text i at starts[i]:starts[i + 1], in batches of about `tokens` ids.

    targets (n, K) float32 and weights (n,) float32.
    """

    def __init__(
        self,
        ids: np.ndarray,
        starts: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray,
        *,
        tokens: int,
        unknown: int,
        seed: int,
    ) -> None:
        self.ids, self.starts, self.targets, self.weights = ids, starts, targets, weights
        self.unknown = unknown
        self.groups = Grouping(np.maximum(1, np.diff(starts)), tokens, seed)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.groups)

    def batch(self, epoch: int, k: int) -> TextsBatch:
        """Batch k of the epoch: texts of similar length."""
        which = self.groups.group(epoch, k)
        ids, lengths = padded_rows([self.ids[self.starts[i] : self.starts[i + 1]] for i in which], self.unknown)
        return TextsBatch(ids, lengths, torch.from_numpy(self.targets[which]), torch.from_numpy(self.weights[which]))
