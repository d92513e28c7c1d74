"""Which of the ways through a layer is taken. The choice changes no result beyond rounding.

    compiled   the scans of `unrolled.kernels`: single and double precision on a CPU
    torch      torch's own kernel: full batches only; on a GPU (cuDNN), an LSTM under autocast, where it was measured faster
    loop       the readable loop of `unroll.py`: everything else, and derivatives of derivatives

Where operators are recorded instead of run (`Layout.traced`), no way is taken yet: `operator.py`.

What was measured stands in `measured.py`, which `benchmarks/choose.py` writes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from unrolled.cells import Cell
from unrolled.layers.compiled import scan_for
from unrolled.layers.embedding import Lookup
from unrolled.layers.layout import Layout
from unrolled.layers.measured import RATIOS, ROWS, SIZES, STEPS

__all__ = ["Way", "attends_compiled", "measured_ratio", "only", "transformed", "way_of"]

Way = Literal["compiled", "torch", "loop"]
_forced: list[Way] = []
#: A Lookup saves most of the projection, a third of the layer's work and more: torch must be that much faster.
_PICKED = 0.7
#: In bfloat16 rows of mixed lengths are padded where steps are at least this part of what is then computed.
_STEPS_IN_PADDED = 0.6
#: Where nobody asks for the gradient of the input, it is not computed: a sixth of the layer's work. torch's LSTM does it.
_UNASKED = 0.87


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
    torch_can, compiled_can = _torch_can(cell, layout), _compiled_can(cell, inputs, layout)
    if _forced:
        can = {"torch": torch_can, "compiled": compiled_can, "loop": True}[_forced[-1]]
        return _forced[-1] if can else "loop"
    if inputs.is_cuda:
        return "torch" if torch_can else "loop"
    # oneDNN has an LSTM in bfloat16, worth some padding; for the rest, `unroll` leaves autocast and asks again
    if torch.is_autocast_enabled("cpu"):
        fills = sum(layout.batch_sizes) > _STEPS_IN_PADDED * layout.steps * layout.rows
        can = torch_can or (layout.order is not None and fills and not transformed())
        return "torch" if can and cell.torch_kernel == "lstm" else "loop"
    if torch_can and not compiled_can:  # other precisions, transforms of functions: torch's LSTM is worth having
        return "torch" if cell.torch_kernel == "lstm" and not transformed() else "loop"
    unasked = training and not inputs.requires_grad
    must_be_below = _PICKED if picked and layout.steps > 1 else _UNASKED if unasked else 1
    if torch_can and _ratio(cell, layout, training) < must_be_below:
        return "torch"
    return "compiled" if compiled_can else "loop"


def attends_compiled(cell: Cell, x: Tensor) -> bool:
    """Whether a layer that looks somewhere before each step is run by the compiled kernels, not by the readable loop."""
    return (not _forced or _forced[-1] == "compiled") and _kernels_can(cell, x)


def transformed() -> bool:
    """Whether functions of tensors are being transformed (vmap, jvp, trace): only torch's own operations can be."""
    return (
        torch._C._are_functorch_transforms_active()
        or torch._C._get_tracing_state() is not None
        or forward_ad._current_level >= 0  # dual numbers
    )


def _torch_can(cell: Cell, layout: Layout) -> bool:
    full = layout.order is None and bool(layout.steps and layout.rows)
    return full and cell.torch_kernel is not None and not torch._C._are_functorch_transforms_active()


def _compiled_can(cell: Cell, x: Tensor, layout: Layout) -> bool:
    return bool(layout.batch_sizes) and _kernels_can(cell, x)


def _kernels_can(cell: Cell, x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not transformed()
        and scan_for(cell) is not None
    )


def _ratio(cell: Cell, layout: Layout, training: bool) -> float:
    kind = "rnn" if str(cell.torch_kernel).startswith("rnn") else str(cell.torch_kernel)
    return measured_ratio(kind, training, layout.steps, layout.rows, cell.hidden_size)


@lru_cache(maxsize=10_000)
def measured_ratio(kind: str, training: bool, steps: int, rows: int, size: int) -> float:
    """Time of torch over time of the compiled scan: the table, with straight lines between what was measured."""
    found = np.array(RATIOS[kind, training])
    for grid, n in ((STEPS, steps), (ROWS, rows), (SIZES, size)):
        at = float(np.interp(math.log(n), np.log(grid), range(len(grid))))
        low = min(int(at), len(grid) - 2)
        found = found[low] + (at - low) * (found[low + 1] - found[low])
    return float(found)
