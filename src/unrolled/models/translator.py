"""The encoder-decoder of the notes: one network reads the source, another writes the target (`models/decoder.py`).

a        = bidirectional recurrent layers over the source words        the encoder
h        = [last of forward; last of backward]                         what the decoder starts from
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from unrolled.cells import CELLS
from unrolled.errors import ConfigError
from unrolled.layers.attention import Memory
from unrolled.layers.dropout import Dropout
from unrolled.layers.embedding import Embedding, Lookup, embedded
from unrolled.layers.layout import Layout
from unrolled.layers.recurrent import Recurrent, last_states
from unrolled.models.decoder import Decoder, DecoderConfig
from unrolled.types import LossSum, State

__all__ = ["Translator", "TranslatorConfig"]


@dataclass(frozen=True, kw_only=True)
class TranslatorConfig(DecoderConfig):
    """Sizes and dropout probabilities. encoder_size: units a direction; shared: one embedding for both sides."""

    n_source: int
    encoder_size: int = 256
    encoder_layers: int = 1
    shared: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shared and self.n_source != self.n_target:
            raise ConfigError("a shared embedding needs one vocabulary for source and target")


class _Batch(Protocol):
    """What the model reads: see `features.pair_rows.PairBatch`."""

    @property
    def source(self) -> Tensor: ...
    @property
    def source_lengths(self) -> Tensor: ...
    @property
    def inputs(self) -> Tensor: ...
    @property
    def targets(self) -> Tensor: ...
    def to(self, device: torch.device) -> _Batch: ...


class Translator(Decoder[TranslatorConfig]):
    """Encoder, attention, decoder. A `Stepper`."""

    def __init__(self, config: TranslatorConfig) -> None:
        super().__init__(config, 2 * config.encoder_size)
        size = config.embedding_size
        self.source = self.target if config.shared else Embedding(config.n_source, size, word_dropout=config.dropout_word)
        cell, dropout = CELLS[config.cell](config.encoder_size), Dropout(config.dropout_between, lock=True)
        self.encoder = Recurrent(cell, size, n_layers=config.encoder_layers, bidirectional=True, dropout=dropout)

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Memory | None, State]:
        """ids (B, S) of sentences of lengths (B,), each at least 1 -> what is attended to, the decoder's first state."""
        return self.read(embedded(self.source, source.t(), self.config.dropout_input), lengths)

    def read(self, x: Tensor | Lookup, lengths: Tensor) -> tuple[Memory | None, State]:
        """`encode` of embedded words (S, B, D), or their Lookup."""
        a, _ = self.encoder.run(x, None, Layout.of(lengths, x))
        return self.remember(a.transpose(0, 1).contiguous(), lengths, last_states(a, lengths, bidirectional=True))

    def loss(self, batch: _Batch, state: State | None = None) -> LossSum:
        """Cross-entropy summed over all target symbols; there is no state to carry."""
        batch = batch.to(self.device)
        return self.loss_of(batch.inputs, batch.targets, *self.encode(batch.source, batch.source_lengths))

    def start(self, source: tuple[Tensor, Tensor]) -> tuple[Memory | None, State]:
        """Read sentences, ids (B, S) and lengths (B,)."""
        ids, lengths = source
        return self.written_from(*self.encode(ids.to(self.device), lengths.to(self.device)))
