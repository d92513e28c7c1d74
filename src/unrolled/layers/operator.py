"""A layer and direction as one operator of torch, `unrolled::recurrent`, where operators are recorded instead of run.

`torch.compile`, `torch.export`, `make_fx`, `FakeTensorMode` and the device meta ask what an operator's results look like
(`register_fake`), not what they are; lengths and batch sizes stay symbols, so that one graph serves all of them. When the
operator runs, it makes the layout and takes one of the three ways of `choice.py`. In ordinary use of a layer there is no
operator: its dispatch costs some 50 microseconds.

`unrolled::recurrent_backward` is its gradient. Where the compiled scans run, the forward pass returns what they keep, as
one more result; elsewhere the backward pass runs the layer again. It has no derivative of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled.cells import Cell, ElmanCell, GRUCell, LSTMCell, MinGRUCell, Weights
from unrolled.errors import ShapeError
from unrolled.kernels.bounds import check_shape
from unrolled.kernels.scan import NO_INDEX
from unrolled.layers.compiled import Operation, Run, as_array, check_scan, run_backward, run_forward, scan_for
from unrolled.layers.layout import Layout
from unrolled.layers.unroll import autocast_dtype, unroll
from unrolled.types import LSTMState, State, check_lengths, map_state, state_like, state_tensors

__all__ = ["operator_layer"]

#: The cells by their names in graphs, made for a hidden size and a projection size.
_CELLS: dict[str, Callable[[int, int], Cell]] = {
    "rnn_tanh": lambda size, _: ElmanCell(size, "tanh"),
    "rnn_relu": lambda size, _: ElmanCell(size, "relu"),
    "gru": lambda size, _: GRUCell(size, "after"),
    "gru_before": lambda size, _: GRUCell(size, "before"),
    "mingru": lambda size, _: MinGRUCell(size),
    "lstm": LSTMCell,
}
#: Widths, over the hidden size, of the arrays that the scan keeps besides its outputs: r * c or the like, and the gates.
_KEPT: dict[str, tuple[int, ...]] = {
    "rnn_tanh": (),
    "rnn_relu": (),
    "gru": (1, 3),
    "gru_before": (1, 3),
    "mingru": (2,),
    "lstm": (1, 4),
}

# Added in torch 2.7: older releases compute and keep what a backward pass needs in exported programs, too.
_is_exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", lambda: False)


def operator_layer(
    cell: Cell, x: Tensor, state: State, w: Weights, *, layout: Layout, reverse: bool
) -> tuple[Tensor, State]:
    """`unroll`, recorded as an operator: x (T, B, D), state (B, ...) -> outputs (T, B, P), the state after each row's end.

    A cell of somebody else has no operator; its steps are recorded one by one, for rows of T steps only.
    """
    kind = _kind(cell)
    if kind is None:
        if layout.lengths is not None:
            raise TypeError(f"{cell} has no operator: it cannot be compiled or exported with rows of mixed lengths")
        return unroll(cell, x, state, w, layout=Layout.full(layout.steps, layout.rows), reverse=reverse)
    low, precise = autocast_dtype(x.device.type), w.weight_ih.dtype
    if low is not None:  # as `unroll`: torch's kernel of the LSTM computes in bfloat16, our scans in full precision
        inner = low if kind == "lstm" and layout.lengths is None else precise
        x, state = x.to(inner), map_state(lambda s: s.to(inner), state)
        cast = [t if t is None else t.to(inner) for t in w]
        w = Weights(*cast)  # type: ignore[arg-type]
    tensors = (x, *state_tensors(state), *w)
    keep = torch.is_grad_enabled() and not _is_exporting() and any(t is not None and t.requires_grad for t in tensors)
    memory = state.cell if isinstance(state, LSTMState) else None
    hidden = state.hidden if isinstance(state, LSTMState) else state
    lengths = layout.lengths
    made = torch.ops.unrolled.recurrent(x, lengths, hidden, memory, *w, kind, reverse, keep)
    outputs: Tensor = made[0]
    final: State = made[1] if memory is None else LSTMState(made[1], made[2])
    if low is not None and kind != "gru":
        outputs, final = outputs.to(low), map_state(lambda s: s.to(low), final)
    return outputs, final


def _kind(cell: Cell) -> str | None:
    """Name of the cell in graphs."""
    if isinstance(cell, ElmanCell):
        return f"rnn_{cell.nonlinearity}"
    if isinstance(cell, GRUCell):
        return "gru" if cell.reset == "after" else "gru_before"
    if isinstance(cell, LSTMCell):
        return "lstm"
    return "mingru" if isinstance(cell, MinGRUCell) else None


def _scanned(x: Tensor, w_hr: Tensor | None) -> bool:
    """Whether the compiled scans run the operator: known from the kind of the tensors alone."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and w_hr is None


def _n_kept(x: Tensor, size: int, w_hr: Tensor | None, kind: str, keep: bool) -> int:
    """Numbers that the forward pass keeps: room for T steps of all rows."""
    return sum(_KEPT[kind]) * size * x.shape[0] * x.shape[1] if keep and _scanned(x, w_hr) else 0


def _arguments(
    x: Tensor, lengths: Tensor | None, h: Tensor, c: Tensor | None, w: Weights, kind: str
) -> tuple[Cell, State, Layout]:
    """The cell, the state and the layout that the arguments of the operators stand for."""
    cell = _CELLS[kind](h.shape[1] if c is None else c.shape[1], 0 if w.weight_hr is None else len(w.weight_hr))
    steps, rows = x.shape[:2]
    for tensor in (h, c, *w):
        if tensor is not None and (tensor.dtype, tensor.device) != (x.dtype, x.device):
            raise ShapeError(f"all tensors must be {x.dtype} on {x.device}, got {tensor.dtype} on {tensor.device}")
    if lengths is not None:
        check_lengths(lengths, rows=rows, steps=steps, name="lengths")
    return cell, h if c is None else LSTMState(h, c), Layout.of_lengths(lengths, steps, rows, x.device)


def _operation(cell: Cell, state: State, layout: Layout, reverse: bool) -> Operation:
    scan = scan_for(cell)
    assert scan is not None
    return Operation(cell, scan, layout, reverse, None, state, len(state_tensors(state)), True, None, None)


@torch.library.custom_op(
    "unrolled::recurrent",
    mutates_args=(),
    schema="(Tensor x, Tensor? lengths, Tensor h, Tensor? c, Tensor w_ih, Tensor w_hh, Tensor? b_ih, Tensor? b_hh, "
    "Tensor? w_hr, str kind, bool reverse, bool keep) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _recurrent(x: Tensor, lengths: Any, h: Tensor, c: Any, *rest: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Outputs (T, B, P), last h (B, P), last c (B, H) or nothing, and what the scan kept, flat."""
    *weights, kind, reverse, keep = rest
    w, nothing = Weights(*weights), x.new_empty(0)
    cell, state, layout = _arguments(x, lengths, h, c, w, kind)
    kept = x.new_empty(_n_kept(x, cell.hidden_size, w.weight_hr, kind, keep))
    if not keep or not _scanned(x, w.weight_hr) or not layout.batch_sizes:
        with torch.no_grad():
            outputs, final = unroll(cell, x, state, w, layout=layout, reverse=reverse)
        finals = [s.clone(memory_format=torch.contiguous_format) for s in state_tensors(final)]  # may be parts of others
        return outputs.contiguous(), finals[0], nothing if c is None else finals[1], kept.zero_()
    run = run_forward(_operation(cell, state, layout, reverse), (x, *state_tensors(state), *w[:4]))
    free = kept
    for part in run.kept:
        free[: part.size] = torch.from_numpy(part).view(-1)
        free = free[part.size :]
    free.zero_()  # the room for padding
    return run.outputs, run.final[0], nothing if c is None else run.final[1], kept


@_recurrent.register_fake
def _(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, _, h, c, *_, w_hr, kind, _, keep = arguments
    last = x.new_empty(0) if c is None else c.new_empty(c.shape)
    kept = x.new_empty(_n_kept(x, h.shape[1] if c is None else c.shape[1], w_hr, kind, keep))
    return x.new_empty(x.shape[0], x.shape[1], h.shape[1]), h.new_empty(h.shape), last, kept


@torch.library.custom_op(
    "unrolled::recurrent_backward",
    mutates_args=(),
    schema="(Tensor d_outputs, Tensor d_h, Tensor d_c, Tensor outputs, Tensor kept, Tensor x, Tensor? lengths, Tensor h, "
    "Tensor? c, Tensor w_ih, Tensor w_hh, Tensor? b_ih, Tensor? b_hh, Tensor? w_hr, str kind, bool reverse, bool[] needs) "
    "-> Tensor[]",
)
def _recurrent_backward(
    d_outputs: Tensor, d_h: Tensor, d_c: Tensor, outputs: Tensor, kept: Tensor, *rest: Any
) -> list[Tensor]:
    """Gradients of those of x, h, c and the weights that need one, in this order."""
    x, lengths, h, c, *weights, kind, reverse, needs = rest
    w = Weights(*weights)
    cell, state, layout = _arguments(x, lengths, h, c, w, kind)
    grads = (d_outputs, d_h) if c is None else (d_outputs, d_h, d_c)
    needs = [needed for k, needed in enumerate(needs) if k != 2 or c is not None]
    tensors = (x, *state_tensors(state), *w)
    if _scanned(x, w.weight_hr) and layout.batch_sizes and (len(kept) or not _KEPT[kind]):
        found = _scan_back(_operation(cell, state, layout, reverse), kind, grads, outputs, kept, tensors, needs)
    else:
        found = _run_again(cell, tensors, grads, needs, layout=layout, reverse=reverse)
    results: list[Tensor] = []
    for tensor, gradient, needed in zip(tensors, found, needs, strict=True):
        if needed:
            assert tensor is not None
            gradient = torch.zeros_like(tensor) if gradient is None else gradient.contiguous()
            shared = [*grads, *results]  # a result may be part of no argument and of no other result: both biases' are one
            apart = all(gradient.untyped_storage().data_ptr() != t.untyped_storage().data_ptr() for t in shared)
            results.append(gradient if apart else gradient.clone())
    return results


def _scan_back(
    operation: Operation,
    kind: str,
    grads: tuple[Tensor, ...],
    outputs: Tensor,
    kept: Tensor,
    tensors: tuple[Any, ...],
    needs: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """Gradients by the scan, from what the forward pass kept."""
    layout, n = operation.layout, sum(operation.layout.batch_sizes)
    widths = [operation.cell.hidden_size * wide for wide in _KEPT[kind]]
    x, state, w = operation.parts(tensors[:-1])
    check_scan(operation.cell, x.shape[-1], layout.rows, state_like(operation.kind, state), w)
    shape = (layout.steps, layout.rows, operation.cell.hidden_size)
    for name, tensor, expected in (
        ("outputs", outputs, shape),
        ("gradient of the outputs", grads[0], shape),
        *(("gradient of the state", gradient, shape[1:]) for gradient in grads[1:]),
        ("kept", kept, (sum(widths) * layout.steps * layout.rows,)),
    ):
        check_shape(name, tensor.shape, expected)
    parts = kept[: n * sum(widths)].split([n * wide for wide in widths]) if widths else ()
    arrays = tuple(part.view(n, wide).numpy() for part, wide in zip(parts, widths, strict=True))
    start = state_tensors(layout.sort(state_like(operation.kind, state)))
    call = operation.call(start, w, operation.workspace(x))
    run = Run(grads[0], grads[1:], as_array(layout.gather(outputs, operation.reverse)), arrays, call, NO_INDEX)
    return *run_backward(operation, run, tensors[:-1], needs[:-1]), None


def _run_again(
    cell: Cell, tensors: tuple[Any, ...], grads: tuple[Tensor, ...], needs: Sequence[bool], *, layout: Layout, reverse: bool
) -> tuple[Tensor | None, ...]:
    """Gradients by a second forward pass, under autograd, which is off inside an operator."""
    inputs = [t.detach().requires_grad_() if needed else t for t, needed in zip(tensors, needs, strict=True)]
    excluded = torch._C._dispatch_tls_local_exclude_set()
    for key in (torch._C.DispatchKey.AutogradFunctionality, torch._C.DispatchKey.AutogradOther):
        excluded = excluded.remove(key)
    with torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), excluded), torch.enable_grad():
        x, *rest = inputs
        n_state = len(grads) - 1
        state = rest[0] if n_state == 1 else LSTMState(*rest[:2])
        outputs, final = unroll(cell, x, state, Weights(*rest[n_state:]), layout=layout, reverse=reverse)
        wanted = [t for t, needed in zip(inputs, needs, strict=True) if needed]
        made = (outputs, *state_tensors(final))
        found = iter(torch.autograd.grad(made, wanted, grads, allow_unused=True))
    return tuple(next(found) if needed else None for needed in needs)


@_recurrent_backward.register_fake
def _(*arguments: Any) -> list[Tensor]:
    x, _, h, c, *weights, _, _, needs = arguments[5:]
    return [t.new_empty(t.shape) for t, needed in zip((x, h, c, *weights), needs, strict=True) if needed]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.kind, ctx.reverse, _ = inputs
    ctx.save_for_backward(output[0], output[3], *tensors)


def _gradients(ctx: Any, d_outputs: Tensor, d_h: Tensor, d_c: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    needs = [needed for k, needed in enumerate(ctx.needs_input_grad[:9]) if k != 1]  # all but the lengths
    arguments = d_outputs, d_h, d_c, *ctx.saved_tensors, ctx.kind, ctx.reverse, needs
    found = iter(torch.ops.unrolled.recurrent_backward(*arguments))
    gradients = [next(found) if needed else None for needed in needs]
    return gradients[0], None, *gradients[1:], None, None, None


_recurrent.register_autograd(_gradients, setup_context=_save)
