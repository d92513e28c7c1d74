"""Long short-term memory: separate gates for what to write, what to keep and what to show.

The notes' equations (update gate u, forget gate f, output gate o, candidate c~), * elementwise, [a, x] stacked:

    u = sigmoid(W_u [a<t-1>, x<t>] + b_u)
    f = sigmoid(W_f [a<t-1>, x<t>] + b_f)
    o = sigmoid(W_o [a<t-1>, x<t>] + b_o)
    c~<t> = tanh(W_c [a<t-1>, x<t>] + b_c)
    c<t> = u * c~<t> + f * c<t-1>
    a<t> = o * tanh(c<t>)

Deviations, all of them:

- The notes print c~<t-1> in the memory's update; the candidate of step t is meant.
- The notes' candidate still prints `r * c<t-1>` although their text drops that gate; meant is a<t-1>, as above.
- Names in the code are torch's: i is the notes' update gate u, f and o are the same, g is the candidate c~.
- Each gate has two biases, as in `torch.nn`; the notes' one bias is their sum.
- With `projection_size` P > 0 (Sak et al. 2014, `proj_size` in torch) the activation is W_hr (o * tanh(c)), of size P.

Gates are stacked i, f, g, o along the first axis of the weights, as in `torch.nn.LSTM`.

Backward, with da and dc the gradients of a<t> and c<t> (da already multiplied by W_hr^T under a projection):

    do = da * tanh(c) * o * (1 - o)
    dc = dc + da * o * (1 - tanh(c)^2)
    di = dc * g * i * (1 - i),   df = dc * c<t-1> * f * (1 - f),   dg = dc * i * (1 - g^2)
    dc<t-1> = dc * f,            da<t-1> = W^T [di, df, dg, do]

(di, df, dg, do are gradients in front of the sigmoid or tanh.)

dc<t-1> = dc * f is the path on which the gradient survives distance: with f near 1 nothing shrinks it.

Sources: Hochreiter and Schmidhuber 1997, Neural Computation 9(8); forget gate: Gers et al. 2000; projection: Sak et al.
2014, arXiv:1402.1128.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unrolled.cells.base import Cell, Weights, tanh_backward
from unrolled.errors import ConfigError
from unrolled.types import LSTMState, State

__all__ = ["LSTMCell"]


@dataclass(frozen=True)
class LSTMCell(Cell):
    """c' = f * c + i * g, a' = o * tanh(c'); the state is LSTMState(a (B, P), c (B, H)), P = H without projection."""

    projection_size: int = 0

    n_gates = 4
    has_backward = True
    torch_kernel = "lstm"

    def __post_init__(self) -> None:
        if not 0 <= self.projection_size < self.hidden_size:
            raise ConfigError(
                f"projection_size must be 0 (none) or smaller than hidden_size {self.hidden_size}, "
                f"got {self.projection_size}"
            )

    @property
    def output_size(self) -> int:
        return self.projection_size or self.hidden_size

    def initial_state(self, batch_size: int, like: Tensor) -> LSTMState:
        return LSTMState(self._zeros(batch_size, self.output_size, like), self._zeros(batch_size, self.hidden_size, like))

    def recurrent_weights(self, w: Weights) -> tuple[Tensor, ...]:
        return (w.weight_hh,) if w.weight_hr is None else (w.weight_hh, w.weight_hr)

    def step(self, projected: Tensor, state: State, w: Weights) -> tuple[Tensor, LSTMState]:
        a, next_state, _ = self.record(projected, state, self.recurrent_weights(w))
        return a, next_state

    def record(
        self, projected: Tensor, state: State, recurrent: tuple[Tensor, ...]
    ) -> tuple[Tensor, LSTMState, tuple[Tensor, ...]]:
        assert isinstance(state, LSTMState)
        size = self.hidden_size
        z = torch.addmm(projected, state.hidden, recurrent[0].t())
        i, f = torch.sigmoid(z[:, : 2 * size]).chunk(2, dim=1)
        g = torch.tanh(z[:, 2 * size : 3 * size])
        o = torch.sigmoid(z[:, 3 * size :])
        c = torch.addcmul(f * state.cell, i, g)
        squashed = torch.tanh(c)
        shown = o * squashed
        a = shown if len(recurrent) == 1 else shown @ recurrent[1].t()
        return a, LSTMState(a, c), (state.hidden, state.cell, i, f, g, o, squashed, shown)

    def gradient_sizes(self) -> tuple[int, ...]:
        """[di, df, dg, do], and with a projection da, the gradient in front of W_hr."""
        return (4 * self.hidden_size, *((self.projection_size,) if self.projection_size else ()))

    def factors(self, saved: Any) -> tuple[Tensor, ...]:
        """a<t-1>, and with a projection o * tanh(c)."""
        return (saved[0], saved[-1]) if self.projection_size else (saved[0],)

    def backward(
        self, saved: Any, grad_output: Tensor, grad_state: State, recurrent: tuple[Tensor, ...], out: tuple[Tensor, ...]
    ) -> LSTMState:
        assert isinstance(grad_state, LSTMState)
        _, memory, i, f, g, o, squashed, shown = saved
        da = grad_output + grad_state.hidden
        if self.projection_size:
            out[1].copy_(da)
            da = da @ recurrent[1]
        di, df, dg, do = out[0].chunk(4, dim=1)
        torch.mul(da * shown, 1 - o, out=do)
        dc = torch.addcmul(grad_state.cell, da * o, 1 - squashed * squashed)
        dc_i, dc_f = dc * i, dc * f
        torch.mul(dc_i * g, 1 - i, out=di)
        torch.mul(dc_f * memory, 1 - f, out=df)
        tanh_backward(dc_i, g, grad_input=dg)
        return LSTMState(out[0] @ recurrent[0], dc_f)

    def gates(self, projected: Tensor, state: State, w: Weights) -> dict[str, Tensor]:
        _, _, (_, _, i, f, g, o, _, _) = self.record(projected, state, self.recurrent_weights(w))
        return {"update": i, "forget": f, "output": o, "candidate": g}
