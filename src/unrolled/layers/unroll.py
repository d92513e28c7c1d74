"""The loop over time: runs any cell over sequences of mixed lengths (`Layout`), forward and backward.

`choice.py` says which way a layer takes: the compiled scan of `compiled.py`, torch's own kernel (`torch_layers`), or one of
the two readable loops here, which are what the others stand for:

- `_Scan`: the cell's written-out backward pass, weight gradients formed as one product over all time steps;
- the plain loop over `Cell.step`, differentiated by torch: the reference, and the path of cells without a backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from unrolled.cells import Cell, ElmanCell, Weights
from unrolled.layers.choice import transformed, way_of
from unrolled.layers.compiled import compiled_layer, differentiable_gradients
from unrolled.layers.embedding import Lookup
from unrolled.layers.layout import Layout
from unrolled.types import State, map_state, state_like, state_tensors

__all__ = ["Attended", "autocast_dtype", "torch_layers", "trajectory", "unroll", "unroll_attending"]


def unroll(
    cell: Cell,
    x: Tensor | Lookup,
    state: State,
    w: Weights,
    *,
    layout: Layout,
    reverse: bool = False,
    into: Tensor | None = None,
) -> tuple[Tensor, State]:
    """Run `cell` over x (T, B, D), or a Lookup, from `state` (B, ...): outputs (T, B, H), the state after each row's end.

    Outputs stand at the position of their input in both directions and are zero behind a row's end; the state of a row
    of length 0 is returned as it came. Weights, input and state may require gradients, also of second order.

    into: zeros (T, B, H), perhaps columns of a larger tensor, that a compiled scan writes its outputs to, where no gradient
    is asked for.
    """
    way = way_of(cell, x, layout, torch.is_grad_enabled())
    if way == "torch":
        inputs = x.expand() if isinstance(x, Lookup) else x
        if layout.order is not None:
            return _padded_lstm(cell, inputs, state, w, layout=layout, reverse=reverse)
        inputs, layers = inputs.flip(0) if reverse else inputs, map_state(lambda s: s.unsqueeze(1), state)
        training = torch.is_grad_enabled()
        outputs, final = torch_layers(cell, inputs, layers, [w], n_layers=1, dropout=0.0, training=training)
        return outputs.flip(0) if reverse else outputs, map_state(lambda s: s.squeeze(1), final)
    device, precise = w.weight_ih.device.type, w.weight_ih.dtype
    low = autocast_dtype(device)
    if low is not None:  # our loops compute in the precision of their weights
        with torch.autocast(device, enabled=False):
            state = map_state(lambda s: s.to(precise), state)
            x = x._replace(table=x.table.to(precise)) if isinstance(x, Lookup) else x.to(precise)
            outputs, final = unroll(cell, x, state, w, layout=layout, reverse=reverse)
        if isinstance(cell, ElmanCell):  # as torch's: made of linear layers, which give bfloat16
            outputs, final = outputs.to(low), map_state(lambda s: s.to(low), final)
        return outputs, final
    tensors = (x.table if isinstance(x, Lookup) else x, *state_tensors(state), *w[:4])
    if way == "compiled" and all(t.dtype == precise for t in tensors if t is not None):
        reference = partial(_loops, cell, layout=layout, reverse=reverse)
        return compiled_layer(cell, x, state, w, layout=layout, reverse=reverse, reference=reference, into=into)
    return _loops(cell, x, state, w, layout=layout, reverse=reverse)


def autocast_dtype(device: str) -> torch.dtype | None:
    """The precision of autocast on this kind of device, or None where it is off."""
    if device == "meta" or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)


def _loops(
    cell: Cell, x: Tensor | Lookup, state: State, w: Weights, *, layout: Layout, reverse: bool
) -> tuple[Tensor, State]:
    """`unroll` by the readable loops."""
    x = x.expand() if isinstance(x, Lookup) else x
    projected = cell.project(layout.pack(x, reverse), w)
    state = layout.sort(state)
    recorded = transformed() or torch.compiler.is_compiling()
    written_out = cell.has_backward and torch.is_grad_enabled() and not recorded
    if written_out:
        kind, tensors = partial(state_like, state), (projected, *state_tensors(state), *cell.recurrent_weights(w))
        packed, *after = _Scan.apply(cell, layout.batch_sizes, kind, len(state_tensors(state)), *tensors)
        final = kind(after)
    else:
        packed, final = _loop(lambda z, s: cell.step(z, s, w), layout.batch_sizes, projected, state, cell.output_size)
    return layout.unpack(packed, reverse), layout.unsort(final)


class Attended(NamedTuple):
    """What each step came to: outputs (T, B, H) of the top layer, contexts (T, B, M), where it looked, T times (B, S); and
    the states of the layers after the last.
    """

    outputs: Tensor
    contexts: Tensor
    looked: list[Tensor]
    layers: list[State]


def unroll_attending(
    cell: Cell,
    projected: Tensor,
    layers: Sequence[State],
    weights: Sequence[Weights],
    look: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    alpha: Tensor,
    context_weight: Tensor,
    between: Sequence[Tensor],
) -> Attended:
    """Run layers of `cell` side by side, where each step first looks somewhere: `look` takes the top layer's last output
    (B, H) and where it looked before (B, S), first `alpha`, and gives the context (B, M), which enters the lowest layer by
    `context_weight`, and the weights (B, S).

    projected (T, B, G*H): the rest of the lowest layer's input; between: a mask (B, H) below each higher layer.
    """
    after, outputs, contexts, looked = list(layers), list[Tensor](), list[Tensor](), list[Tensor]()
    top = state_tensors(after[-1])[0]
    for z in projected:
        context, alpha = look(top, alpha)
        top, after[0] = cell.step(z + functional.linear(context, context_weight), after[0], weights[0])
        for k, mask in enumerate(between, start=1):
            top, after[k] = cell.step(cell.project(top * mask, weights[k]), after[k], weights[k])
        outputs.append(top)
        contexts.append(context)
        looked.append(alpha)
    return Attended(torch.stack(outputs), torch.stack(contexts), looked, after)


def trajectory(cell: Cell, x: Tensor, state: State, w: Weights) -> list[State]:
    """The states of one layer before the first step and after each step of x (T, B, D)."""
    states = [state]

    def step(z: Tensor, state: State) -> tuple[Tensor, State]:
        output, after = cell.step(z, state, w)
        states.append(after)
        return output, after

    _loop(step, (x.shape[1],) * len(x), cell.project(x, w).flatten(0, 1), state, cell.output_size)
    return states


def _loop(
    step: Callable[[Tensor, State], tuple[Tensor, State]],
    batch_sizes: tuple[int, ...],
    projected: Tensor,
    state: State,
    output_size: int,
) -> tuple[Tensor, State]:
    """The loop over time, on the padding-free layout: outputs (N, H) and the state after each row's end."""
    outputs, ended = [], []
    active = _rows(state)
    for z, n in zip(projected.split(batch_sizes), batch_sizes, strict=True):
        if n < active:
            ended.append(map_state(lambda s, n=n: s[n:], state))
            state, active = map_state(lambda s, n=n: s[:n], state), n
        output, state = step(z, state)
        outputs.append(output)
    final = _concatenate([state, *reversed(ended)]) if ended else state
    return torch.cat(outputs) if outputs else projected.new_zeros(0, output_size), final


class _Scan(torch.autograd.Function):
    """Back-propagation through time with the cell's own backward step and one weight product at the end."""

    @staticmethod
    def forward(
        ctx: Any, cell: Cell, batch_sizes: tuple[int, ...], kind: Callable[..., State], n: int, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        projected, state, recurrent = tensors[0], kind(tensors[1 : 1 + n]), tensors[1 + n :]
        steps: list[tuple[Tensor, ...]] = []

        def record(z: Tensor, state: State) -> tuple[Tensor, State]:
            output, after, saved = cell.record(z, state, recurrent)
            steps.append(saved)
            return output, after

        packed, final = _loop(record, batch_sizes, projected, state, cell.output_size)
        ctx.cell, ctx.batch_sizes, ctx.kind, ctx.n_state = cell, batch_sizes, kind, n
        ctx.n_tensors = len(tensors)
        ctx.save_for_backward(*tensors, *(tensor for saved in steps for tensor in saved))
        return packed, *(s.clone() for s in state_tensors(final))  # a saved tensor must not be an output: it would leak

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        saved = ctx.saved_tensors  # read once: under activation checkpointing a second reading fails
        tensors, kept = saved[: ctx.n_tensors], saved[ctx.n_tensors :]
        if torch.is_grad_enabled():
            return *_NOT_TENSORS, *_second_order(ctx, tensors, grads)
        each = len(kept) // max(1, len(ctx.batch_sizes))  # tensors that the cell kept of a step
        steps = [kept[k : k + each] for k in range(0, len(kept), each or 1)]
        recurrent = tensors[1 + ctx.n_state :]
        return *_NOT_TENSORS, *_backward_loop(ctx, grads[0], ctx.kind(grads[1:]), recurrent, steps)


#: Gradients of the arguments of `_Scan` in front of the tensors.
_NOT_TENSORS = (None,) * 4


def _second_order(ctx: Any, tensors: tuple[Tensor, ...], grads: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
    """The gradients as a differentiable function: run the loop again under autograd."""

    def run(inputs: list[Any]) -> tuple[Tensor, ...]:
        state, recurrent = ctx.kind(inputs[1 : 1 + ctx.n_state]), tuple(inputs[1 + ctx.n_state :])
        packed, final = _loop(
            lambda z, s: ctx.cell.record(z, s, recurrent)[:2], ctx.batch_sizes, inputs[0], state, ctx.cell.output_size
        )
        return packed, *state_tensors(final)

    return differentiable_gradients(run, tensors, grads)


def _backward_loop(
    ctx: Any, grad_outputs: Tensor, grad_final: State, recurrent: tuple[Tensor, ...], steps: Sequence[tuple[Tensor, ...]]
) -> tuple[Tensor | None, ...]:
    """Backward through time; rows join as the loop reaches their last step."""
    cell, batch_sizes = ctx.cell, ctx.batch_sizes
    d = tuple(grad_outputs.new_empty(len(grad_outputs), size) for size in cell.gradient_sizes())
    if not batch_sizes:
        return d[0], *state_tensors(grad_final), *(torch.zeros_like(r) for r in recurrent)
    active = batch_sizes[-1]
    grad_state = map_state(lambda s: s[:active], grad_final)
    slices = zip(grad_outputs.split(batch_sizes), *(buffer.split(batch_sizes) for buffer in d), strict=True)
    for saved, (grad_output, *out) in zip(reversed(steps), reversed(list(slices)), strict=True):
        n = len(grad_output)
        if n > active:
            joining = map_state(lambda s, a=active, n=n: s[a:n], grad_final)
            grad_state, active = _concatenate([grad_state, joining]), n
        grad_state = cell.backward(saved, grad_output, grad_state, recurrent, tuple(out))
    if active < _rows(grad_final):
        grad_state = _concatenate([grad_state, map_state(lambda s: s[active:], grad_final)])
    weights: tuple[Tensor | None, ...] = (None,) * len(recurrent)
    if any(ctx.needs_input_grad[len(_NOT_TENSORS) + 1 + ctx.n_state :]):
        x = tuple(torch.cat(parts) for parts in zip(*map(cell.factors, steps), strict=True))
        weights = cell.weight_gradients(d, x)
    return d[0], *state_tensors(grad_state), *weights[: len(recurrent)]


def torch_layers(
    cell: Cell, x: Tensor, state: State, weights: Sequence[Weights], *, n_layers: int, dropout: float, training: bool
) -> tuple[Tensor, State]:
    """Layers and directions by one call of `torch.lstm`, `torch.gru`, `torch.rnn_tanh` or `torch.rnn_relu`.

    x (T, B, D), state (B, L, ...), L = len(weights) = layers times directions.
    """
    kernel = getattr(torch, str(cell.torch_kernel))
    start = [s.transpose(0, 1).contiguous() for s in state_tensors(state)]
    flat = [t for w in weights for t in w if t is not None]
    hidden, bias, both = start if len(start) > 1 else start[0], weights[0].bias_ih is not None, len(weights) > n_layers
    outputs, *final = kernel(x, hidden, flat, bias, n_layers, dropout, training, both, False)
    return outputs, state_like(state, (s.transpose(0, 1) for s in final))


#: Behind a row's end: what is taken from the input gates' sums and added to the forget gates', so that they are 0 and 1.
_SHUT = 1e4
#: oneDNN is fast where the size of the input is a multiple of this.
_ALIGNED = 32


def _padded_lstm(cell: Cell, x: Tensor, state: State, w: Weights, *, layout: Layout, reverse: bool) -> tuple[Tensor, State]:
    """`torch_layers` for one LSTM layer over rows of mixed lengths, padding and all: further inputs, 1 behind a row's end,
    shut the input gates and open the forget gates, and the memory stays as it was at the end.
    """
    rows = layout.gather(x, reverse)  # as they are visited: from each row's own end in reverse
    inside = layout.scatter(rows.new_ones(len(rows), 1), reverse=False)
    further = _ALIGNED - x.shape[2] % _ALIGNED
    gates = torch.tensor([-_SHUT, _SHUT, 0, 0]).to(w.weight_ih).repeat_interleave(cell.hidden_size)
    w = w._replace(weight_ih=torch.cat((w.weight_ih, gates.unsqueeze(1).expand(-1, further)), 1))
    read = torch.cat((layout.scatter(rows, reverse=False), (1 - inside).expand(-1, -1, further)), 2)
    start, training = map_state(lambda s: s.unsqueeze(1), state), torch.is_grad_enabled()
    outputs, final = torch_layers(cell, read, start, [w], n_layers=1, dropout=0.0, training=training)
    lengths = inside.sum(dim=(0, 2), dtype=torch.int64)
    last = outputs[(lengths - 1).clamp(min=0), torch.arange(layout.rows)]
    hidden = torch.where(lengths.unsqueeze(1) > 0, last, state_tensors(state)[0].to(last))
    after = hidden, state_tensors(final)[1].squeeze(1)
    return layout.scatter(layout.gather(outputs, reverse=False), reverse), state_like(state, after)


def _concatenate(states: list[State]) -> State:
    return state_like(states[0], (torch.cat(parts) for parts in zip(*map(state_tensors, states), strict=True)))


def _rows(state: State) -> int:
    return len(state_tensors(state)[0])
