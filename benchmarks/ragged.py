"""Batches of mixed lengths: `Padded` against the better of two ways of `torch.nn`, padded throughout and packed.

    python benchmarks/ragged.py [--threads 2]

Forward and backward, input gradient included, batch first; lengths are drawn evenly from a tenth of the longest to the
longest. Contenders in turn in one process; a figure is the median over the rounds of (their time / ours).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import timing
from unrolled import layers
from unrolled.layers import Padded


def contenders(name: str, size: int, x: Tensor, lengths: Tensor) -> dict[str, Callable[[], None]]:
    theirs, ours = (getattr(m, name)(size, size, batch_first=True) for m in (nn, layers))
    ours.load_state_dict(theirs.state_dict())
    weigh = torch.randn(x.shape)

    def padded() -> None:
        theirs.zero_grad()
        x.grad = None
        theirs(x)[0].backward(weigh)

    def packed() -> None:
        theirs.zero_grad()
        x.grad = None
        y, _ = theirs(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
        pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])[0].backward(weigh)

    def unpadded() -> None:
        ours.zero_grad()
        x.grad = None
        ours(Padded(x, lengths))[0].values.backward(weigh)

    return {"padded": padded, "packed": packed, "ours": unpadded}


def main() -> None:
    args = timing.arguments(__doc__)
    print(
        "| batch, steps, hidden | fill | layer | over padded | over packed | over the better |\n|---|---|---|---|---|---|"
    )
    for steps in (35, 100):
        for size in (128, 256):
            lengths = torch.randint(steps // 10, steps + 1, (32,), generator=torch.Generator().manual_seed(0))
            lengths[0] = steps
            fill = lengths.sum().item() / (32 * steps)
            for name in ("RNN", "GRU", "LSTM"):
                x = torch.randn(32, steps, size, requires_grad=True)
                seconds = timing.take_turns(contenders(name, size, x, lengths), args)
                padded, packed = (timing.ratio(seconds, peer, "ours") for peer in ("padded", "packed"))
                figures = f"{padded:.2f} | {packed:.2f} | {min(padded, packed):.2f}"
                print(f"| 32, {steps}, {size} | {fill:.2f} | {name} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
