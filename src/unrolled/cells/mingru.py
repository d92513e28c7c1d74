"""The minimal GRU: gates that see only the input, so that the memory follows a linear recurrence.

With z the update gate and h~ the candidate, * elementwise:

    z<t> = sigmoid(W_z x<t> + b_z)
    h~<t> = W_h x<t> + b_h
    h<t> = (1 - z<t>) * h<t-1> + z<t> * h~<t>

It is the notes' GRU without the state in its gates, without the relevance gate and without tanh. No matrix is multiplied
with the state: both products of a layer are done for all steps at once, and what is left of the loop is a weighted mean of
the old state and the candidate. A single layer can therefore not make its memory depend on what it remembers; several
layers can.

Gates are stacked z, h~. There is no weight_hh and no bias_hh.

Backward, with g the whole gradient of h<t>:

    dz = g * (h~ - h<t-1>) * z * (1 - z),   dh~ = g * z,   dh<t-1> = g * (1 - z)

(dz is the gradient in front of the sigmoid.)

Source: Feng et al. 2024, "Were RNNs all we needed?", arXiv:2410.01201, section 3.1. Deviation: the paper computes it by a
parallel scan, in an appendix over logarithms; on a processor core the plain recurrence is faster and more exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unrolled.cells.base import Cell, Weights, sigmoid_backward
from unrolled.types import State

__all__ = ["MinGRUCell"]


@dataclass(frozen=True)
class MinGRUCell(Cell):
    """h' = h + z * (h~ - h); the state is h (B, H). Equations: see the module's docstring."""

    n_gates = 2
    sees_state = False
    has_backward = True

    def projection_bias(self, w: Weights) -> Tensor | None:
        return w.bias_ih

    def recurrent_weights(self, w: Weights) -> tuple[Tensor, ...]:
        return ()

    def step(self, projected: Tensor, state: State, w: Weights) -> tuple[Tensor, Tensor]:
        h, _, _ = self.record(projected, state, ())
        return h, h

    def record(
        self, projected: Tensor, state: State, recurrent: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        assert isinstance(state, Tensor)
        z, candidate = torch.sigmoid(projected[:, : self.hidden_size]), projected[:, self.hidden_size :]
        h = torch.addcmul(state, z, candidate - state)
        return h, h, (state, z, candidate)

    def backward(
        self,
        saved: tuple[Tensor, ...],
        grad_output: Tensor,
        grad_state: State,
        recurrent: tuple[Tensor, ...],
        out: tuple[Tensor, ...],
    ) -> Tensor:
        assert isinstance(grad_state, Tensor)
        previous, z, candidate = saved
        dz, dh = out[0].chunk(2, dim=1)
        g = grad_output + grad_state
        sigmoid_backward(g * (candidate - previous), z, grad_input=dz)
        torch.mul(g, z, out=dh)
        return g - dh

    def factors(self, saved: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return ()

    def weight_gradients(self, d: tuple[Tensor, ...], x: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return ()

    def gates(self, projected: Tensor, state: State, w: Weights) -> dict[str, Tensor]:
        _, _, (_, z, candidate) = self.record(projected, state, ())
        return {"update": z, "candidate": candidate}
