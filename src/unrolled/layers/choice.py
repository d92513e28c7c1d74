"""Which of the ways through a layer is taken. The choice changes no result beyond rounding.

    compiled   the scans of `unrolled.kernels`: single and double precision on a CPU
    torch      torch's own kernel: full batches only; on a GPU (cuDNN), under autocast, and where it was measured faster
    loop       the readable loop of `unroll.py`: everything else, and derivatives of derivatives

What was measured stands in `measured.py`, which `benchmarks/choose.py` writes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from unrolled.cells import Cell
from unrolled.layers.compiled import scan_for
from unrolled.layers.embedding import Lookup
from unrolled.layers.layout import Layout
from unrolled.layers.measured import RATIOS, ROWS, SIZES, STEPS

__all__ = ["Way", "only", "way_of"]

Way = Literal["compiled", "torch", "loop"]
_forced: list[Way] = []
#: A Lookup saves most of the projection, a third of the layer's work and more: torch must be that much faster.
_PICKED = 0.7


@contextmanager
def only(way: Way) -> Iterator[None]:
    """Take this way wherever it can be taken, and the loop elsewhere: for tests, benchmarks and the curious."""
    _forced.append(way)
    try:
        yield
    finally:
        _forced.pop()


def way_of(cell: Cell, x: Tensor | Lookup, layout: Layout, training: bool) -> Way:
    """The way for inputs x (T, B, D), or a Lookup, of this layout; training: whether a backward pass may follow."""
    inputs, picked = (x.table, True) if isinstance(x, Lookup) else (x, False)
    can: list[Way] = []
    if _torch_can(cell, layout):
        can.append("torch")
    if _compiled_can(cell, inputs, layout):
        can.append("compiled")
    if _forced:
        return _forced[-1] if _forced[-1] in can else "loop"
    if not can:
        return "loop"
    if len(can) == 1:
        on_gpu_or_halved = inputs.is_cuda or torch.is_autocast_enabled(inputs.device.type)
        return can[0] if can[0] == "compiled" or on_gpu_or_halved or cell.torch_kernel == "lstm" else "loop"
    if torch.is_autocast_enabled(inputs.device.type):
        return "torch" if cell.torch_kernel == "lstm" else "compiled"
    return "torch" if _ratio(cell, layout, training) < (_PICKED if picked and layout.steps > 1 else 1) else "compiled"


def _torch_can(cell: Cell, layout: Layout) -> bool:
    return cell.torch_kernel is not None and layout.order is None and bool(layout.steps and layout.rows)


def _compiled_can(cell: Cell, x: Tensor, layout: Layout) -> bool:
    return (
        bool(layout.batch_sizes)
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not torch._C._are_functorch_transforms_active()
        and not torch.compiler.is_compiling()
        and scan_for(cell) is not None
    )


def _ratio(cell: Cell, layout: Layout, training: bool) -> float:
    """Time of torch over time of the compiled scan, at the measured shape that is nearest."""
    kind = "rnn" if str(cell.torch_kernel).startswith("rnn") else str(cell.torch_kernel)
    at = (_nearest(STEPS, layout.steps), _nearest(ROWS, layout.rows), _nearest(SIZES, cell.hidden_size))
    return RATIOS[kind, training][at[0]][at[1]][at[2]]


def _nearest(grid: tuple[int, ...], n: int) -> int:
    return min(range(len(grid)), key=lambda k: abs(math.log(grid[k] / n)))
