"""Measure where torch's own kernel is faster than the compiled scan, and write it down for `unrolled.layers.choice`.

    python benchmarks/choose.py            # about ten minutes on an idle machine; rewrites src/unrolled/layers/measured.py

One thread, single precision, one layer with as many inputs as units, contenders in turn in one process; the figure is the
median of the ratios of five rounds. With a backward pass, the gradient of the input is asked for.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from unrolled import layers
from unrolled.layers import choice

STEPS, ROWS, SIZES = (1, 4, 35), (1, 4, 16, 64), (64, 128, 256, 512, 1024)
#: Seconds that one measurement of one contender should take at least.
LONG_ENOUGH = 0.01


def ratio(kind: str, steps: int, rows: int, size: int, training: bool) -> float:
    """Time of torch over time of the compiled scan."""
    layer = getattr(layers, kind.upper())(size, size)
    x, weigh = torch.randn(steps, rows, size, requires_grad=True), torch.randn(steps, rows, size)

    def run(way: choice.Way) -> Callable[[], None]:
        def step() -> None:
            with choice.only(way):
                if training:
                    layer.zero_grad()
                    x.grad = None
                    layer(x)[0].backward(weigh)
                else:
                    with torch.inference_mode():
                        layer(x)

        return step

    def spent(step: Callable[[], None], n: int) -> float:
        start = time.process_time()
        for _ in range(n):
            step()
        return time.process_time() - start

    ways = run("torch"), run("compiled")
    for step in ways:
        spent(step, 3)
    n = max(1, int(LONG_ENOUGH / max(1e-6, spent(ways[1], 3) / 3)))
    return statistics.median(spent(ways[0], n) / spent(ways[1], n) for _ in range(5))


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    lines = []
    for kind in ("rnn", "gru", "lstm"):
        for training in (False, True):
            table = [[[ratio(kind, t, b, h, training) for h in SIZES] for b in ROWS] for t in STEPS]
            body = "".join(
                "        [\n"
                + "".join(f"            [{', '.join(f'{r:.2f}' for r in row)}],\n" for row in block)
                + "        ],\n"
                for block in table
            )
            lines.append(f'    ("{kind}", {training}): [\n{body}    ],\n')
            print(lines[-1], flush=True)
    path = Path(__file__).parents[1] / "src" / "unrolled" / "layers" / "measured.py"
    path.write_text(
        '"""Written by benchmarks/choose.py: time of torch\'s kernel over time of the compiled scan, '
        '[steps][rows][hidden size]."""\n\n'
        f"STEPS = {STEPS}\nROWS = {ROWS}\nSIZES = {SIZES}\n"
        "RATIOS: dict[tuple[str, bool], list[list[list[float]]]] = {\n" + "".join(lines) + "}\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
