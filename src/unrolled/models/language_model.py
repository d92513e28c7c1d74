"""The recurrent language model: P(x<1> ... x<T>) = product over t of P(x<t> | x<1> ... x<t-1>).

    e<t>   = E[x<t>]                       the embedding of the symbol, zero before the first
    a<t>   = recurrent layers(e<t>, a<t-1>)
    y^<t>  = softmax(E W a<t> + b)         the output matrix is the embedding (tied), W maps H to its size D if they differ
    cost   = sum over t of -log y^<t>[x<t+1>]        cross-entropy, summed over steps as in the notes

Tying: Press and Wolf 2017, arXiv:1608.05859; Inan et al. 2017, arXiv:1611.01462.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from unrolled.cells import CELLS
from unrolled.errors import ConfigError, unknown_name
from unrolled.layers.dropout import Dropout, locked
from unrolled.layers.embedding import Embedding, OneHot
from unrolled.layers.recurrent import Recurrent
from unrolled.layers.unroll import Layout
from unrolled.types import LossSum, State, map_state

__all__ = ["LanguageModel", "LanguageModelConfig"]


@dataclass(frozen=True)
class LanguageModelConfig:
    """Sizes and dropout probabilities; V symbols are predicted, ids V and V + 1 (begin, padding) only read."""

    n_symbols: int
    cell: str = "lstm"
    embedding_size: int = 256
    hidden_size: int = 256
    n_layers: int = 1
    input: str = "embedded"
    tied: bool = True
    learned_state: bool = False
    dropout_input: float = 0.0
    dropout_between: float = 0.0
    dropout_output: float = 0.0
    dropout_word: float = 0.0
    dropout_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise unknown_name("cell", self.cell, CELLS)
        if self.input not in ("embedded", "one-hot"):
            raise ConfigError(f"input must be 'embedded' or 'one-hot', got '{self.input}'")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class _Batch(Protocol):
    """What the model reads: see `features.batching.TextBatch`."""

    @property
    def inputs(self) -> Tensor: ...
    @property
    def targets(self) -> Tensor: ...
    @property
    def fresh(self) -> Tensor: ...
    @property
    def lengths(self) -> Tensor | None: ...


class LanguageModel(nn.Module):
    """Embedding, deep recurrent layer, output layer. A `Stepper`."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.config = config
        dropout = Dropout(config.dropout_between, config.dropout_weight, lock=True)
        self.embedding = (
            OneHot(config.n_symbols, word_dropout=config.dropout_word)
            if config.input == "one-hot"
            else Embedding(config.n_symbols, config.embedding_size, word_dropout=config.dropout_word)
        )
        self.recurrent = Recurrent(
            CELLS[config.cell](config.hidden_size),
            self.embedding.size,
            n_layers=config.n_layers,
            dropout=dropout,
            learned_state=config.learned_state,
        )
        tied = config.tied and isinstance(self.embedding, Embedding)
        self.bridge = (
            nn.Linear(config.hidden_size, config.embedding_size, bias=False)
            if tied and config.hidden_size != config.embedding_size
            else nn.Identity()
        )
        self.output = nn.Linear(config.embedding_size if tied else config.hidden_size, config.n_symbols)
        nn.init.zeros_(self.output.bias)
        if tied and isinstance(self.embedding, Embedding):
            self.output.weight = self.embedding.weight
        else:
            nn.init.normal_(self.output.weight, std=1 / math.sqrt(config.hidden_size))

    def hidden(self, inputs: Tensor, state: State | None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """ids (B, T) -> activations of the last layer (T, B, H), dropout applied, and the last state."""
        x = locked(self.embedding(inputs.t()), self.config.dropout_input, self.training)
        layout = Layout.of(lengths, x)
        a, final = self.recurrent.run(x, self.recurrent.initial_state(layout.rows) if state is None else state, layout)
        return locked(a, self.config.dropout_output, self.training), final

    def logits(self, a: Tensor) -> Tensor:
        """Activations (..., H) -> logits (..., V)."""
        return self.output(self.bridge(a))

    def forward(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """ids (B, T) and state -> logits (B, T, V) and the last state."""
        a, final = self.hidden(inputs, state)
        return self.logits(a).transpose(0, 1), final

    def token_losses(self, batch: _Batch, state: State | None = None) -> tuple[Tensor, State]:
        """-log P of each target (B, T) in nats, zero behind a row's end, and the last state."""
        a, final = self.hidden(batch.inputs, self._start(batch, state), batch.lengths)
        losses = functional.cross_entropy(self.logits(a).flatten(0, 1), self._targets(batch).flatten(), reduction="none")
        return losses.view(a.shape[:2]).t(), final

    def loss(self, batch: _Batch, state: State | None = None) -> LossSum:
        """The cost of the notes: cross-entropy summed over the steps of all rows."""
        losses, final = self.token_losses(batch, state)
        n_tokens = losses.numel() if batch.lengths is None else int(batch.lengths.sum())
        return LossSum(losses.sum(), n_tokens, final)

    def _start(self, batch: _Batch, state: State | None) -> State | None:
        """The carried state, with the initial one in rows that start anew."""
        if state is None or bool(batch.fresh.all()):
            return None
        if not bool(batch.fresh.any()):
            return state
        rows = batch.fresh.view(-1, 1, 1)
        return map_state(lambda n, s: torch.where(rows, n, s), self.recurrent.initial_state(len(rows)), state)

    def _targets(self, batch: _Batch) -> Tensor:
        """Targets (T, B), -100 (counted as nothing) behind a row's end."""
        if batch.lengths is None:
            return batch.targets.t()
        behind = torch.arange(batch.targets.shape[1], device=batch.targets.device) >= batch.lengths.unsqueeze(1)
        return batch.targets.masked_fill(behind, -100).t()

    def start(self, source: Tensor) -> tuple[None, State]:
        """Read a prompt (R, T), begin id first and all but its last symbol; T may be 0."""
        if source.shape[1] == 0:
            return None, self.recurrent.initial_state(len(source))
        return None, self.hidden(source, None)[1]

    def step(self, last: Tensor, state: State, memory: None, sentence_of_row: Tensor) -> tuple[Tensor, State]:
        """Feed symbols (R,): logits (R, V) and the next state."""
        a, state = self.hidden(last.unsqueeze(1), state)
        return self.logits(a[0]), state
