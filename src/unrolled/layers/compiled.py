"""A whole layer and direction as one operation of autograd, computed by the compiled scans of `unrolled.kernels`.

Forward:  the scan over time, which projects the inputs of each step just before it needs them.
Backward: the scan backward, which passes on each step's input gradient if anybody asks for it, then the gradients of the
weights, each as one product over all steps. Derivatives of derivatives come from the readable loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unrolled.cells import Cell, ElmanCell, GRUCell, LSTMCell, MinGRUCell, Weights
from unrolled.errors import ShapeError
from unrolled.kernels.bounds import check_ids, check_shape
from unrolled.kernels.elman import ElmanScan
from unrolled.kernels.gru import GRUAfterScan, GRUBeforeScan
from unrolled.kernels.lstm import LSTMScan
from unrolled.kernels.mingru import MinGRUScan
from unrolled.kernels.product import add_outer, add_picked
from unrolled.kernels.scan import Arrays, Call, Order, Product, Scan, Sink, Source, place_rows
from unrolled.kernels.workspace import Workspace, once
from unrolled.layers.embedding import Lookup
from unrolled.layers.layout import Layout
from unrolled.types import State, state_like, state_tensors

__all__ = [
    "Operation",
    "Run",
    "as_array",
    "as_arrays",
    "bias_of",
    "check_one_kind",
    "check_scan",
    "compiled_layer",
    "differentiable_gradients",
    "run_backward",
    "run_forward",
    "scan_for",
]

#: Something to be done to a range of n rows, and n.
Job = tuple[int, Callable[[int, int], object]]
#: The loop over time that the operation stands for: (inputs (T, B, D), state, weights) -> outputs, final state.
Reference = Callable[[Tensor | Lookup, State, Weights], tuple[Tensor, State]]


def scan_for(cell: Cell) -> Scan | None:
    """The compiled twin of a cell, if it has one."""
    if isinstance(cell, ElmanCell):
        return ElmanScan(cell.nonlinearity)
    if isinstance(cell, GRUCell):
        return GRUAfterScan() if cell.reset == "after" else GRUBeforeScan()
    if isinstance(cell, MinGRUCell):
        return MinGRUScan()
    if isinstance(cell, LSTMCell) and not cell.projection_size:
        return LSTMScan()
    return None


def compiled_layer(
    cell: Cell,
    x: Tensor | Lookup,
    state: State,
    w: Weights,
    *,
    layout: Layout,
    reverse: bool,
    reference: Reference,
    into: Tensor | None = None,
) -> tuple[Tensor, State]:
    """x (T, B, D) or the Lookup of one, and state (B, H) -> outputs (T, B, H) and the state after each row's end.

    into: zeros (T, B, H) for the outputs, where no gradient is asked for.
    """
    scan = scan_for(cell)
    assert scan is not None
    start = state_tensors(state)
    inputs, index = x if isinstance(x, Lookup) else (x, None)
    keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (inputs, *start, *w))
    operation = Operation(cell, scan, layout, reverse, reference, state, len(start), keep, index, into)
    out, *final = _Compiled.apply(operation, inputs, *start, *w[:4])
    return out if into is None else into, state_like(state, final)


def check_one_kind(*tensors: Tensor | None) -> None:
    """ShapeError unless all are float32, or all float64, on the CPU: memory is laid out by the kind of the first."""
    kinds = {(tensor.dtype, tensor.device.type) for tensor in tensors if tensor is not None}
    if len(kinds) != 1 or not kinds <= {(torch.float32, "cpu"), (torch.float64, "cpu")}:
        names = ", ".join(sorted(f"{kind} on {device}" for kind, device in kinds))
        raise ShapeError(f"inputs, weights and states must be all float32 or all float64, on the CPU; got {names}")


def check_scan(cell: Cell, input_size: int, rows: int, state: State, w: Weights) -> None:
    """ShapeError unless weights and state fit the cell, the size of the inputs (D) and the rows (B): scans do not look."""
    gates, size = cell.n_gates * cell.hidden_size, cell.output_size
    check_shape("weight_ih", w.weight_ih.shape, (gates, input_size))
    check_shape("weight_hh", w.weight_hh.shape, (gates if cell.sees_state else 0, size))
    for name, bias in (("bias_ih", w.bias_ih), ("bias_hh", w.bias_hh)):
        if bias is not None:
            check_shape(name, bias.shape, (gates,))
    for tensor in state_tensors(state):
        check_shape("the state", tensor.shape, (rows, cell.hidden_size))


_NOTHING = {np.dtype(kind): np.zeros(0, kind) for kind in (np.float32, np.float64)}


class Operation(NamedTuple):
    """What a call is besides its tensors."""

    cell: Cell
    scan: Scan
    layout: Layout
    reverse: bool
    reference: Reference | None
    kind: State
    n_state: int
    keep: bool
    index: Tensor | None
    into: Tensor | None

    def parts(self, tensors: tuple[Any, ...]) -> tuple[Tensor, tuple[Tensor, ...], Weights]:
        """The inputs or the table of inputs, the state and the weights among the operation's tensors."""
        x, *rest = tensors
        return x, tuple(rest[: self.n_state]), Weights(*rest[self.n_state :])

    def call(self, start: tuple[Tensor, ...], w: Weights, work: Workspace) -> Call:
        order = Order(*self.layout.steps_of(self.reverse))
        return Call(order, as_arrays(start), as_arrays(self.cell.recurrent_weights(w)), work, self.keep)

    def workspace(self, x: Tensor) -> Workspace:
        """For inputs (..., D): with as many threads as torch has, if there is enough to do."""
        rows, size = sum(self.layout.batch_sizes), self.cell.hidden_size
        much = rows * self.cell.n_gates * size * (size + x.shape[-1]) > _WORTH_THREADS
        kind = np.dtype(np.float32 if x.dtype == torch.float32 else np.float64)
        return Workspace(kind, torch.get_num_threads() if much else 1)


#: Multiplications below which a second thread costs more than it brings.
_WORTH_THREADS = 30_000_000


class _Compiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, op: Operation, *tensors: Any) -> tuple[Tensor, ...]:
        run = run_forward(op, tensors)
        ctx.op, ctx.call, ctx.index = op, run.call, run.index
        ctx.save_for_backward(*map(torch.from_numpy, (run.a, *run.kept)), *tensors)
        ctx.n_kept = len(run.kept)
        outputs = run.outputs
        if op.keep and op.layout.order is None:  # what backward needs stays apart: the outputs may be changed in place
            outputs = torch.from_numpy(run.call.work.new(*outputs.shape)).copy_(outputs)
        return outputs, *run.final

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        saved = ctx.saved_tensors  # read once: under activation checkpointing a second reading fails
        a, *kept = map(as_array, saved[: 1 + ctx.n_kept])
        tensors = saved[1 + ctx.n_kept :]
        if torch.is_grad_enabled():
            return None, *_second_order(ctx.op, list(tensors), grads)
        run = Run(grads[0], grads[1:], a, tuple(kept), ctx.call, ctx.index)
        return None, *run_backward(ctx.op, run, tensors, ctx.needs_input_grad[1:])


class Run(NamedTuple):
    """A forward pass: outputs (T, B, H), the final state, outputs a (N, H) in running order, and what the scan kept.

    For the backward pass, outputs and final stand for the gradients of these.
    """

    outputs: Tensor
    final: tuple[Tensor, ...]
    a: np.ndarray
    kept: Arrays
    call: Call
    index: np.ndarray


def run_forward(op: Operation, tensors: tuple[Any, ...]) -> Run:
    """The scan over the inputs, the state and the weights in `tensors`. ShapeError for shapes that do not fit."""
    x, state, w = op.parts(tensors)
    check_one_kind(*tensors)
    check_scan(op.cell, x.shape[-1], op.layout.rows, state, w)
    inputs = x if op.index is None else op.index
    check_shape("inputs", inputs.shape[:2], (op.layout.steps, op.layout.rows))
    layout, size, work = op.layout, op.cell.hidden_size, op.workspace(x)
    source = _source(op, x, w, work)
    a = work.new(sum(layout.batch_sizes), size)
    start = state_tensors(layout.sort(state_like(op.kind, state)))
    final = tuple(s.clone(memory_format=torch.contiguous_format) for s in start)
    call = op.call(start, w, work)
    kept = op.scan.forward(call, source, a, as_arrays(final))
    outputs = layout.scatter(torch.from_numpy(a), op.reverse) if op.into is None else _placed(op, op.into, a, work)
    return Run(outputs, state_tensors(layout.unsort(state_like(op.kind, final))), a, kept, call, source.index)


def run_backward(
    op: Operation, run: Run, tensors: tuple[Any, ...], needs_input_grad: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    """Gradients of the inputs, the state and the weights in `tensors`, from those of the outputs and the final state."""
    x, _, w = op.parts(tensors)
    layout, work, a = op.layout, op.workspace(x), run.a
    call = run.call._replace(work=work)
    sorted_state = state_tensors(layout.sort(state_like(op.kind, run.final)))
    grad_state = tuple(g.clone(memory_format=torch.contiguous_format) for g in sorted_state)
    needs_x, *needs = needs_input_grad
    passed_on = needs_x and op.index is None
    packed = work.packed(as_array(w.weight_ih)) if passed_on else _NOTHING[work.dtype]
    sink = Sink(work.new(len(a) if passed_on else 0, x.shape[-1]), packed)
    grad = as_array(layout.gather(run.outputs, op.reverse))
    d, products = op.scan.backward(call, sink, a, run.kept, grad, as_arrays(grad_state))
    weights, jobs = _weight_gradients(op, call, needs[op.n_state :], products, a)
    if op.index is None:
        inputs, before = as_array(layout.gather(x, op.reverse)), d
        grad_x = layout.scatter(torch.from_numpy(sink.dx), op.reverse) if needs_x else None
    else:
        inputs, before = as_array(x), np.zeros((len(x), d.shape[1]), d.dtype)
        work.evenly((d.shape[1], lambda *some: add_picked(d, run.index, before, *some)))
        grad_x = torch.from_numpy(before) @ w.weight_ih if needs_x else None
    if needs[op.n_state]:
        weights[0] = torch.zeros_like(w.weight_ih, memory_format=torch.contiguous_format)
        jobs.append(_outer(work, Product(before, 0, before.shape[1], inputs), 0, weights[0].numpy()))
    work.evenly(*jobs)
    if needs[op.n_state + 2]:
        same = products and before is products[-1].d
        weights[2] = weights[3] if same else torch.from_numpy(before).sum(0)
    return grad_x, *state_tensors(layout.unsort(state_like(op.kind, grad_state))), *weights


def _placed(op: Operation, into: Tensor, a: np.ndarray, work: Workspace) -> Tensor:
    """`into` (T, B, H), each row of a (N, H) written to where it belongs."""
    index = op.layout.reverse if op.reverse else op.layout.forward
    if index is None:
        return into.copy_(torch.from_numpy(a).view(into.shape))
    places, to = as_array(index), into.flatten(0, 1).numpy()
    work.evenly((len(a), lambda *some: place_rows(a, places, to, *some)))
    return into


def _source(op: Operation, x: Tensor, w: Weights, work: Workspace) -> Source:
    """The inputs with what projects them, or the projected table with the index of what is picked from it."""
    weight = w.weight_ih
    if op.index is not None:
        index = as_array(op.layout.gather(op.index.unsqueeze(2), op.reverse).squeeze(1))
        check_ids("Lookup.index", index, len(x))
        bias = op.cell.projection_bias(w)
        projected = once(lambda *_: as_array(functional.linear(x, weight, bias)), as_array(x), as_array(weight))
        return Source(projected, _NOTHING[work.dtype], _NOTHING[work.dtype], index)
    return Source(as_array(op.layout.gather(x, op.reverse)), work.packed_transposed(as_array(weight)), bias_of(op.cell, w))


def bias_of(cell: Cell, w: Weights) -> np.ndarray:
    """What stands in the gates before anything is added, (G*H,)."""
    bias = cell.projection_bias(w)
    return as_array(w.weight_ih.new_zeros(len(w.weight_ih)) if bias is None else bias)


def _weight_gradients(
    op: Operation, call: Call, needs: Sequence[bool], products: list[Product], a: np.ndarray
) -> tuple[list[Tensor | None], list[Job]]:
    """Gradients of weight_hh and bias_hh, at their places among those of weight_ih, weight_hh, bias_ih, bias_hh, and the
    jobs that fill them.
    """
    found: list[Tensor | None] = [None] * 4
    jobs: list[Job] = []
    if needs[1]:
        whole = np.zeros((sum(p.last - p.first for p in products), a.shape[1]), a.dtype)
        found[1], row = torch.from_numpy(whole), 0
        for product in products:
            part, row = whole[row : row + product.last - product.first], row + product.last - product.first
            if product.factor is not None:
                jobs.append(_outer(call.work, product, 0, part))
            else:
                some, first, others, before = op.layout.earlier(a, call.state[0], op.reverse)
                jobs.append(_outer(call.work, product._replace(factor=first), some, part))
                jobs.append(_outer(call.work, product._replace(factor=before), others, part))
    if products and (needs[2] or needs[3]):
        sums = [torch.from_numpy(p.d[:, p.first : p.last]).sum(0) for p in products]
        found[3] = sums[0] if len(sums) == 1 else torch.cat(sums)
    return found, jobs


def _outer(work: Workspace, product: Product, row: int, w: np.ndarray) -> Job:
    """w += d^T factor, for the rows of d from `row` on."""
    assert product.factor is not None
    arrays = product.d, row, product.first, work.packed(product.factor), len(product.factor), w
    return len(w), lambda *some: add_outer(*arrays, *some)


def _second_order(op: Operation, tensors: list[Any], grads: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
    """The gradients as a differentiable function: of the readable loop."""

    def run(inputs: list[Any]) -> tuple[Tensor, ...]:
        x, state, w = op.parts(tuple(inputs))
        assert op.reference is not None
        outputs, final = op.reference(x if op.index is None else Lookup(x, op.index), state_like(op.kind, state), w)
        return outputs, *state_tensors(final)

    return differentiable_gradients(run, tensors, grads)


def differentiable_gradients(
    run: Callable[[list[Any]], tuple[Tensor, ...]], tensors: Sequence[Any], grads: tuple[Tensor, ...]
) -> tuple[Tensor | None, ...]:
    """Gradients of what `run` makes of the tensors, for the gradients of its results; they can be differentiated again.

    It works on views of the tensors: one may depend on another (a state on the weights, when calls are chained), and the
    gradient with respect to the tensor itself would count that path here and once more outside.
    """
    inputs = [t.view_as(t) if t is not None and t.requires_grad else t for t in tensors]
    wanted = [t for t in inputs if t is not None and t.requires_grad]
    found = iter(torch.autograd.grad(run(inputs), wanted, grads, create_graph=True))
    return tuple(next(found) if t is not None and t.requires_grad else None for t in inputs)


def as_array(tensor: Tensor) -> np.ndarray:
    """The numbers of a tensor, one row after another; shared where they lie so."""
    return tensor.detach().contiguous().numpy()


def as_arrays(tensors: Iterable[Tensor]) -> Arrays:
    """Those of several tensors."""
    return tuple(map(as_array, tensors))
