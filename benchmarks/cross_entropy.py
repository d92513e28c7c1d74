"""The output layer's loss and gradient: the chunked function against linear + cross_entropy of torch, one thread.

    python benchmarks/cross_entropy.py

CPU time, contenders interleaved in one process, medians of per-round ratios (above 1: faster than torch's).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from unrolled.layers.output import cross_entropy

ROUNDS = 5
SHAPES = ((2048, 128, 66), (1120, 200, 10_000), (1120, 200, 50_000))


def plain(a: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(functional.linear(a, weight, bias), targets, reduction="sum")


def bfloat16(a: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return cross_entropy(a, weight, bias, targets)


def main() -> None:
    torch.set_num_threads(1)
    losses: dict[str, Callable[..., Tensor]] = {"torch": plain, "chunked": cross_entropy, "chunked, bfloat16": bfloat16}
    for n, size, v in SHAPES:
        a = torch.randn(n, size, requires_grad=True)
        weight = (torch.randn(v, size) / size**0.5).requires_grad_()
        bias, targets = torch.zeros(v, requires_grad=True), torch.randint(v, (n,))
        seconds: dict[str, list[float]] = {name: [] for name in losses}
        for _ in range(ROUNDS + 1):
            for name, loss in losses.items():
                before = time.process_time()
                loss(a, weight, bias, targets).backward()
                seconds[name].append(time.process_time() - before)
                a.grad = weight.grad = bias.grad = None
        ratios = {
            name: statistics.median(t / own for t, own in zip(seconds["torch"][1:], times[1:], strict=True))
            for name, times in seconds.items()
        }
        print(f"{n} rows of {size}, {v:,} symbols:", {name: round(ratio, 2) for name, ratio in ratios.items()})


if __name__ == "__main__":
    main()
