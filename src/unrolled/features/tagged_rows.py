"""Sentences of words with a label each, in batches of similar lengths. Batch k of epoch e is a function of (seed, e, k)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from unrolled.features.forms import Forms
from unrolled.features.texts import Grouping

__all__ = ["NO_LABEL", "TaggedBatch", "TaggedRows", "tagged_batch"]

#: Stands where a label is not known, or where a row has ended.
NO_LABEL = -1


@dataclass(frozen=True)
class TaggedBatch:
    """The U different words of the batch: rows (U,), letters (U, C), sizes (U,); sentences as index (B, T) into them, of
    lengths (B,); labels (B, T), NO_LABEL behind a row's end. All int64.
    """

    rows: Tensor
    letters: Tensor
    sizes: Tensor
    index: Tensor
    lengths: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> TaggedBatch:
        """The batch on a device; itself if it is there."""
        if self.index.device == device:
            return self
        return TaggedBatch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    def shard(self, rank: int, size: int) -> TaggedBatch:
        """Sentences rank, rank + size, ...: what one of `size` processes reads; may be none."""
        own = slice(rank, None, size)
        return replace(self, index=self.index[own], lengths=self.lengths[own], labels=self.labels[own])


def tagged_batch(forms: Forms, which: Sequence[int] | np.ndarray, labels: np.ndarray | None = None) -> TaggedBatch:
    """Some of the sentences, each of a word or more. labels (N,): of all words, in the order of `forms.numbers`."""
    spans = [slice(forms.starts[i], forms.starts[i + 1]) for i in which]
    lengths = np.array([span.stop - span.start for span in spans], np.int64)
    used, index = np.unique(np.concatenate([forms.numbers[span] for span in spans]), return_inverse=True)
    inside = np.arange(int(lengths.max())) < lengths[:, None]
    padded, given = np.zeros(inside.shape, np.int64), np.full(inside.shape, NO_LABEL, np.int64)
    padded[inside] = index
    if labels is not None:
        given[inside] = np.concatenate([labels[span] for span in spans])
    sizes = forms.sizes[used]
    letters = forms.letters[used, : int(sizes.max())]
    return TaggedBatch(*map(torch.from_numpy, (forms.rows[used], letters, sizes, padded, lengths, given)))


class TaggedRows:
    """Sentences and the labels (N,) of their words, in batches of about `tokens` words."""

    def __init__(self, forms: Forms, labels: np.ndarray, *, tokens: int, seed: int) -> None:
        self.forms, self.labels = forms, labels
        self.groups = Grouping(np.diff(forms.starts), tokens, seed)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.groups)

    def batch(self, epoch: int, k: int) -> TaggedBatch:
        """Batch k of the epoch: sentences of similar length."""
        return tagged_batch(self.forms, self.groups.group(epoch, k), self.labels)
