"""Evaluation that learns from the text it reads: what a reader does who meets the same names again and again.

Both adapters score a token before they learn from it, so the losses are honest log-probabilities of the text; they are
not the trained model's own, and reports say so. Every document starts from the trained model.

`NeuralCache` (Grave et al. 2017, arXiv:1612.04426) remembers the last hidden states h_i and the words that followed them:

    P(w) = (1 - weight) * P_model(w) + weight * sum over i of softmax_i(sharpness * cos(h_t, h_i)) * [w<i+1> = w]

`DynamicEvaluation` (Krause et al. 2018, arXiv:1709.07432) makes one step of RMSprop after every few tokens:

    v <- 0.99 v + 0.01 g^2,   W <- W - rate * g / (sqrt(v^) + 1e-6) + pull * (W_trained - W),   v^ = v / (1 - 0.99^n)

Departures: cosine instead of a plain product, so that one sharpness serves all sizes; v is gathered on the text that is
read, where the paper takes it from the training text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unrolled.config import typed_settings
from unrolled.errors import ConfigError, unknown_name
from unrolled.features.batching import read_windows
from unrolled.models.language_model import LanguageModel
from unrolled.types import State, map_state

__all__ = ["ADAPTERS", "Adapter", "DynamicEvaluation", "NeuralCache", "adapter"]

_WINDOW = 256


@dataclass(frozen=True)
class Adapter(ABC):
    """Scores the texts of one document, in order, learning on the way."""

    name: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """Name and settings, for reports."""
        return {"by": self.name} | asdict(self)

    @abstractmethod
    def losses(self, model: LanguageModel, texts: Sequence[np.ndarray], begin: int) -> Iterator[np.ndarray]:
        """-log P of every id of each text."""


@dataclass(frozen=True)
class NeuralCache(Adapter):
    """window: tokens remembered; sharpness: of the match of states; weight: share of the cache in the prediction."""

    name = "cache"

    window: int = 5000
    sharpness: float = 15.0
    weight: float = 0.15

    def __post_init__(self) -> None:
        if self.window < 1 or not 0 <= self.weight < 1 or self.sharpness < 0:
            raise ConfigError(f"the cache needs window >= 1, sharpness >= 0 and 0 <= weight < 1, got {self}")

    @torch.no_grad()
    def losses(self, model: LanguageModel, texts: Sequence[np.ndarray], begin: int) -> Iterator[np.ndarray]:
        """-log P of every id of each text; the memory is carried from text to text."""
        keys = torch.zeros(0, model.recurrent.output_size)
        words = torch.zeros(0, dtype=torch.long)
        for text in texts:
            found, state = [], None
            for _, batch in read_windows([text], begin=begin, batch_size=1, window=_WINDOW):
                hidden, state = model.hidden(batch.inputs, state)
                targets = batch.targets[0]
                plain = -functional.cross_entropy(model.logits(hidden[:, 0]), targets, reduction="none")
                queries = functional.normalize(hidden[:, 0], dim=1)
                keys, words = torch.cat((keys, queries)), torch.cat((words, targets))
                cached = self._cached(queries, keys, words)
                found.append(-torch.logaddexp(plain + np.log1p(-self.weight), cached.log() + np.log(self.weight or 1e-30)))
                keys, words = keys[-self.window :], words[-self.window :]
            yield torch.cat(found).double().numpy() if found else np.zeros(0)

    def _cached(self, queries: Tensor, keys: Tensor, words: Tensor) -> Tensor:
        """P_cache (C,) of the last C words; the C `queries` are the last rows of `keys`."""
        n, count = len(keys), len(queries)
        position, now = torch.arange(n), torch.arange(n - count, n).unsqueeze(1)
        visible = (position < now) & (position >= now - self.window)
        match = (self.sharpness * queries @ keys.t()).masked_fill(~visible, -torch.inf)
        share = torch.softmax(match, dim=1).nan_to_num(0.0)  # the first word of all finds nothing
        return (share * (words == words[n - count :].unsqueeze(1))).sum(1)


@dataclass(frozen=True)
class DynamicEvaluation(Adapter):
    """tokens: read between two steps; rate: of learning; pull: back to the trained weights at each step."""

    name = "dynamic"

    tokens: int = 20
    rate: float = 3e-4
    pull: float = 0.001

    def __post_init__(self) -> None:
        if self.tokens < 1 or self.rate < 0 or not 0 <= self.pull <= 1:
            raise ConfigError(f"dynamic evaluation needs tokens >= 1, rate >= 0 and 0 <= pull <= 1, got {self}")

    def losses(self, model: LanguageModel, texts: Sequence[np.ndarray], begin: int) -> Iterator[np.ndarray]:
        """-log P of every id of each text; the weights learn from text to text and are put back at the end."""
        weights = list(model.parameters())
        trained = [w.detach().clone() for w in weights]
        squares = [torch.zeros_like(w) for w in weights]
        steps = 0
        try:
            for text in texts:
                found: list[np.ndarray] = []
                state: State | None = None
                for _, batch in read_windows([text], begin=begin, batch_size=1, window=self.tokens):
                    with torch.enable_grad():
                        losses, after = model.token_losses(batch, state)
                        grads = torch.autograd.grad(losses.mean(), weights, allow_unused=True)
                    state = map_state(Tensor.detach, after)
                    found.append(losses.detach()[0].double().numpy())
                    steps += 1
                    self._step(weights, grads, trained, squares, 1 - 0.99**steps)
                yield np.concatenate(found) if found else np.zeros(0)
        finally:
            with torch.no_grad():
                for weight, value in zip(weights, trained, strict=True):
                    weight.copy_(value)

    @torch.no_grad()
    def _step(
        self,
        weights: list[torch.nn.Parameter],
        grads: tuple[Tensor | None, ...],
        trained: list[Tensor],
        squares: list[Tensor],
        seen: float,
    ) -> None:
        for weight, grad, origin, square in zip(weights, grads, trained, squares, strict=True):
            if grad is not None:
                square.mul_(0.99).addcmul_(grad, grad, value=0.01)
                weight.lerp_(origin, self.pull)
                weight.addcdiv_(grad, (square / seen).sqrt_().add_(1e-6), value=-self.rate)


ADAPTERS: dict[str, type[Adapter]] = {kind.name: kind for kind in (NeuralCache, DynamicEvaluation)}


def adapter(name: str | None, settings: Sequence[str] = ()) -> Adapter | None:
    """The adapter of that name with `key=value` settings; ConfigError for an unknown name, key or value."""
    if name is None:
        if settings:
            raise ConfigError(f"-s {settings[0]} is a setting of an adapter; add --adapt {' or --adapt '.join(ADAPTERS)}")
        return None
    if name not in ADAPTERS:
        raise unknown_name("adapter", name, ADAPTERS)
    kinds = {field.name: type(field.default) for field in fields(ADAPTERS[name])}
    return ADAPTERS[name](**typed_settings(settings, kinds, f"setting of --adapt {name}"))
