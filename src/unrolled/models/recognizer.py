"""Speech to text, the two systems of the notes, on one listener: frames of sound -> what is heard at each step.

    h<1> ... h<T>  = recurrent layers(reduction(frames))           deep, and read from both ends unless it is for streaming

CTC                  p<t> = softmax(W h<t> + b)                    a symbol or a blank at each step; Graves et al. 2006
attention            the decoder of `models/decoder.py` looks at all h<t>; Chan et al. 2016, arXiv:1508.01211. Alone it
                     starts from nothing and moves on at a pace, or it would learn to write without listening
hybrid               both on one listener: loss = w CTC + (1 - w) attention; Watanabe et al. 2017

where symbols stand  softmax(W relu(convolution of the reduction's steps)), learned by CTC too

The recurrent layers may say a symbol long before or after it is heard, as all alignments are worth the same to CTC and they
see everything. The last output knows only the sound around a step (a quarter of a second, with four frames a step), so it
can say a symbol nowhere else: it is asked when the words of a text were spoken. Its loss is a penalty, a tenth of theirs.

The blank has the number of a text's end: no text contains it, and all three have the same V symbols.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from unrolled.cells import CELLS
from unrolled.errors import ConfigError, unknown_name
from unrolled.layers.attention import Memory
from unrolled.layers.ctc import ctc_loss
from unrolled.layers.dropout import Dropout, locked
from unrolled.layers.layout import Layout
from unrolled.layers.recurrent import Recurrent, last_states
from unrolled.layers.reduction import REDUCTIONS
from unrolled.models.decoder import Decoder, DecoderConfig
from unrolled.types import LossSum, State

__all__ = [
    "BLANK",
    "HEADS",
    "AttentionRecognizer",
    "CTCRecognizer",
    "Listened",
    "Listener",
    "Locator",
    "Recognizer",
    "RecognizerConfig",
    "built",
]

#: The id of the end, which a vocabulary never moves.
BLANK = 1
HEADS = ("ctc", "attention", "hybrid")
#: Of the locator: steps around one that it looks at, units, and its part of the loss.
_AROUND, _LOCATING, _PENALTY = 5, 128, 0.1


@dataclass(frozen=True, kw_only=True)
class RecognizerConfig(DecoderConfig):
    """Sizes and dropout probabilities; those of the decoder mean nothing to ctc. n_features: F; ctc_weight: w."""

    n_features: int
    head: str = "ctc"
    encoder_size: int = 256
    encoder_layers: int = 2
    bidirectional: bool = True
    front: str = "stack"
    reduction: int = 2
    ctc_weight: float = 0.3
    dropout_heard: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for kind, name, known in (("head", self.head, HEADS), ("front", self.front, tuple(REDUCTIONS))):
            if name not in known:
                raise unknown_name(kind, name, known)
        if not 0 < self.ctc_weight < 1:
            raise ConfigError(f"ctc-weight must lie between 0 and 1, got {self.ctc_weight:g}")
        if self.head != "ctc" and not self.bidirectional:
            raise ConfigError("only ctc can be streamed: a decoder with attention looks at the whole recording")

    @property
    def memory_size(self) -> int:
        """M of what is heard at a step."""
        return self.encoder_size * (2 if self.bidirectional else 1)


class _Batch(Protocol):
    """What the model learns from: see `features.spoken_rows.SpokenBatch`."""

    @property
    def frames(self) -> Tensor: ...
    @property
    def lengths(self) -> Tensor: ...
    @property
    def labels(self) -> Tensor: ...
    @property
    def label_lengths(self) -> Tensor: ...
    @property
    def inputs(self) -> Tensor: ...
    @property
    def targets(self) -> Tensor: ...
    def to(self, device: torch.device) -> _Batch: ...


class Listened(NamedTuple):
    """What is heard h (T', B, M) in lengths (B,) steps, and the steps before it was, x (B, T', D)."""

    h: Tensor
    lengths: Tensor
    x: Tensor


class Locator(nn.Module):
    """Where symbols stand, by the sound around a step alone."""

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.around = nn.Conv1d(n_inputs, _LOCATING, _AROUND, padding=_AROUND // 2)
        self.output = nn.Linear(_LOCATING, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Steps x (B, T', D), zero behind a row's end -> logits (T', B, V)."""
        return self.output(torch.relu(self.around(x.transpose(1, 2))).permute(2, 0, 1))


class Listener(nn.Module):
    """Reduction and recurrent layers."""

    def __init__(self, config: RecognizerConfig) -> None:
        super().__init__()
        self.config = config
        self.reduction = REDUCTIONS[config.front](config.n_features, config.reduction)
        self.recurrent = Recurrent(
            CELLS[config.cell](config.encoder_size),
            self.reduction.output_size,
            n_layers=config.encoder_layers,
            bidirectional=config.bidirectional,
            dropout=Dropout(config.dropout_between, lock=True),
        )
        self.locator = Locator(self.reduction.output_size, config.n_target)

    def hear(self, x: Tensor, lengths: Tensor | None, state: State | None = None) -> tuple[Tensor, State]:
        """Steps (B, T, D) of the reduction -> what is heard (T, B, M), and the state after it."""
        x = x.transpose(0, 1).contiguous()
        return self.recurrent.run(x, state, Layout.of(lengths, x))

    def forward(self, frames: Tensor, lengths: Tensor) -> Listened:
        """frames (B, T, F) of lengths (B,), zero behind a row's end."""
        steps, x = self.reduction.steps(lengths), self.reduction(frames)
        x = x * (torch.arange(x.shape[1], device=x.device) < steps.unsqueeze(1)).unsqueeze(2)
        h, _ = self.hear(x, steps)
        return Listened(locked(h, self.config.dropout_heard, self.training), steps, x)

    def penalty(self, listened: Listened, batch: _Batch, n_tokens: int) -> Tensor:
        """The locator's part of the loss, a token."""
        return _PENALTY * _fitting(self.locator(listened.x), listened.lengths, batch) / max(1, n_tokens)


class CTCRecognizer(nn.Module):
    """A symbol or a blank at each step."""

    def __init__(self, config: RecognizerConfig) -> None:
        super().__init__()
        self.config = config
        self.listener = Listener(config)
        self.ctc = nn.Linear(config.memory_size, config.n_target)

    @property
    def device(self) -> torch.device:
        """Where the model is; batches may come from elsewhere."""
        return self.ctc.weight.device

    def loss(self, batch: _Batch, state: State | None = None) -> LossSum:
        """-log P of the texts, summed; there is no state to carry."""
        batch = batch.to(self.device)
        listened, n = self.listener(batch.frames, batch.lengths), int((batch.targets >= 0).sum())
        loss = _fitting(self.ctc(listened.h), listened.lengths, batch)
        return LossSum(loss, n, penalty=self.listener.penalty(listened, batch, n))


class AttentionRecognizer(Decoder[RecognizerConfig]):
    """Listener and decoder; hybrid, if it has an output for CTC. A `Stepper` on what the listener hears."""

    def __init__(self, config: RecognizerConfig) -> None:
        super().__init__(config, config.memory_size)
        self.listener = Listener(config)
        self.ctc = nn.Linear(config.memory_size, config.n_target) if config.head == "hybrid" else None

    def remembered(self, listened: Listened) -> tuple[Memory | None, State]:
        """What is heard -> what is attended to, the decoder's first state."""
        h, steps, _ = listened
        return self.remember(h.transpose(0, 1).contiguous(), steps, last_states(h, steps, bidirectional=True))

    def loss(self, batch: _Batch, state: State | None = None) -> LossSum:
        """Cross-entropy summed over all symbols, mixed with CTC's loss in a hybrid; there is no state to carry."""
        batch = batch.to(self.device)
        listened = self.listener(batch.frames, batch.lengths)
        found = self.loss_of(batch.inputs, batch.targets, *self.remembered(listened))
        found = found._replace(penalty=self.listener.penalty(listened, batch, found.n_tokens))
        if self.ctc is None:
            return found
        w, of_ctc = self.config.ctc_weight, _fitting(self.ctc(listened.h), listened.lengths, batch)
        return found._replace(loss=w * of_ctc + (1 - w) * found.loss)

    def start(self, source: Listened) -> tuple[Memory | None, State]:
        """Look at what is heard."""
        return self.written_from(*self.remembered(source))


Recognizer = CTCRecognizer | AttentionRecognizer


def built(config: RecognizerConfig) -> Recognizer:
    """A fresh model with the head of the configuration."""
    return CTCRecognizer(config) if config.head == "ctc" else AttentionRecognizer(config)


def _fitting(logits: Tensor, steps: Tensor, batch: _Batch) -> Tensor:
    """CTC's loss, summed over the rows whose text fits into their steps: one that was sped up may not."""
    losses = ctc_loss(logits, steps, batch.labels, batch.label_lengths, blank=BLANK)
    return losses[losses.isfinite()].sum()
