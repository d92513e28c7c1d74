"""The recurrent tagger of the notes (many-to-many): a label y<t> for every word x<t>.

    s    = [last of forward; last of backward] reading the word's letters      how the word is spelled
    e<t> = [E[x<t>]; s<t>]
    a<t> = recurrent layers(e<t>, a<t-1>)   deep; read from both ends, so that a label can depend on what follows
    y<t> = softmax(W a<t> + b)

Letters as Lample et al. 2016, arXiv:1603.01360, section 4.1. Each different word of a batch is spelled out once.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from unrolled.cells import CELLS
from unrolled.errors import ConfigError, unknown_name
from unrolled.layers.dropout import Dropout, locked
from unrolled.layers.embedding import Embedding, Lookup
from unrolled.layers.layout import Layout
from unrolled.layers.recurrent import Recurrent, last_states
from unrolled.types import LossSum, State

__all__ = ["Tagger", "TaggerConfig"]


@dataclass(frozen=True)
class TaggerConfig:
    """Sizes and dropout probabilities; V words, K labels. spelling_size: units that read letters, a direction; 0: none;
    n_given: words that are not trained, whose vectors are given.
    """

    n_words: int
    n_letters: int
    n_outputs: int
    cell: str = "lstm"
    embedding_size: int = 100
    letter_size: int = 25
    spelling_size: int = 25
    hidden_size: int = 128
    n_layers: int = 1
    bidirectional: bool = True
    dropout_input: float = 0.0
    dropout_between: float = 0.0
    dropout_output: float = 0.0
    dropout_word: float = 0.0
    dropout_weight: float = 0.0
    n_given: int = 0

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise unknown_name("cell", self.cell, CELLS)
        if self.n_outputs < 2:
            raise ConfigError(f"n_outputs must be at least 2, got {self.n_outputs}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class _Batch(Protocol):
    """What the model reads: see `features.tagged_rows.TaggedBatch`."""

    @property
    def rows(self) -> Tensor: ...
    @property
    def letters(self) -> Tensor: ...
    @property
    def sizes(self) -> Tensor: ...
    @property
    def index(self) -> Tensor: ...
    @property
    def lengths(self) -> Tensor: ...
    @property
    def labels(self) -> Tensor: ...
    def to(self, device: torch.device) -> _Batch: ...


class Tagger(nn.Module):
    """Embedding and spelling of words, deep recurrent layer, an output at every position.

    given: vectors (n_given, D) of words that do not occur in training; never trained.
    """

    given: Tensor | None

    def __init__(self, config: TaggerConfig) -> None:
        super().__init__()
        self.config = config
        cell, size = CELLS[config.cell], config.spelling_size
        self.embedding = Embedding(config.n_words, config.embedding_size, word_dropout=config.dropout_word)
        self.register_buffer("given", torch.zeros(config.n_given, config.embedding_size) if config.n_given else None)
        self.letters = Embedding(config.n_letters, config.letter_size) if size else None
        self.spelling = Recurrent(cell(size), config.letter_size, bidirectional=True) if size else None
        self.recurrent = Recurrent(
            cell(config.hidden_size),
            config.embedding_size + 2 * size,
            n_layers=config.n_layers,
            bidirectional=config.bidirectional,
            dropout=Dropout(config.dropout_between, config.dropout_weight, lock=True),
        )
        self.output = nn.Linear(self.recurrent.output_size, config.n_outputs)

    @property
    def device(self) -> torch.device:
        """Where the model is; batches may come from elsewhere."""
        return self.output.weight.device

    def words(self, rows: Tensor, letters: Tensor, sizes: Tensor) -> Tensor:
        """Different words, rows (U,) of the vocabulary and letters (U, C) of sizes (U,) -> vectors (U, D).

        Rows below V are trained, V is an unknown word, V + 1 + i is word i of `given`.
        """
        known = self.embedding(rows)
        if self.given is not None:
            others = rows - self.config.n_words - 1  # (U,)
            vectors = functional.embedding(others.clamp(min=0), self.given) * self.embedding.scale
            known = torch.where((others >= 0).unsqueeze(1), vectors, known)
        if self.letters is None or self.spelling is None:
            return known
        x = Lookup.of(self.letters, letters.t())
        a, _ = self.spelling.run(x, None, Layout.of(sizes, x))
        return torch.cat((known, last_states(a, sizes, bidirectional=True)), 1)

    def read(self, x: Tensor | Lookup, lengths: Tensor) -> Tensor:
        """Words as vectors (T, B, D), or their Lookup -> logits (T, B, K)."""
        a, _ = self.recurrent.run(x, None, Layout.of(lengths, x))
        return self.output(locked(a, self.config.dropout_output, self.training))

    def forward(self, batch: _Batch) -> Tensor:
        """Logits (T, B, K); behind a row's end they mean nothing."""
        x: Tensor | Lookup = Lookup(self.words(batch.rows, batch.letters, batch.sizes), batch.index.t())
        if self.training and self.config.dropout_input:
            x = locked(x.expand(), self.config.dropout_input, True)
        return self.read(x, batch.lengths)

    def loss(self, batch: _Batch, state: State | None = None) -> LossSum:
        """Cross-entropy summed over all words; there is no state to carry."""
        batch = batch.to(self.device)
        labels = batch.labels.t()
        inside = labels >= 0
        return LossSum(functional.cross_entropy(self(batch)[inside], labels[inside], reduction="sum"), int(inside.sum()))
