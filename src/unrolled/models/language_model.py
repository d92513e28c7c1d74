"""The recurrent language model: P(x<1> ... x<T>) = product over t of P(x<t> | x<1> ... x<t-1>).

    e<t>   = E[x<t>]                       the embedding of the symbol, zero before the first
    a<t>   = recurrent layers(e<t>, a<t-1>)
    y^<t>  = softmax(E W a<t> + b)         the output matrix is the embedding (tied), W maps H to its size D if they differ
    cost   = sum over t of -log y^<t>[x<t+1>]        cross-entropy, summed over steps as in the notes

Tying: Press and Wolf 2017, arXiv:1608.05859; Inan et al. 2017, arXiv:1611.01462.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from unrolled.cells import CELLS
from unrolled.errors import ConfigError, unknown_name
from unrolled.layers.dropout import Dropout, locked
from unrolled.layers.embedding import Embedding, OneHot, embedded
from unrolled.layers.layout import Layout
from unrolled.layers.output import OUTPUTS, FullOutput
from unrolled.layers.recurrent import Recurrent
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
    softmax: str = "full"
    penalty_activation: float = 0.0
    penalty_change: float = 0.0

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise unknown_name("cell", self.cell, CELLS)
        if self.softmax not in OUTPUTS:
            raise unknown_name("softmax", self.softmax, OUTPUTS)
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
    def to(self, device: torch.device) -> _Batch: ...


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
        tied = config.tied and config.softmax != "adaptive" and isinstance(self.embedding, Embedding)
        self.bridge = (
            nn.Linear(config.hidden_size, config.embedding_size, bias=False)
            if tied and config.hidden_size != config.embedding_size
            else nn.Identity()
        )
        self.output = OUTPUTS[config.softmax](config.embedding_size if tied else config.hidden_size, config.n_symbols)
        if tied and isinstance(self.embedding, Embedding) and isinstance(self.output, FullOutput):
            self.output.weight = self.embedding.weight

    @property
    def device(self) -> torch.device:
        """Where the model is; batches and symbols may come from elsewhere."""
        return next(self.parameters()).device

    def hidden(self, inputs: Tensor, state: State | None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """ids (B, T) -> activations of the last layer (T, B, H), dropout applied, and the last state."""
        a, final = self._run(inputs, state, lengths)
        return locked(a, self.config.dropout_output, self.training), final

    def _run(self, inputs: Tensor, state: State | None, lengths: Tensor | None) -> tuple[Tensor, State]:
        x = embedded(self.embedding, inputs.t(), self.config.dropout_input)
        return self.recurrent.run(x, state, Layout.of(lengths, x))

    def logits(self, a: Tensor) -> Tensor:
        """Activations (..., H) -> logits (..., V)."""
        return self.output(self.bridge(a))

    def forward(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """ids (B, T) and state -> logits (B, T, V) and the last state."""
        a, final = self.hidden(inputs, state)
        return self.logits(a).transpose(0, 1), final

    def token_losses(self, batch: _Batch, state: State | None = None) -> tuple[Tensor, State]:
        """-log P of each target (B, T) in nats, zero behind a row's end, and the last state."""
        batch = batch.to(self.device)
        a, final = self.hidden(batch.inputs, self._start(batch, state), batch.lengths)
        inside = self._inside(batch)
        losses = self.output.losses(self.bridge(_taken(a, inside)), _taken(batch.targets.t(), inside))
        if inside is None:
            return losses.view(a.shape[:2]).t(), final
        return losses.new_zeros(a.shape[:2]).masked_scatter(inside, losses).t(), final

    def loss(self, batch: _Batch, state: State | None = None) -> LossSum:
        """The cost of the notes: cross-entropy summed over the steps of all rows."""
        batch = batch.to(self.device)
        raw, final = self._run(batch.inputs, self._start(batch, state), batch.lengths)
        a = locked(raw, self.config.dropout_output, self.training)
        inside = self._inside(batch)
        targets = _taken(batch.targets.t(), inside)
        loss = self.output.loss(self.bridge(_taken(a, inside)), targets)
        return LossSum(loss, len(targets), final, self._penalty(raw, a, inside))

    def _penalty(self, raw: Tensor, a: Tensor, inside: Tensor | None) -> Tensor | None:
        """Activation regularisation and its temporal form (Merity et al. 2017, arXiv:1708.01009), means over the batch."""
        large, change = self.config.penalty_activation, self.config.penalty_change
        if not self.training or not (large or change):
            return None
        changes = _taken(raw[1:] - raw[:-1], None if inside is None else inside[1:] & inside[:-1])
        sizes = _taken(a, inside)
        return large * sizes.square().sum() / max(1, sizes.numel()) + change * changes.square().sum() / max(
            1, changes.numel()
        )

    def _start(self, batch: _Batch, state: State | None) -> State | None:
        """The carried state, with the initial one in rows that start anew."""
        if state is None or bool(batch.fresh.all()):
            return None
        if not bool(batch.fresh.any()):
            return state
        rows = batch.fresh.view(-1, 1, 1)
        return map_state(lambda n, s: torch.where(rows, n, s), self.recurrent.initial_state(len(rows)), state)

    def _inside(self, batch: _Batch) -> Tensor | None:
        """(T, B), True where a target counts: not behind a row's end. None where all do."""
        if batch.lengths is None:
            return None
        return (torch.arange(batch.targets.shape[1], device=batch.targets.device) < batch.lengths.unsqueeze(1)).t()

    def start(self, source: Tensor) -> tuple[None, State]:
        """Read a prompt (R, T), begin id first and all but its last symbol; T may be 0."""
        if source.shape[1] == 0:
            return None, self.recurrent.initial_state(len(source))
        return None, self.hidden(source.to(self.device), None)[1]

    def step(self, last: Tensor, state: State, memory: None, sentence_of_row: Tensor) -> tuple[Tensor, State]:
        """Feed symbols (R,): logits (R, V), where the symbols are, and the next state."""
        a, state = self.hidden(last.unsqueeze(1).to(self.device), state)
        return self.logits(a[0]).to(last.device), state


def _taken(x: Tensor, inside: Tensor | None) -> Tensor:
    """(T, B, ...) -> (N, ...): the steps that count."""
    return x.flatten(0, 1) if inside is None else x[inside]
