"""A whole layer and direction as one operation of autograd, computed by the compiled scans of `unrolled.kernels`.

Forward:  inputs of all steps projected in one product, then the scan over time.
Backward: the scan backward, then the gradients of weights and input, each as one product over all steps; the gradient of
an input that needs none is not computed. Derivatives of derivatives come from the readable loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unrolled.cells import Cell, ElmanCell, GRUCell, LSTMCell, Weights
from unrolled.kernels.elman import ElmanScan
from unrolled.kernels.gru import GRUAfterScan, GRUBeforeScan
from unrolled.kernels.lstm import LSTMScan
from unrolled.kernels.product import add_outer
from unrolled.kernels.scan import Arrays, Call, Order, Product, Scan, Sink, Source
from unrolled.kernels.workspace import Workspace
from unrolled.layers.layout import Layout
from unrolled.types import State, state_like, state_tensors

__all__ = ["compiled_layer", "scan_for"]

#: The loop over time that the operation stands for: (inputs (T, B, D), state, weights) -> outputs, final state.
Reference = Callable[[Tensor, State, Weights], tuple[Tensor, State]]


def scan_for(cell: Cell) -> Scan | None:
    """The compiled twin of a cell, if it has one."""
    if isinstance(cell, ElmanCell):
        return ElmanScan(cell.nonlinearity)
    if isinstance(cell, GRUCell):
        return GRUAfterScan() if cell.reset == "after" else GRUBeforeScan()
    if isinstance(cell, LSTMCell) and not cell.projection_size:
        return LSTMScan()
    return None


def compiled_layer(
    cell: Cell, x: Tensor, state: State, w: Weights, *, layout: Layout, reverse: bool, reference: Reference
) -> tuple[Tensor, State]:
    """x (T, B, D) and state (B, H) -> outputs (T, B, H) and the state after each row's end."""
    scan = scan_for(cell)
    assert scan is not None
    start = state_tensors(state)
    keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, *start, *w))
    operation = _Operation(cell, scan, layout, reverse, reference, state, len(start), keep)
    out, *final = _Compiled.apply(operation, x, *start, *w[:4])
    return out, state_like(state, final)


_NO_INDEX = np.zeros(0, np.int64)


class _Operation(NamedTuple):
    """What a call is besides its tensors."""

    cell: Cell
    scan: Scan
    layout: Layout
    reverse: bool
    reference: Reference
    kind: State
    n_state: int
    keep: bool

    def parts(self, tensors: tuple[Any, ...]) -> tuple[Tensor, tuple[Tensor, ...], Weights]:
        """The input, the state and the weights among the operation's tensors."""
        x, *rest = tensors
        return x, tuple(rest[: self.n_state]), Weights(*rest[self.n_state :])

    def call(self, start: tuple[Tensor, ...], w: Weights, work: Workspace) -> Call:
        order = Order(*self.layout.steps_of(self.reverse), 1)
        return Call(order, _arrays(start), _arrays(self.cell.recurrent_weights(w)), work, self.keep)


def _workspace(x: Tensor) -> Workspace:
    return Workspace(np.dtype(np.float32 if x.dtype == torch.float32 else np.float64), torch.get_num_threads())


class _Compiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, op: _Operation, *tensors: Any) -> tuple[Tensor, ...]:
        x, state, w = op.parts(tensors)
        layout, size, work = op.layout, op.cell.hidden_size, _workspace(x)
        inputs = _array(layout.gather(x, op.reverse))
        a, bias = work.new(len(inputs), size), op.cell.projection_bias(w)
        zero = np.zeros(len(w.weight_ih), work.dtype) if bias is None else _array(bias)
        source = Source(inputs, work.packed_transposed(_array(w.weight_ih)), zero, _NO_INDEX)
        start = state_tensors(layout.sort(state_like(op.kind, state)))
        final = tuple(s.clone(memory_format=torch.contiguous_format) for s in start)
        call = op.call(start, w, work)
        ctx.op, ctx.call, ctx.kept = op, call, op.scan.forward(call, source, a, _arrays(final))
        out = torch.from_numpy(a)
        outputs = layout.scatter(out, op.reverse)
        ctx.save_for_backward(outputs if layout.order is None else out, *tensors)
        return outputs, *state_tensors(layout.unsort(state_like(op.kind, final)))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        op, (out, *tensors) = ctx.op, ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, *_second_order(op, tensors, grads)
        x, _, w = op.parts(tuple(tensors))
        layout, work = op.layout, _workspace(x)
        a, call = _array(out.reshape(-1, op.cell.hidden_size)), ctx.call._replace(work=work)
        sorted_state = state_tensors(layout.sort(state_like(op.kind, grads[1:])))
        grad_state = tuple(g.clone(memory_format=torch.contiguous_format) for g in sorted_state)
        needs_x, *needs = ctx.needs_input_grad[1:]
        sink = Sink(work.new(len(a) if needs_x else 0, x.shape[2]), work.packed(_array(w.weight_ih)))
        grad = _array(layout.gather(grads[0], op.reverse))
        d, products = op.scan.backward(call, sink, a, ctx.kept, grad, _arrays(grad_state))
        grad_x = layout.scatter(torch.from_numpy(sink.dx), op.reverse) if needs_x else None
        weights = _weight_gradients(op, call, needs[op.n_state :], d, products, x, a)
        return None, grad_x, *state_tensors(layout.unsort(state_like(op.kind, grad_state))), *weights


def _weight_gradients(
    op: _Operation, call: Call, needs: Sequence[bool], d: np.ndarray, products: list[Product], x: Tensor, a: np.ndarray
) -> list[Tensor | None]:
    """Gradients of weight_ih, weight_hh, bias_ih, bias_hh."""
    found: list[Tensor | None] = [None] * 4
    work = call.work
    if needs[0]:
        found[0] = x.new_zeros(d.shape[1], x.shape[2])
        _add_outer(work, Product(d, 0, d.shape[1], _array(op.layout.gather(x, op.reverse))), 0, found[0].numpy())
    if needs[1]:
        found[1] = x.new_zeros(d.shape[1], a.shape[1])
        parts = found[1].split([p.last - p.first for p in products])
        for part, product in zip(map(_array, parts), products, strict=True):
            if product.factor is not None:
                _add_outer(work, product, 0, part)
            else:
                some, first, others, before = op.layout.earlier(a, call.state[0], op.reverse)
                _add_outer(work, product._replace(factor=first), some, part)
                _add_outer(work, product._replace(factor=before), others, part)
    if needs[2] or needs[3]:
        sums = [torch.from_numpy(p.gates).sum(0)[p.first : p.last] for p in products]
        found[3] = sums[0] if len(sums) == 1 else torch.cat(sums)
        found[2] = found[3] if d is products[-1].gates else torch.from_numpy(d).sum(0)
    return found


def _add_outer(work: Workspace, product: Product, row: int, w: np.ndarray) -> None:
    """w += gates^T factor, for the gates' rows from `row` on."""
    assert product.factor is not None
    arrays = product.gates, row, product.first, work.packed(product.factor), len(product.factor), w
    work.evenly(len(w), lambda *some: add_outer(*arrays, *some))


def _second_order(op: _Operation, tensors: list[Any], grads: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
    """The gradients as a differentiable function: the readable loop under autograd, on views of the inputs.

    Views, because an input may depend on another (a state on the weights, when calls are chained): the gradient with
    respect to the input itself would count that path here and once more outside.
    """
    inputs = [t.view_as(t) if t is not None and t.requires_grad else t for t in tensors]
    x, state, w = op.parts(tuple(inputs))
    outputs, final = op.reference(x, state_like(op.kind, state), w)
    wanted = [t for t in inputs if t is not None and t.requires_grad]
    found = iter(torch.autograd.grad((outputs, *state_tensors(final)), wanted, grads, create_graph=True))
    return tuple(next(found) if t is not None and t.requires_grad else None for t in inputs)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _arrays(tensors: Iterable[Tensor]) -> Arrays:
    return tuple(map(_array, tensors))
