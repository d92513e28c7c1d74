"""The loss of CTC and its gradient by the logits: ours against log_softmax and ctc_loss of torch.

    python benchmarks/ctc.py
    python benchmarks/ctc.py --threads 2

64 rows of 29 symbols, labels of a fifth of the frames; medians of per-round ratios, and how far each is from torch's in
double precision: losses as a part of themselves, gradients, which lie between -1 and 1, as they are.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

import timing
from unrolled.layers.ctc import ctc_loss

ROWS, SYMBOLS = 64, 29


def ours(logits: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
    losses = ctc_loss(logits, *given)
    return losses.detach(), torch.autograd.grad(losses.sum(), logits)[0]


def theirs(logits: Tensor, lengths: Tensor, labels: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    losses = functional.ctc_loss(functional.log_softmax(logits, 2), labels, lengths, sizes, reduction="none")
    return losses.detach(), torch.autograd.grad(losses.sum(), logits)[0]


def main() -> None:
    args = timing.arguments(__doc__)
    print("| frames | torch, ms | ours, ms | over it | loss: torch is off by | ours | gradient: torch | ours |")
    print("|---|---|---|---|---|---|---|---|")
    for steps in (150, 300, 500):
        torch.manual_seed(0)
        logits = (2 * torch.randn(steps, ROWS, SYMBOLS)).requires_grad_()
        sizes = torch.full((ROWS,), steps // 5)
        given = torch.full((ROWS,), steps), torch.randint(1, SYMBOLS, (int(sizes.sum()),)), sizes
        seconds = timing.take_turns({"torch": partial(theirs, logits, *given), "ours": partial(ours, logits, *given)}, args)
        exact = theirs(logits.detach().double().requires_grad_(), *given)
        mine, torchs = ours(logits, *given), theirs(logits, *given)
        losses = [((found[0] - exact[0]) / exact[0]).abs().max() for found in (torchs, mine)]
        gradients = [(found[1] - exact[1]).abs().max() for found in (torchs, mine)]
        off = " | ".join(f"{float(apart):.0e}" for apart in (*losses, *gradients))
        times = " | ".join(f"{timing.milliseconds(seconds, name):.1f}" for name in ("torch", "ours"))
        print(f"| {steps} | {times} | {timing.ratio(seconds, 'torch', 'ours'):.1f} | {off} |", flush=True)


if __name__ == "__main__":
    main()
