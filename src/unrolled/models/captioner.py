"""A caption for an image: what an encoder sees in place of its softmax starts a recurrent decoder, as in the notes.

    v        = regions of the encoder (S, F)           one that stands for the whole image, or S parts of it
    a        = relu(W v)                               what is attended to (`models/decoder.py`), if anything is
    s<0>     = tanh(W mean of a)                       `state`: the image is the decoder's first state
    s<0>     = recurrent layers(W mean of a, 0)        `word`: the image is the word before the first

Vinyals et al. 2015 (Show and Tell, arXiv:1411.4555); Xu et al. 2015 (Show, Attend and Tell, arXiv:1502.03044).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from unrolled.errors import ConfigError, unknown_name
from unrolled.layers.attention import Memory
from unrolled.layers.convolution import ImageEncoder
from unrolled.layers.layout import Layout
from unrolled.models.decoder import Decoder, DecoderConfig
from unrolled.types import LossSum, State, map_state

__all__ = ["BEGINNINGS", "Captioner", "CaptionerConfig"]

BEGINNINGS = ("state", "word")


@dataclass(frozen=True, kw_only=True)
class CaptionerConfig(DecoderConfig):
    """Sizes and dropout probabilities. n_features: F; memory_size: of what is attended to; begins: see above."""

    n_features: int
    memory_size: int = 512
    begins: str = "state"
    dropout_features: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.begins not in BEGINNINGS:
            raise unknown_name("beginning", self.begins, BEGINNINGS)
        if self.begins == "word" and self.attention != "none" and (self.looks == "before" or self.input_feeding):
            raise ConfigError("the image can be the first word only where nothing else enters a step: attention none")


class _Batch(Protocol):
    """What the model learns from: see `features.caption_rows.CaptionBatch`."""

    @property
    def seen(self) -> Tensor: ...
    @property
    def image(self) -> Tensor: ...
    @property
    def inputs(self) -> Tensor: ...
    @property
    def targets(self) -> Tensor: ...
    def to(self, device: torch.device) -> _Batch: ...


class Captioner(Decoder[CaptionerConfig]):
    """An encoder and a decoder. A `Stepper`: it is given pixels (B, 3, size, size), or regions (B, S, F) seen before."""

    def __init__(self, config: CaptionerConfig, encoder: ImageEncoder) -> None:
        super().__init__(config, config.memory_size)
        if encoder.n_features != config.n_features:
            raise ConfigError(f"the encoder sees {encoder.n_features} features, the captioner expects {config.n_features}")
        self.encoder = encoder
        self.project = nn.Linear(config.n_features, config.memory_size)
        self.word = nn.Linear(config.memory_size, config.embedding_size) if config.begins == "word" else None

    def regions(self, seen: Tensor) -> Tensor:
        """Pixels, or regions -> regions."""
        return self.encoder.regions(seen) if seen.dim() == 4 else seen

    def see(self, seen: Tensor) -> tuple[Memory | None, State]:
        """Pixels, or regions -> what is attended to, the decoder's first state."""
        v = self.regions(seen).to(self.project.weight.dtype)
        v = functional.dropout(v, self.config.dropout_features, self.training)
        a = torch.relu(self.project(v))
        lengths = torch.full((len(a),), a.shape[1], device=a.device)
        memory, state = self.remember(a, lengths, a.mean(1))
        if self.word is None:
            return memory, state
        first = self.word(a.mean(1)).unsqueeze(0)
        return memory, self.decoder.run(first, None, Layout.of(None, first))[1]

    def loss(self, batch: _Batch, state: State | None = None) -> LossSum:
        """Cross-entropy summed over all words of the captions; there is no state to carry."""
        batch = batch.to(self.device)
        memory, first = self.see(batch.seen)
        of = batch.image
        return self.loss_of(batch.inputs, batch.targets, memory, map_state(lambda s: s[of], first), of)

    def start(self, source: Tensor) -> tuple[Memory | None, State]:
        """Look at images: pixels, or regions."""
        return self.written_from(*self.see(source.to(self.device)))
