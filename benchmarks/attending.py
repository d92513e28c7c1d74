"""A decoder that looks before each step: the compiled loop against the readable one, in training steps.

    python benchmarks/attending.py

A translator's batches (about 80 pairs, as many memories, lengths alike) and a captioner's (32 images of 49 regions, five
captions each, of all lengths), at the sizes of the presets, of drawn ids. Whole steps, the optimiser included.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

import timing
from unrolled.features.caption_rows import CaptionRows
from unrolled.features.pair_rows import PairRows
from unrolled.layers.convolution import ImageEncoder
from unrolled.models import decoder
from unrolled.models.captioner import Captioner, CaptionerConfig
from unrolled.models.translator import Translator, TranslatorConfig

#: Probabilities and sizes of both presets.
SHARED = {"dropout_input": 0.3, "dropout_between": 0.3, "smoothing": 0.1, "decoder_size": 512}


class Seen(ImageEncoder):
    """Regions that were seen before."""

    n_features = 1280

    def regions(self, x: Tensor) -> Tensor:
        return x


def ids(lengths: np.ndarray, n_symbols: int, random: np.random.Generator) -> list[np.ndarray]:
    return [random.integers(3, n_symbols, n) for n in lengths]


def translator(random: np.random.Generator) -> tuple[nn.Module, PairRows]:
    targets = np.clip(random.lognormal(np.log(14), 0.3, 3000).astype(int), 4, 50)
    sources = np.clip((targets * random.normal(1, 0.15, len(targets))).astype(int), 3, 60)
    given = ids(sources, 6000, random), ids(targets, 6000, random)
    rows = PairRows(*given, tokens=1280, padding=2, begin=1, seed=0)
    return Translator(TranslatorConfig(n_source=6000, n_target=6000, dropout_output=0.3, **SHARED)), rows


def captioner(random: np.random.Generator) -> tuple[nn.Module, CaptionRows]:
    lengths = np.clip(random.lognormal(np.log(11), 0.4, (320, 5)).astype(int) + 1, 3, 40)
    regions = torch.rand(len(lengths), 49, Seen.n_features)
    captions = [ids(some, 2700, random) for some in lengths]
    rows = CaptionRows(captions, lambda _, __, which: regions[which], images=32, begin=1, seed=0)
    config = CaptionerConfig(n_target=2700, n_features=Seen.n_features, dropout_output=0.5, **SHARED)
    return Captioner(config, Seen()), rows


def step(
    model: nn.Module, rows: PairRows | CaptionRows, optimiser: torch.optim.Optimizer, compiled: bool, low: bool
) -> None:
    """One batch of the first epoch, always the same; the encoder is compiled either way."""
    way = nullcontext() if compiled else patch.object(decoder, "attends_compiled", lambda *_: False)
    with way, torch.autocast("cpu", torch.bfloat16, enabled=low):
        found = model.loss(rows.batch(0, 1))
        (found.loss / found.n_tokens).backward()
    optimiser.step()
    optimiser.zero_grad()


def main() -> None:
    args = timing.arguments(__doc__)
    print("| model | arithmetic | readable, ms a step | compiled | over it |\n|---|---|---|---|---|")
    for name, make in (("translator", translator), ("captioner", captioner)):
        model, rows = make(np.random.default_rng(0))
        optimiser = torch.optim.AdamW(model.train().parameters())
        for low in (False, True):
            some = {way: partial(step, model, rows, optimiser, way == "compiled", low) for way in ("readable", "compiled")}
            seconds = timing.take_turns(some, args)
            each = " | ".join(f"{timing.milliseconds(seconds, way):.0f}" for way in some)
            ratio = timing.ratio(seconds, "readable", "compiled")
            print(f"| {name} | {'bfloat16' if low else 'float32'} | {each} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
