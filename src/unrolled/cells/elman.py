"""The simple recurrent network (Elman, 1990): the "traditional RNN" of the notes.

Forward, for the step from t-1 to t, with g1 = tanh or relu:

    a<t> = g1(W_aa a<t-1> + W_ax x<t> + b_a)

The notes stack W_a = [W_aa, W_ax] and multiply the stacked vector [a<t-1>; x<t>]: the same product, here taken apart so
that W_ax x<t> of all steps is one matrix product before the loop. Their b_a is `bias_ih + bias_hh`.

Backward, with da the gradient of a<t> from the output at t and from step t+1 together:

    dz = da * g1'(z)            tanh'(z) = 1 - a<t>^2,  relu'(z) = [a<t> > 0]
    da<t-1> = W_aa^T dz,   dW_aa = sum_t dz a<t-1>^T,   dW_ax = sum_t dz x<t>^T,   db_a = sum_t dz

The repeated factor W_aa^T diag(g1') is why gradients vanish or explode over distance: see docs/gates.md.

Source: J. L. Elman, "Finding structure in time", Cognitive Science 14 (1990).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from unrolled.cells.base import Cell, Weights, tanh_backward
from unrolled.errors import ConfigError
from unrolled.types import State

__all__ = ["ElmanCell"]


@dataclass(frozen=True)
class ElmanCell(Cell):
    """a' = g1(W_ax x + W_aa a + b); the state is a (B, H). See the module's docstring for the backward pass."""

    nonlinearity: Literal["tanh", "relu"] = "tanh"

    n_gates = 1
    has_backward = True

    def __post_init__(self) -> None:
        if self.nonlinearity not in ("tanh", "relu"):
            raise ConfigError(f"nonlinearity must be 'tanh' or 'relu', got {self.nonlinearity!r}")

    @property
    def torch_kernel(self) -> str | None:
        return f"rnn_{self.nonlinearity}"

    def _activate(self, z: Tensor) -> Tensor:
        return torch.tanh(z) if self.nonlinearity == "tanh" else functional.relu(z)

    def step(self, projected: Tensor, state: State, w: Weights) -> tuple[Tensor, Tensor]:
        assert isinstance(state, Tensor)
        a = self._activate(torch.addmm(projected, state, w.weight_hh.t()))
        return a, a

    def record(
        self, projected: Tensor, state: State, recurrent: tuple[Tensor, ...]
    ) -> tuple[Tensor, State, tuple[Tensor, Tensor]]:
        assert isinstance(state, Tensor)
        z = torch.addmm(projected, state, recurrent[0].t())
        a = z.tanh_() if self.nonlinearity == "tanh" else z.relu_()
        return a, a, (state, a)

    def backward(
        self,
        saved: tuple[Tensor, Tensor],
        grad_output: Tensor,
        grad_state: State,
        recurrent: tuple[Tensor, ...],
        out: tuple[Tensor, ...],
    ) -> Tensor:
        assert isinstance(grad_state, Tensor)
        _, a = saved
        (dz,) = out
        da = grad_output + grad_state
        if self.nonlinearity == "tanh":
            tanh_backward(da, a, grad_input=dz)
        else:
            torch.mul(da, a > 0, out=dz)
        return dz @ recurrent[0]
