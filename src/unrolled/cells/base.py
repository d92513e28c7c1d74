"""What a cell is: the equations of one time step, forward and backward, without parameters of its own.

A cell is given its weights at every call. One object can therefore serve any number of layers, and weight drop,
averaged weights or a beam need no special case: whoever calls decides which weights are used.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from unrolled.types import State

__all__ = ["Cell", "Weights", "sigmoid_backward", "tanh_backward"]


#: dy * (1 - y^2) and dy * y * (1 - y) in one pass each, `out=` allowed: torch's own, which its autograd uses.
tanh_backward = torch.ops.aten.tanh_backward.grad_input
sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input


class Weights(NamedTuple):
    """The parameters of one cell in the layout of `torch.nn`: gates stacked along the first axis.

    weight_ih: (G*H, D), applied to the input         bias_ih: (G*H,) or None
    weight_hh: (G*H, P), applied to the state         bias_hh: (G*H,) or None; no rows where no gate sees the state
    weight_hr: (P, H), the LSTM's projection, or None (then P = H)
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None = None
    bias_hh: Tensor | None = None
    weight_hr: Tensor | None = None


@dataclass(frozen=True)
class Cell(ABC):
    """One time step of a recurrent network. B rows, D input size, H hidden size, G gates.

    `project` and `step` define the cell. `record` and `backward` are the same step with its derivative written out;
    they make training fast and are what a student wants to read. A cell without them is differentiated by torch.
    """

    hidden_size: int

    #: Number of gates: rows of `weight_ih` over the hidden size.
    n_gates: ClassVar[int]
    #: Whether the gates see the state: without, there is no `weight_hh` and no `bias_hh`.
    sees_state: ClassVar[bool] = True
    #: Whether `record` and `backward` exist.
    has_backward: ClassVar[bool] = False

    @property
    def output_size(self) -> int:
        """Size of what a step returns: H, except for a projected LSTM."""
        return self.hidden_size

    @property
    def torch_kernel(self) -> str | None:
        """Name of torch's own kernel for the same function, if there is one."""
        return None

    def initial_state(self, batch_size: int, like: Tensor) -> State:
        """The zero state for `batch_size` rows, with dtype and device of `like`: (B, H), unless a cell carries more."""
        return self._zeros(batch_size, self.hidden_size, like)

    def project(self, x: Tensor, w: Weights) -> Tensor:
        """(..., D) -> (..., G*H): all that the step needs of its input, for all time steps in one product."""
        return functional.linear(x, w.weight_ih, self.projection_bias(w))

    def projection_bias(self, w: Weights) -> Tensor | None:
        """The biases that may be added before the loop: both of them, since their gates see only their sum."""
        return None if w.bias_ih is None or w.bias_hh is None else w.bias_ih + w.bias_hh

    def recurrent_weights(self, w: Weights) -> tuple[Tensor, ...]:
        """The weights a step itself uses, in the order in which `backward` lists its products."""
        return (w.weight_hh,)

    @abstractmethod
    def step(self, projected: Tensor, state: State, w: Weights) -> tuple[Tensor, State]:
        """One time step: projected input (B, G*H) and state -> output (B, H) and next state."""

    def record(
        self, projected: Tensor, state: State, recurrent: tuple[Tensor, ...]
    ) -> tuple[Tensor, State, tuple[Tensor, ...]]:
        """`step`, and the tensors that `backward` needs of it, as many at each step."""
        raise NotImplementedError(f"{type(self).__name__} has no written-out backward pass")

    def backward(
        self, saved: Any, grad_output: Tensor, grad_state: State, recurrent: tuple[Tensor, ...], out: tuple[Tensor, ...]
    ) -> State:
        """One step of back-propagation through time: the gradient of the state before the step.

        Given are the gradients of the step's output and of the state after it. The gradients in front of the gates are
        written into `out`, this step's rows of buffers (N, size) with the sizes of `gradient_sizes`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no written-out backward pass")

    def gradient_sizes(self) -> tuple[int, ...]:
        """Columns of the buffers that `backward` fills; the first is the gradient of the projected input, G*H."""
        return (self.n_gates * self.hidden_size,)

    def factors(self, saved: Any) -> tuple[Tensor, ...]:
        """What the recurrent weights were multiplied with in the step: the x of each product W x."""
        return (saved[0],)

    def weight_gradients(self, d: tuple[Tensor, ...], x: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Gradients of `recurrent_weights`: d (N, size) as `backward` filled them, x (N, ...) the factors of all steps.

        The gradient of W is the sum over time of d<t> x<t>^T: ONE product when all steps are done.
        """
        return tuple(a.t() @ b for a, b in zip(d, x, strict=True))

    def gates(self, projected: Tensor, state: State, w: Weights) -> dict[str, Tensor]:
        """The gates' activations (B, H) by name, for pictures. Empty where a cell has no gates."""
        return {}

    def _zeros(self, batch_size: int, size: int, like: Tensor) -> Tensor:
        return torch.zeros(batch_size, size, dtype=like.dtype, device=like.device)
