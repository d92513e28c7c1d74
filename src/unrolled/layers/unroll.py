"""The only loop over time: runs any cell over sequences of mixed lengths, forward and backward.

Sequences are laid out without padding. Rows are sorted by length, longest first, and the steps follow each other; the
first `batch_sizes[t]` rows are still running at step t, so the active batch shrinks as sequences end:

    lengths 3, 1, 2   ->   rows sorted 0, 2, 1:   [r0 r2 r1 | r0 r2 | r0]   batch_sizes = [3, 2, 1],  N = 6

Padding is neither computed nor read. The reverse direction of a row starts at the row's own end.

Three ways through, the same result to rounding:

- torch's own kernel, where it is the fastest (LSTM on full batches: oneDNN; everything torch knows on a GPU: cuDNN);
- `_Scan`: the cell's written-out backward pass, weight gradients formed as one product over all time steps;
- the plain loop over `Cell.step`, differentiated by torch: the reference, and the path of cells without a backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unrolled.cells import Cell, Weights
from unrolled.types import LSTMState, State

__all__ = ["Layout", "trajectory", "unroll"]


@dataclass(frozen=True)
class Layout:
    """Where each time step of each row lies in the padding-free order. Made once per batch, shared by all layers.

    batch_sizes: number of rows still running at step t, never increasing, positive
    order: (B,) rows by falling length, or None where all rows have T steps
    forward, reverse: (N,) positions in the flattened (T * B) input, in running order of either direction
    """

    steps: int
    rows: int
    batch_sizes: tuple[int, ...]
    order: Tensor | None = None
    forward: Tensor | None = None
    reverse: Tensor | None = None

    @staticmethod
    def full(steps: int, rows: int) -> Layout:
        """All rows have `steps` time steps."""
        return Layout(steps, rows, (rows,) * steps if rows else ())

    @staticmethod
    def of(lengths: Tensor, steps: int, device: torch.device) -> Layout:
        """Rows of the given lengths (B,), each 0..steps."""
        rows = len(lengths)
        if bool((lengths == steps).all()):
            return Layout.full(steps, rows)
        by_length, order = lengths.cpu().sort(descending=True, stable=True)
        t = torch.arange(steps).unsqueeze(1)
        running = t < by_length  # (T, B), columns sorted
        backwards = (by_length - 1 - t).clamp(min=0)
        return Layout(
            steps,
            rows,
            tuple(n for n in running.sum(1).tolist() if n),
            order.to(device),
            (t * rows + order)[running].to(device),
            (backwards * rows + order)[running].to(device),
        )

    def pack(self, x: Tensor, reverse: bool) -> Tensor:
        """(T, B, D) -> (N, D) in running order."""
        if self.order is None:
            return (x.flip(0) if reverse else x).reshape(self.steps * self.rows, x.shape[2])
        index = self.reverse if reverse else self.forward
        assert index is not None
        return x.reshape(self.steps * self.rows, x.shape[2]).index_select(0, index)

    def unpack(self, packed: Tensor, reverse: bool) -> Tensor:
        """(N, H) in running order -> (T, B, H), zero behind the end of each row."""
        if self.order is None:
            x = packed.view(self.steps, self.rows, packed.shape[1])
            return x.flip(0) if reverse else x
        index = self.reverse if reverse else self.forward
        assert index is not None
        x = packed.new_zeros(self.steps * self.rows, packed.shape[1]).index_copy(0, index, packed)
        return x.view(self.steps, self.rows, packed.shape[1])

    def sort(self, state: State) -> State:
        """Rows of the state (B, ...) in running order."""
        return state if self.order is None else _map(lambda s: s.index_select(0, self.order), state)

    def unsort(self, state: State) -> State:
        """The inverse of `sort`."""
        if self.order is None:
            return state
        inverse = torch.argsort(self.order)
        return _map(lambda s: s.index_select(0, inverse), state)


def unroll(
    cell: Cell, x: Tensor, state: State, w: Weights, *, layout: Layout, reverse: bool = False
) -> tuple[Tensor, State]:
    """Run `cell` over x (T, B, D) from `state` (B, ...); return outputs (T, B, H) and the state after each row's end.

    Outputs stand at the position of their input in both directions and are zero behind a row's end; the state of a row
    of length 0 is returned as it came. Weights, input and state may require gradients, also of second order.
    """
    if _torch_serves(cell, x, layout):
        return _torch_kernel(cell, x.flip(0) if reverse else x, state, w, flip=reverse)
    projected = cell.project(layout.pack(x, reverse), w)
    state = layout.sort(state)
    if cell.has_backward and torch.is_grad_enabled():
        recurrent = cell.recurrent_weights(w)
        results = _Scan.apply(cell, layout.batch_sizes, len(_tensors(state)), projected, *_tensors(state), *recurrent)
        packed, final = results[0], _like(state, results[1:])
    else:
        packed, final = _loop(cell, layout.batch_sizes, projected, state, cell.recurrent_weights(w), w)
    return layout.unpack(packed, reverse), layout.unsort(final)


def trajectory(cell: Cell, x: Tensor, state: State, w: Weights) -> list[State]:
    """The states of one layer before the first step and after each step of x (T, B, D), by the reference loop."""
    states = [state]
    for z in cell.project(x, w):
        states.append(cell.step(z, states[-1], w)[1])
    return states


class _Scan(torch.autograd.Function):
    """Back-propagation through time with the cell's own backward step and one weight product at the end."""

    @staticmethod
    def forward(ctx: Any, cell: Cell, batch_sizes: tuple[int, ...], n_state: int, *tensors: Tensor) -> Any:
        projected, state, recurrent = tensors[0], tensors[1 : 1 + n_state], tensors[1 + n_state :]
        ctx.cell, ctx.batch_sizes, ctx.n_state, ctx.saved = cell, batch_sizes, n_state, []
        ctx.save_for_backward(*tensors)
        packed, final = _loop(cell, batch_sizes, projected, _state(state), recurrent, None, record=ctx.saved)
        return packed, *(s.clone() for s in _tensors(final))  # a saved tensor must not be an output: it would leak

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        inputs = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: differentiate the reference loop instead
            wanted = [t for t in inputs if t.requires_grad]
            projected, state, recurrent = inputs[0], inputs[1 : 1 + ctx.n_state], inputs[1 + ctx.n_state :]
            packed, final = _loop(ctx.cell, ctx.batch_sizes, projected, _state(state), recurrent, None)
            found = iter(torch.autograd.grad((packed, *_tensors(final)), wanted, grads, create_graph=True))
            return None, None, None, *(next(found) if t.requires_grad else None for t in inputs)
        return None, None, None, *_backward_loop(ctx, grads[0], _state(grads[1:]), inputs[1 + ctx.n_state :])


def _loop(
    cell: Cell,
    batch_sizes: tuple[int, ...],
    projected: Tensor,
    state: State,
    recurrent: tuple[Tensor, ...],
    w: Weights | None,
    record: list[Any] | None = None,
) -> tuple[Tensor, State]:
    """Forward through time on the padding-free layout; `record` receives what each backward step needs."""
    outputs, ended = [], []
    active = _rows(state)
    for z, n in zip(projected.split(batch_sizes), batch_sizes, strict=True):
        if n < active:
            ended.append(_map(lambda s, n=n: s[n:], state))
            state, active = _map(lambda s, n=n: s[:n], state), n
        if w is not None and not cell.has_backward:
            output, state = cell.step(z, state, w)
        else:
            output, state, saved = cell.record(z, state, recurrent)
            if record is not None:
                record.append(saved)
        outputs.append(output)
    final = _concatenate([state, *reversed(ended)]) if ended else state
    packed = torch.cat(outputs) if outputs else projected.new_zeros(0, cell.output_size)
    return packed, final


def _backward_loop(
    ctx: Any, grad_outputs: Tensor, grad_final: State, recurrent: tuple[Tensor, ...]
) -> tuple[Tensor | None, ...]:
    """Backward through time; rows join as the loop reaches their last step."""
    cell, batch_sizes = ctx.cell, ctx.batch_sizes
    if not batch_sizes:
        empty = grad_outputs.new_zeros(0, cell.n_gates * cell.hidden_size)
        return empty, *_tensors(grad_final), *(torch.zeros_like(r) for r in recurrent)
    grad_projected: list[Tensor] = []
    products: list[tuple[tuple[Tensor, Tensor], ...]] = []
    active = batch_sizes[-1]
    grad_state = _map(lambda s: s[:active], grad_final)
    for grad_output, saved in zip(reversed(grad_outputs.split(batch_sizes)), reversed(ctx.saved), strict=True):
        n = len(grad_output)
        if n > active:
            joining = _map(lambda s, a=active, n=n: s[a:n], grad_final)
            grad_state, active = _concatenate([grad_state, joining]), n
        step = cell.backward(saved, grad_output, grad_state, recurrent)
        grad_state = step.state
        grad_projected.append(step.projected)
        products.append(step.products)
    rest = _map(lambda s: s[active:], grad_final)
    grad_state = _concatenate([grad_state, rest]) if active < _rows(grad_final) else grad_state
    weights = (
        cell.weight_gradients(
            tuple((torch.cat([d for d, _ in p]), torch.cat([x for _, x in p])) for p in zip(*products, strict=True))
        )
        if any(ctx.needs_input_grad[4 + ctx.n_state :])
        else (None,) * len(recurrent)
    )
    return torch.cat(grad_projected[::-1]), *_tensors(grad_state), *weights[: len(recurrent)]


def _torch_serves(cell: Cell, x: Tensor, layout: Layout) -> bool:
    """Whether torch's own kernel is the one to use: on a GPU always, on a CPU only for the LSTM, both on full batches."""
    fits = cell.torch_kernel is not None and layout.order is None and layout.steps > 0 and layout.rows > 0
    return fits and (x.is_cuda or cell.torch_kernel == "lstm")


def _torch_kernel(cell: Cell, x: Tensor, state: State, w: Weights, *, flip: bool) -> tuple[Tensor, State]:
    """One layer and direction by `torch.lstm`, `torch.gru`, `torch.rnn_tanh` or `torch.rnn_relu`."""
    kernel = getattr(torch, str(cell.torch_kernel))
    weights = [t for t in w if t is not None]
    start = [s.unsqueeze(0).contiguous() for s in _tensors(state)]
    hidden = start if len(start) > 1 else start[0]
    outputs, *final = kernel(x, hidden, weights, w.bias_ih is not None, 1, 0.0, torch.is_grad_enabled(), False, False)
    return (outputs.flip(0) if flip else outputs), _like(state, tuple(s.squeeze(0) for s in final))


def _tensors(state: State) -> tuple[Tensor, ...]:
    return (state,) if isinstance(state, Tensor) else tuple(state)


def _state(tensors: tuple[Tensor, ...]) -> State:
    return tensors[0] if len(tensors) == 1 else LSTMState(*tensors)


def _like(state: State, tensors: tuple[Tensor, ...]) -> State:
    return tensors[0] if isinstance(state, Tensor) else type(state)(*tensors)


def _map(function: Any, state: State) -> State:
    return _like(state, tuple(function(s) for s in _tensors(state)))


def _concatenate(states: list[State]) -> State:
    return _like(states[0], tuple(torch.cat(parts) for parts in zip(*map(_tensors, states), strict=True)))


def _rows(state: State) -> int:
    return len(_tensors(state)[0])
