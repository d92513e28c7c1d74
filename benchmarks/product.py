"""The product kernel against torch.mm (MKL): GFLOP/s of the products of a recurrent layer, one thread.

    python benchmarks/product.py

The recurrent matrix is packed before, as it is once per call of a layer. Contenders take turns in one process; medians of
CPU time.
"""

from __future__ import annotations

import numpy as np
import torch

import timing
from unrolled.kernels.product import UNIT, ZERO, add_outer, multiply, new_tile
from unrolled.kernels.workspace import Workspace

#: rows, depth, columns; the last three are products over all steps: projection, input gradient, weight gradient
STEPS = ((32, 64, 256), (32, 128, 512), (32, 256, 256), (32, 256, 1024), (16, 256, 1024), (5, 256, 1024), (1, 256, 1024))
WHOLE = ((1120, 256, 1024), (1120, 1024, 256))


def main() -> None:
    args = timing.arguments(__doc__)
    work = Workspace(np.dtype(np.float32), 1)
    print("| product | torch.mm, GFLOP/s | ours, GFLOP/s |\n|---|---|---|")
    for rows, depth, columns in STEPS + WHOLE:
        a, b, c = (torch.randn(shape) for shape in ((rows, depth), (depth, columns), (rows, columns)))
        flat_a, flat_c, ready, tile = (
            a.numpy().reshape(-1),
            c.numpy().reshape(-1),
            work.packed(b.numpy()),
            new_tile(a.numpy()),
        )
        turns = {
            "torch": lambda a=a, b=b, c=c: torch.mm(a, b, out=c),
            "ours": lambda a=flat_a, c=flat_c, ready=ready, tile=tile, m=rows, n=columns, k=depth: multiply(
                a, ZERO, k, UNIT, ready, c, ZERO, n, m, n, k, tile
            ),
        }
        report(f"({rows}, {depth}) x ({depth}, {columns})", 2e-9 * rows * depth * columns, turns, args)
    d, x, w = torch.randn(1120, 1024), torch.randn(1120, 256), torch.zeros(1024, 256)
    ready = work.packed(x.numpy())
    turns = {
        "torch": lambda: torch.mm(d.t(), x, out=w),
        "ours": lambda: add_outer(d.numpy(), ZERO, ZERO, ready, 1120, w.numpy(), ZERO, 1024),
    }
    report("(1120, 1024)^T x (1120, 256)", 2e-9 * 1120 * 1024 * 256, turns, args)


def report(name: str, giga: float, turns: dict, args: object) -> None:
    seconds = timing.take_turns(turns, args)  # type: ignore[arg-type]
    speeds = [f"{1000 * giga / timing.milliseconds(seconds, who):.0f}" for who in ("torch", "ours")]
    print(f"| {name} | {' | '.join(speeds)} |", flush=True)


if __name__ == "__main__":
    main()
