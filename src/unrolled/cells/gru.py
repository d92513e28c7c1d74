"""The gated recurrent unit: an update gate decides how much of the memory is renewed at each step.

The notes' equations (relevance gate r, update gate u, candidate c~), * elementwise, [a, x] stacked:

    u = sigmoid(W_u [c<t-1>, x<t>] + b_u)
    r = sigmoid(W_r [c<t-1>, x<t>] + b_r)
    c~<t> = tanh(W_c [r * c<t-1>, x<t>] + b_c)
    c<t> = u * c~<t> + (1 - u) * c<t-1>,     a<t> = c<t>

Deviations, all of them:

- The notes print c~<t-1> in the last line; the candidate of step t is meant.
- Stored is torch's z = 1 - u, the weight of the OLD state: c<t> = (1 - z) * c~<t> + z * c<t-1>. Since
  1 - sigmoid(v) = sigmoid(-v), weights in the notes' convention become torch's by negating the rows H:2H of every matrix
  and bias. Keeping torch's form inside makes `load_state_dict` right in both directions without conversion.
- `reset="before"` is the notes' (and Cho et al.'s) form: r multiplies the state BEFORE the matrix product.
  `reset="after"`, the default, is cuDNN's and `torch.nn.GRU`'s: c~ = tanh(W_cx x + b_i + r * (W_cc c + b_h)); all three
  products with the state are then one. They are different functions: no conversion of weights exists between them.
- Each gate has two biases, as in `torch.nn`; the notes' one bias is their sum (except b_h under `after`, inside r * (...)).

Gates are stacked r, z, c~ along the first axis of the weights, as in `torch.nn.GRU`.

Backward, with n the candidate, g the whole gradient of c<t>, and dr, dz, dn gradients in front of the sigmoid or tanh:

    dn = g * (1 - z) * (1 - n^2)
    dz = g * (c<t-1> - n) * z * (1 - z)
    after:   dr = dn * (W_cc c + b_h) * r * (1 - r),  dc<t-1> = g * z + W^T [dr, dz, dn * r]
    before:  dq = W_cc^T dn,  dr = dq * c<t-1> * r * (1 - r),  dc<t-1> = g * z + dq * r + W_rz^T [dr, dz]

The term g * z is the path on which the gradient survives distance: no matrix and no saturating function stand on it.

Sources: Cho et al. 2014, arXiv:1406.1078 (before); cuDNN's documentation of its GRU (after).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from unrolled.cells.base import Cell, Weights, sigmoid_backward, tanh_backward
from unrolled.errors import ConfigError
from unrolled.types import State

__all__ = ["GRUCell"]


@dataclass(frozen=True)
class GRUCell(Cell):
    """c' = (1 - z) * c~ + z * c; the state is c (B, H). Equations: see the module's docstring."""

    reset: Literal["after", "before"] = "after"

    n_gates = 3
    has_backward = True

    def __post_init__(self) -> None:
        if self.reset not in ("after", "before"):
            raise ConfigError(f"reset must be 'after' (torch, cuDNN) or 'before' (the notes), got {self.reset!r}")

    @property
    def torch_kernel(self) -> str | None:
        return "gru" if self.reset == "after" else None

    def projection_bias(self, w: Weights) -> Tensor | None:
        if w.bias_ih is None or w.bias_hh is None:
            return None
        if self.reset == "before":
            return w.bias_ih + w.bias_hh
        return w.bias_ih + functional.pad(w.bias_hh[: 2 * self.hidden_size], (0, self.hidden_size))

    def recurrent_weights(self, w: Weights) -> tuple[Tensor, ...]:
        """(W_hh,), and under `after` the bias b_h that stands inside r * (...)."""
        if self.reset == "before" or w.bias_hh is None:
            return (w.weight_hh,)
        return w.weight_hh, w.bias_hh[2 * self.hidden_size :]

    def step(self, projected: Tensor, state: State, w: Weights) -> tuple[Tensor, Tensor]:
        c, _, _ = self.record(projected, state, self.recurrent_weights(w))
        return c, c

    def record(
        self, projected: Tensor, state: State, recurrent: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        assert isinstance(state, Tensor)
        size = self.hidden_size
        if self.reset == "after":
            from_state = state @ recurrent[0].t()  # (B, 3H)
            r, z = torch.sigmoid(projected[:, : 2 * size] + from_state[:, : 2 * size]).chunk(2, dim=1)
            inner = from_state[:, 2 * size :]
            if len(recurrent) == 2:
                inner = inner + recurrent[1]
            n = torch.tanh(torch.addcmul(projected[:, 2 * size :], r, inner))
        else:
            gates = torch.addmm(projected[:, : 2 * size], state, recurrent[0][: 2 * size].t())
            r, z = torch.sigmoid(gates).chunk(2, dim=1)
            inner = r * state
            n = torch.tanh(torch.addmm(projected[:, 2 * size :], inner, recurrent[0][2 * size :].t()))
        c = n + z * (state - n)
        return c, c, (state, r, z, n, inner)

    def gradient_sizes(self) -> tuple[int, ...]:
        """[dr, dz, dn], and under `after` [dr, dz, dn * r], the gradient in front of W_hh."""
        return (3 * self.hidden_size,) * (2 if self.reset == "after" else 1)

    def factors(self, saved: Any) -> tuple[Tensor, ...]:
        """c<t-1>, and under `before` r * c<t-1>."""
        previous, _, _, _, inner = saved
        return (previous,) if self.reset == "after" else (previous, inner)

    def backward(
        self, saved: Any, grad_output: Tensor, grad_state: State, recurrent: tuple[Tensor, ...], out: tuple[Tensor, ...]
    ) -> Tensor:
        assert isinstance(grad_state, Tensor)
        previous, r, z, n, inner = saved
        size = self.hidden_size
        g = grad_output + grad_state
        kept = g * z
        dr, dz, dn = out[0].chunk(3, dim=1)
        tanh_backward(g - kept, n, grad_input=dn)
        sigmoid_backward(g * (previous - n), z, grad_input=dz)
        if self.reset == "after":
            sigmoid_backward(dn * inner, r, grad_input=dr)
            out[1].copy_(out[0])
            out[1][:, 2 * size :].mul_(r)
            return torch.addmm(kept, out[1], recurrent[0])
        dq = dn @ recurrent[0][2 * size :]
        torch.mul(dq * inner, 1 - r, out=dr)  # inner = r * c<t-1>
        return torch.addmm(torch.addcmul(kept, dq, r), out[0][:, : 2 * size], recurrent[0][: 2 * size])

    def weight_gradients(self, d: tuple[Tensor, ...], x: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        size = self.hidden_size
        if self.reset == "before":
            (before_gates,), (previous, inner) = d, x
            return (torch.cat((before_gates[:, : 2 * size].t() @ previous, before_gates[:, 2 * size :].t() @ inner)),)
        return d[1].t() @ x[0], d[1][:, 2 * size :].sum(0)

    def gates(self, projected: Tensor, state: State, w: Weights) -> dict[str, Tensor]:
        _, _, (_, r, z, n, _) = self.record(projected, state, self.recurrent_weights(w))
        return {"relevance": r, "update": 1 - z, "candidate": n}
