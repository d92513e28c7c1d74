"""The recurrent classifier of the notes (many-to-one): read the words one after another, pool, decide.

    e<t> = E[x<t>]                          zero for a word that is not known
    a<t> = recurrent layers(e<t>, a<t-1>)   deep, perhaps from both ends
    h    = pool(a<1> ... a<T>)              over the text's true length
    z    = W h + b,   P = softmax(z)        or 1 / (1 + exp(-z)) for labels that are independent

Pooling: `last` is the state after the last word (of each direction: its own last), `mean`, `max`, `attention` (weights
softmax(v a<t>) over t); `concat` is last, max and mean beside each other (Howard and Ruder 2018, arXiv:1801.06146).

Adversarial training (Miyato, Dai and Goodfellow 2017, arXiv:1605.07725, equation 2): what is learned from is the text whose
vectors were moved to where the loss rises fastest,

    e + epsilon |e| g / |g|,   g = dL/de    e, g: all vectors of a text as one; epsilon a part of their length
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from unrolled.cells import CELLS
from unrolled.errors import ConfigError, unknown_name
from unrolled.layers.dropout import Dropout
from unrolled.layers.embedding import Embedding, Lookup, embedded
from unrolled.layers.layout import Layout
from unrolled.layers.recurrent import Recurrent, last_states
from unrolled.types import LossSum, State

__all__ = ["POOLINGS", "Classifier", "ClassifierConfig"]

POOLINGS = ("last", "mean", "max", "attention", "concat")


@dataclass(frozen=True)
class ClassifierConfig:
    """Sizes and dropout probabilities; V words, K outputs."""

    n_symbols: int
    n_outputs: int
    independent: bool = False
    cell: str = "lstm"
    embedding_size: int = 100
    hidden_size: int = 128
    n_layers: int = 1
    bidirectional: bool = True
    learned_state: bool = False
    pooling: str = "max"
    dropout_input: float = 0.0
    dropout_between: float = 0.0
    dropout_output: float = 0.0
    dropout_word: float = 0.0
    dropout_weight: float = 0.0
    adversarial: float = 0.0

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise unknown_name("cell", self.cell, CELLS)
        if self.pooling not in POOLINGS:
            raise unknown_name("pooling", self.pooling, POOLINGS)
        if self.n_outputs < 1:
            raise ConfigError(f"n_outputs must be at least 1, got {self.n_outputs}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class _Batch(Protocol):
    """What the model reads: see `features.texts.TextRows`."""

    @property
    def ids(self) -> Tensor: ...
    @property
    def lengths(self) -> Tensor: ...
    @property
    def targets(self) -> Tensor: ...
    @property
    def weights(self) -> Tensor: ...
    def to(self, device: torch.device) -> _Batch: ...


class Classifier(nn.Module):
    """Embedding, deep recurrent layer, pooling, output layer."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config.n_symbols, config.embedding_size, word_dropout=config.dropout_word)
        self.recurrent = Recurrent(
            CELLS[config.cell](config.hidden_size),
            config.embedding_size,
            n_layers=config.n_layers,
            bidirectional=config.bidirectional,
            dropout=Dropout(config.dropout_between, config.dropout_weight, lock=True),
            learned_state=config.learned_state,
        )
        size = self.recurrent.output_size
        self.attention = nn.Linear(size, 1) if config.pooling == "attention" else None
        self.output = nn.Linear(3 * size if config.pooling == "concat" else size, config.n_outputs)

    @property
    def device(self) -> torch.device:
        """Where the model is; batches may come from elsewhere."""
        return self.output.weight.device

    def parts(self) -> list[list[nn.Parameter]]:
        """The parameters from the top down: what decides, each recurrent layer, the embedding."""
        transferred = {id(p) for module in (self.recurrent, self.embedding) for p in module.parameters()}
        top = [p for p in self.parameters() if id(p) not in transferred]
        return [top, *reversed(self.recurrent.parts()), list(self.embedding.parameters())]

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """ids (B, T) of texts of lengths (B,), each at least 1 -> logits (B, K)."""
        return self.read(self._vectors(ids), lengths)

    def _vectors(self, ids: Tensor) -> Tensor | Lookup:
        return embedded(self.embedding, ids.t(), self.config.dropout_input)

    def read(self, x: Tensor | Lookup, lengths: Tensor) -> Tensor:
        """Embedded words (T, B, D), or their Lookup -> logits (B, K)."""
        a, _ = self.recurrent.run(x, None, Layout.of(lengths, x))
        h = self._pooled(a, lengths)
        return self.output(functional.dropout(h, self.config.dropout_output, self.training))

    def _pooled(self, a: Tensor, lengths: Tensor) -> Tensor:
        """Activations (T, B, H), zero behind a row's end and not needed any more -> (B, H), or (B, 3 H)."""
        pooling, found = self.config.pooling, dict[str, Tensor]()
        if pooling == "attention":
            assert self.attention is not None
            return (self.attention(a).masked_fill(_behind(a, lengths).unsqueeze(2), -torch.inf).softmax(0) * a).sum(0)
        wanted = ("last", "max", "mean") if pooling == "concat" else (pooling,)
        if "last" in wanted:
            found["last"] = last_states(a, lengths, bidirectional=self.config.bidirectional)
        if "mean" in wanted:
            found["mean"] = a.sum(0) / lengths.unsqueeze(1)
        if "max" in wanted:  # the last, as it may change a
            a = a.clone() if torch.is_grad_enabled() else a
            a.view(-1, a.shape[2]).index_fill_(0, _behind(a, lengths).flatten().nonzero().squeeze(1), -torch.inf)
            found["max"] = a.amax(0)
        return torch.cat([found[name] for name in wanted], 1)

    def loss(self, batch: _Batch, state: State | None = None) -> LossSum:
        """Cross-entropy summed over the texts, each times its weight; there is no state to carry."""
        batch = batch.to(self.device)
        x = self._vectors(batch.ids)
        if self.training and self.config.adversarial:
            x = self._moved(x.expand() if isinstance(x, Lookup) else x, batch)
        return LossSum(self._loss(x, batch), len(batch.targets))

    def _loss(self, x: Tensor | Lookup, batch: _Batch) -> Tensor:
        z = self.read(x, batch.lengths)
        if self.config.independent:
            losses = functional.binary_cross_entropy_with_logits(z, batch.targets, reduction="none").sum(1)
        else:
            losses = -(batch.targets * z.log_softmax(1)).sum(1)
        return (losses * batch.weights).sum()

    def _moved(self, x: Tensor, batch: _Batch) -> Tensor:
        """Vectors x (T, B, D) moved by `adversarial` of their text's length to where its loss rises fastest."""
        given = x.detach().requires_grad_()
        (g,) = torch.autograd.grad(self._loss(given, batch), given)
        length, steepness = given.detach().norm(dim=(0, 2), keepdim=True), g.norm(dim=(0, 2), keepdim=True)
        return x + self.config.adversarial * length / steepness.clamp(min=torch.finfo(g.dtype).tiny) * g


def _behind(a: Tensor, lengths: Tensor) -> Tensor:
    """(T, B): whether a step of activations a (T, B, H) stands behind the end of its row."""
    return torch.arange(len(a), device=a.device).unsqueeze(1) >= lengths
