"""Images and their captions in batches. Batch k of epoch e is a pure function of (seed, e, k)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unrolled.features.pair_rows import next_symbols

__all__ = ["CaptionBatch", "CaptionRows"]


@dataclass(frozen=True)
class CaptionBatch:
    """seen: of I images pixels (I, 3, size, size) or regions (I, S, F); image (B,): which of them each caption is about;
    inputs and targets (B, T) as those of `PairBatch`.
    """

    seen: Tensor
    image: Tensor
    inputs: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> CaptionBatch:
        """The batch on a device; itself if it is there."""
        if self.seen.device == device:
            return self
        return CaptionBatch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    def shard(self, rank: int, size: int) -> CaptionBatch:
        """Captions rank, rank + size, ...: what one of `size` processes reads; may be none."""
        return CaptionBatch(self.seen, *(t[rank::size] for t in (self.image, self.inputs, self.targets)))


class CaptionRows:
    """Images (n), each with the ids of its captions; see: what the model is given of some of them, (epoch, k, images)."""

    def __init__(
        self,
        captions: Sequence[Sequence[np.ndarray]],
        see: Callable[[int, int, np.ndarray], Tensor],
        *,
        images: int,
        begin: int,
        seed: int,
    ) -> None:
        self.captions, self.see, self.images, self.begin, self.seed = captions, see, images, begin, seed

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.captions) // self.images)

    def images_of(self, epoch: int, k: int) -> np.ndarray:
        """The images of batch k, in an order of the epoch's own."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.captions))
        return order[k * self.images : (k + 1) * self.images]

    def batch(self, epoch: int, k: int) -> CaptionBatch:
        """Batch k of the epoch: all captions of some images."""
        which = self.images_of(epoch, k)
        rows = [row for i in which for row in self.captions[i]]
        image = torch.from_numpy(np.repeat(np.arange(len(which)), [len(self.captions[i]) for i in which]))
        return CaptionBatch(self.see(epoch, k, which), image, *next_symbols(rows, self.begin))
