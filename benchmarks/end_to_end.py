"""Training steps of the presets `char` and `word` against the same model written with `torch.nn`.

    python benchmarks/end_to_end.py [--threads 2]

Both: embedding, LSTM, tied output, dropout at the same places, AdamW, clipped gradients, state carried from batch to
batch. The plain model has elementwise dropout where ours keeps one mask for all steps of a row, no dropout of words, and
`cross_entropy` over all logits. A figure is the median over the rounds of (its time / ours) for one step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

import timing
from unrolled.models.language_model import LanguageModel, LanguageModelConfig
from unrolled.options.language_model import PRESETS, LanguageModelOptions
from unrolled.training.optimisation import clip_and_scale, make_optimiser
from unrolled.types import Stage, map_state

SYMBOLS = {"char": 97, "word": 10_000}
KEYS = ("embedding_size", "hidden_size", "n_layers", "dropout_input", "dropout_between", "dropout_output", "dropout_word")


class Plain(nn.Module):
    """The model of a tutorial."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.config = config
        size, hidden = config.embedding_size, config.hidden_size
        between = config.dropout_between if config.n_layers > 1 else 0.0
        self.table = nn.Embedding(config.n_symbols + 2, size)
        self.layers = nn.LSTM(size, hidden, config.n_layers, dropout=between)
        self.bridge, self.bias = nn.Linear(hidden, size, bias=False), nn.Parameter(torch.zeros(config.n_symbols))

    def loss(
        self, inputs: Tensor, targets: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        x = functional.dropout(self.table(inputs.t()), self.config.dropout_input)
        y, state = self.layers(x, state)
        a = self.bridge(functional.dropout(y, self.config.dropout_output))
        logits = functional.linear(a, self.table.weight[: self.config.n_symbols], self.bias)
        return functional.cross_entropy(logits.flatten(0, 1), targets.t().flatten(), reduction="sum"), state


@dataclass(frozen=True)
class Batch:
    inputs: Tensor
    targets: Tensor
    fresh: Tensor
    lengths: None = None

    def to(self, device: torch.device) -> Batch:
        return self


def contenders(preset: str) -> dict[str, Callable[[], None]]:
    options = LanguageModelOptions().training
    chosen = {key: PRESETS[preset][key] for key in KEYS if key in PRESETS[preset]}
    config = LanguageModelConfig(n_symbols=SYMBOLS[preset], **chosen)
    rows, steps = options.batch_size, PRESETS[preset]["window"]
    drawn = torch.multinomial(1 / torch.arange(1, config.n_symbols + 1), rows * (steps + 1), replacement=True).view(
        rows, -1
    )
    inputs, targets = drawn[:, :-1].contiguous(), drawn[:, 1:].contiguous()
    plain, ours = Plain(config), LanguageModel(config)
    plain_state, our_state = [None], [None]
    plain_optimiser = torch.optim.AdamW(plain.parameters(), lr=3e-3, betas=(0.9, 0.99))
    our_optimiser = make_optimiser([Stage(list(ours.parameters()))], options)

    def plain_step() -> None:
        plain_optimiser.zero_grad()
        loss, state = plain.loss(inputs, targets, plain_state[0])
        plain_state[0] = tuple(s.detach() for s in state)
        (loss / targets.numel()).backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        plain_optimiser.step()

    def our_step() -> None:
        our_optimiser.zero_grad()
        batch = Batch(
            inputs, targets, torch.zeros(rows, dtype=torch.bool) if our_state[0] else torch.ones(rows, dtype=torch.bool)
        )
        found = ours.loss(batch, our_state[0])
        our_state[0] = map_state(Tensor.detach, found.state)
        found.loss.backward()
        clip_and_scale([p.grad for p in ours.parameters() if p.grad is not None], 1 / found.n_tokens, 1.0)
        our_optimiser.step()

    return {"torch.nn": plain_step, "ours": our_step}


def main() -> None:
    args = timing.arguments(__doc__)
    print("| preset | over torch.nn | ms a step |\n|---|---|---|")
    for preset in SYMBOLS:
        seconds = timing.take_turns(contenders(preset), args)
        print(
            f"| {preset} | {timing.ratio(seconds, 'torch.nn', 'ours'):.2f} | {timing.milliseconds(seconds, 'ours'):.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
