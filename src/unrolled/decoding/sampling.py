"""Sampling from a model that steps: the next symbol is drawn from the softmax and fed back, as in the notes.

    logits -> repetition penalty -> temperature -> top-k -> top-p -> min-p -> draw

Each row draws from its own random stream, a function of (seed, row): sample 2 of 3 is the same text as sample 2 of 10.

Sources: top-p, Holtzman et al. 2020, arXiv:1904.09751; min-p, Nguyen et al. 2024, arXiv:2407.01082; repetition penalty,
Keskar et al. 2019, arXiv:1909.05858, section 4.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrolled.errors import ConfigError, check_bounds
from unrolled.types import Stepper, map_state

__all__ = ["SamplingOptions", "distribution", "sample"]


@dataclass(frozen=True)
class SamplingOptions:
    """How to choose the next symbol.

    temperature: divides the logits; 0 takes the most likely symbol, 1 the model's own distribution
    top_k: keep the k most likely symbols; 0 keeps all
    top_p: keep the fewest symbols whose probability reaches p; 1 keeps all
    min_p: keep symbols at least min_p times as likely as the most likely one; 0 keeps all
    repetition_penalty: divide positive logits of symbols already there by it (multiply negative ones); 1 does nothing
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        bounds = {
            "temperature": (0, 100),
            "top_k": (0, 2**31),
            "top_p": (0, 1),
            "min_p": (0, 1),
            "repetition_penalty": (1, 100),
            "seed": (0, 2**63),
        }
        check_bounds(self, bounds)
        if self.top_p == 0:
            raise ConfigError("top-p must be greater than 0")


def distribution(logits: Tensor, options: SamplingOptions, seen: Tensor | None = None) -> Tensor:
    """Logits (R, V) -> the probabilities (R, V) to draw from, float64. `seen` (R, V) marks symbols already in the text."""
    logits = logits.double()
    if seen is not None and options.repetition_penalty != 1:
        punished = torch.where(logits > 0, logits / options.repetition_penalty, logits * options.repetition_penalty)
        logits = torch.where(seen, punished, logits)
    if options.temperature == 0:
        return torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).double()
    probabilities = torch.softmax((logits - logits.amax(1, keepdim=True)) / options.temperature, dim=1)
    keep = torch.ones_like(probabilities, dtype=torch.bool)
    if 0 < options.top_k < logits.shape[1]:
        keep = torch.zeros_like(keep).scatter(1, probabilities.topk(options.top_k, dim=1).indices, True)
    if options.top_p < 1:
        kept = (probabilities * keep) / (probabilities * keep).sum(1, keepdim=True)
        ranked, order = kept.sort(dim=1, descending=True, stable=True)
        before = ranked.cumsum(1) - ranked  # the mass in front of each symbol
        keep &= torch.zeros_like(keep).scatter(1, order, before < options.top_p)
    if options.min_p > 0:
        keep &= probabilities >= options.min_p * probabilities.amax(1, keepdim=True)
    probabilities = probabilities * keep
    return probabilities / probabilities.sum(1, keepdim=True)


@torch.no_grad()
def sample(
    model: Stepper,
    prompt: Tensor,
    *,
    n_rows: int,
    length: int,
    options: SamplingOptions,
    end: int | None = None,
    forbidden: tuple[int, ...] = (),
    source: Any = None,
    watch: Callable[[Tensor], None] | None = None,
) -> Iterator[list[int | None]]:
    """Continue a prompt (T,), begin id first: yield the next symbol of each row, None for rows that have ended.

    source: one sentence that is read first; unset: what is read is the prompt, as a language model does.
    Stops after `length` symbols, or when every row has drawn `end`. `forbidden` symbols are never drawn. watch: is told the
    logits (R, V) before each draw.
    """
    memory, state = model.start(prompt[None, :-1] if source is None else source)
    sentence = torch.zeros(n_rows, dtype=torch.long)
    state, last = map_state(lambda s: s[sentence], state), prompt[-1:].expand(n_rows)
    draws = [np.random.default_rng([options.seed, row]) for row in range(n_rows)]
    ended = [False] * n_rows
    seen: Tensor | None = None
    for _ in range(length):
        logits, state = model.step(last, state, memory, sentence)
        logits[:, list(forbidden)] = -torch.inf
        if watch is not None:
            watch(logits)
        if options.repetition_penalty != 1:
            seen = _mark(seen, prompt[1:].expand(n_rows, -1) if seen is None else last.unsqueeze(1), logits)
        cumulative = distribution(logits, options, seen).cumsum(1)
        uniform = torch.tensor([[rng.random()] for rng in draws], dtype=torch.float64) * cumulative[:, -1:]
        last = torch.searchsorted(cumulative, uniform, right=True).squeeze(1).clamp(max=logits.shape[1] - 1)
        yield [None if done else symbol for done, symbol in zip(ended, last.tolist(), strict=True)]
        ended = [done or symbol == end for done, symbol in zip(ended, last.tolist(), strict=True)]
        if all(ended):
            return


def _mark(seen: Tensor | None, symbols: Tensor, logits: Tensor) -> Tensor:
    """Mark `symbols` (R, T) as seen; ids that cannot be predicted are left out."""
    seen = torch.zeros_like(logits, dtype=torch.bool) if seen is None else seen
    inside: Any = symbols.clamp(max=logits.shape[1] - 1)
    return seen | torch.zeros_like(seen).scatter(1, inside, symbols < logits.shape[1])
