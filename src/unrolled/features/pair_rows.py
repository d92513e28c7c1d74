"""Pairs of sentences as ids in batches of similar lengths. Batch k of epoch e is a pure function of (seed, e, k)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unrolled.features.texts import Grouping, padded_rows

__all__ = ["PairBatch", "PairRows", "next_symbols", "pair_batch"]

#: Stands where a row of targets has ended.
NO_SYMBOL = -1


@dataclass(frozen=True)
class PairBatch:
    """source (B, S) ids of lengths (B,); inputs and targets (B, T): what comes before each target symbol, and the symbol,
    NO_SYMBOL behind a row's end. All int64.
    """

    source: Tensor
    source_lengths: Tensor
    inputs: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> PairBatch:
        """The batch on a device; itself if it is there."""
        if self.source.device == device:
            return self
        return PairBatch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    def shard(self, rank: int, size: int) -> PairBatch:
        """Rows rank, rank + size, ...: what one of `size` processes reads; may be none."""
        return PairBatch(*(getattr(self, name)[rank::size] for name in self.__dataclass_fields__))


def pair_batch(sources: Sequence[np.ndarray], targets: Sequence[np.ndarray], *, padding: int, begin: int) -> PairBatch:
    """Rows of ids, each with an id or more; padding: the source's id that stands for no word; begin: the target's first."""
    return PairBatch(*padded_rows(sources, padding), *next_symbols(targets, begin))


def next_symbols(targets: Sequence[np.ndarray], begin: int) -> tuple[Tensor, Tensor]:
    """Rows of ids -> what comes before each symbol, and the symbols, NO_SYMBOL behind a row's end: int64 (B, T)."""
    after, _ = padded_rows(targets, NO_SYMBOL)
    before = torch.cat((torch.full((len(after), 1), begin), after[:, :-1]), 1)
    return torch.where(before < 0, begin, before), after


class PairRows:
    """Pairs of rows of ids, in batches of about `tokens` ids on the longer side."""

    def __init__(
        self,
        sources: Sequence[np.ndarray],
        targets: Sequence[np.ndarray],
        *,
        tokens: int,
        padding: int,
        begin: int,
        seed: int,
    ) -> None:
        self.sources, self.targets, self.padding, self.begin = sources, targets, padding, begin
        lengths = [(len(target), len(source)) for source, target in zip(sources, targets, strict=True)]
        self.groups = Grouping(np.array(list(map(max, lengths)), np.int64), tokens, seed)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.groups)

    def batch(self, epoch: int, k: int) -> PairBatch:
        """Batch k of the epoch: pairs of similar length."""
        which = self.groups.group(epoch, k)
        sources, targets = [self.sources[i] for i in which], [self.targets[i] for i in which]
        return pair_batch(sources, targets, padding=self.padding, begin=self.begin)
