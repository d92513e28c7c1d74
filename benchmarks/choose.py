"""Measure where torch's own kernel is faster than the compiled scan, and write it down for `unrolled.layers.choice`.

    python benchmarks/choose.py            # about ten minutes on an idle machine; rewrites src/unrolled/layers/measured.py

One thread, single precision, one layer with as many inputs as units, contenders in turn in one process; the figure is the
median of the ratios of the rounds. With a backward pass, the gradient of the input is asked for.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

import timing
from unrolled import layers
from unrolled.layers import choice

STEPS, ROWS, SIZES = (1, 4, 35), (1, 4, 16, 64), (64, 128, 256, 512, 1024)
#: Seconds that a turn of one contender should take at least.
LONG_ENOUGH = 0.01


def ratio(kind: str, steps: int, rows: int, size: int, training: bool, args: argparse.Namespace) -> float:
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

    seconds = timing.take_turns({way: run(way) for way in ("torch", "compiled")}, args, LONG_ENOUGH)
    return timing.ratio(seconds, "torch", "compiled")


def main() -> None:
    args = timing.arguments(__doc__)
    lines = []
    for kind in ("rnn", "gru", "lstm"):
        for training in (False, True):
            table = [[[ratio(kind, t, b, h, training, args) for h in SIZES] for b in ROWS] for t in STEPS]
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
