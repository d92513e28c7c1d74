"""Words as vectors: one-hot (the notes' first representation) and embedded (a row of a learned table).

Multiplying a one-hot vector with a matrix picks one of its columns, so an embedding followed by W_ih is a one-hot input
with the factored matrix W_ih E^T: fewer parameters, and similar words can share a direction.

Ids from V on (begin, padding) stand for "no word": they give the zero vector, the x<1> = 0 of the notes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from unrolled.layers.dropout import locked, word_dropout

__all__ = ["Embedding", "Lookup", "OneHot", "embedded"]


class Lookup(NamedTuple):
    """Vectors that stand at many positions: table (U, D) and index (...) mean the inputs table[index] (..., D).

    A layer that is given one projects each vector once, however often it stands in the batch.
    """

    table: Tensor
    index: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the inputs."""
        return (*self.index.shape, self.table.shape[1])

    @property
    def device(self) -> torch.device:
        """Where the vectors are."""
        return self.table.device

    def expand(self) -> Tensor:
        """The inputs (..., D)."""
        return functional.embedding(self.index, self.table)

    def transpose(self, a: int, b: int) -> Lookup:
        """The same with two axes of the index exchanged."""
        return Lookup(self.table, self.index.transpose(a, b))

    @staticmethod
    def of(embedding: Embedding | OneHot, ids: Tensor) -> Lookup:
        """The vectors of ids (...): of the whole vocabulary where the batch is larger, else of the ids that occur."""
        n_symbols = embedding.n_symbols
        if n_symbols < ids.numel():
            every = torch.arange(n_symbols + 1, device=ids.device)
            return Lookup(embedding(every), ids.clamp(max=n_symbols))  # the last stands for all ids of no word
        occurring, index = ids.unique(return_inverse=True)
        return Lookup(embedding(occurring), index)


class OneHot(nn.Module):
    """ids (...) -> one-hot vectors (..., V); ids >= V give zero vectors."""

    unit: Tensor

    def __init__(self, n_symbols: int, *, word_dropout: float = 0.0) -> None:
        super().__init__()
        self.n_symbols = self.size = n_symbols
        self.word_dropout = word_dropout
        self.register_buffer("unit", torch.ones(n_symbols, 1), persistent=False)  # moves and converts with the model

    def forward(self, ids: Tensor) -> Tensor:
        hot = functional.one_hot(ids.clamp(max=self.n_symbols), self.n_symbols + 1)[..., :-1].to(self.unit.dtype)
        if self.training and self.word_dropout:
            hot = hot * word_dropout(self.unit, self.word_dropout, True).squeeze(1)
        return hot


class Embedding(nn.Module):
    """ids (...) -> vectors (..., D), rows of `weight` (V, D); ids >= V give zero vectors.

    Entries start from N(0, 1/D), so that the table can serve as the output matrix too; looked-up vectors are multiplied by
    sqrt(D) / 2, so that they reach the first layer at a size it learns from.
    """

    def __init__(self, n_symbols: int, size: int, *, word_dropout: float = 0.0) -> None:
        super().__init__()
        self.n_symbols, self.size, self.word_dropout = n_symbols, size, word_dropout
        self.scale = math.sqrt(size) / 2
        self.weight = nn.Parameter(torch.randn(n_symbols, size) / math.sqrt(size))

    def forward(self, ids: Tensor) -> Tensor:
        inside = ids.clamp(max=self.n_symbols - 1)
        factor = (ids < self.n_symbols).unsqueeze(-1) * self.scale
        if self.training and self.word_dropout:
            factor = factor * functional.embedding(inside, word_dropout(self.weight, self.word_dropout, True))
        return functional.embedding(inside, self.weight) * factor


def embedded(embedding: Embedding | OneHot, ids: Tensor, dropout: float) -> Tensor | Lookup:
    """What a recurrent layer reads for ids (T, B): their Lookup; in training with locked dropout, vectors (T, B, D)."""
    if embedding.training and dropout:
        return locked(embedding(ids), dropout, True)
    return Lookup.of(embedding, ids)
