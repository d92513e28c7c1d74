"""The contract of every cell in CELLS, on random weights, random non-zero states and mixed lengths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import references
from unrolled.cells import CELLS, Cell, GRUCell, LSTMCell, Weights
from unrolled.errors import ConfigError
from unrolled.layers import choice
from unrolled.layers.layout import Layout
from unrolled.layers.unroll import trajectory, unroll
from unrolled.types import LSTMState, State

D, H = 3, 4
LENGTHS = torch.tensor([3, 5, 0, 1, 4])
B, T = len(LENGTHS), 6  # one step more than the longest row: all padding
FULL = torch.full((B,), T)

every_cell = pytest.mark.parametrize("cell", [make(H) for make in CELLS.values()] + [LSTMCell(H, 2)], ids=str)
both_lengths = pytest.mark.parametrize("lengths", [LENGTHS, FULL], ids=["mixed", "full"])
both_directions = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])


@pytest.fixture(autouse=True, params=["compiled", "loop"])  # torch's kernels are compared in test_dropin.py
def _every_way(request: pytest.FixtureRequest) -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    with choice.only(request.param):
        yield


def weights(cell: Cell, grad: bool = False) -> Weights:
    rows, p = cell.n_gates * H, cell.output_size
    made = Weights(
        torch.randn(rows, D),
        torch.randn(rows if cell.sees_state else 0, p) * 0.7,
        torch.randn(rows),
        torch.randn(rows) if cell.sees_state else None,
        torch.randn(p, H) if p != H else None,
    )
    return Weights(*(w if w is None else w.requires_grad_(grad and w.numel() > 0) for w in made))


def state(cell: Cell, rows: int = B, grad: bool = False) -> State:
    zero = cell.initial_state(rows, torch.zeros(1))
    return (
        torch.randn_like(zero).requires_grad_(grad)
        if isinstance(zero, Tensor)
        else LSTMState(*(torch.randn_like(s).requires_grad_(grad) for s in zero))
    )


def tensors(value: State) -> tuple[Tensor, ...]:
    return (value,) if isinstance(value, Tensor) else tuple(value)


def by_hand(cell: Cell, x: Tensor, start: State, w: Weights, lengths: Tensor, reverse: bool) -> tuple[Tensor, list[Tensor]]:
    """Each row alone, each step alone, by `Cell.step`."""
    outputs = torch.zeros(len(x), B, cell.output_size)
    finals = []
    for b in range(B):
        row: State = start[b : b + 1] if isinstance(start, Tensor) else LSTMState(*(s[b : b + 1] for s in start))
        steps = range(int(lengths[b]))
        for t in reversed(steps) if reverse else steps:
            a, row = cell.step(cell.project(x[t, b : b + 1], w), row, w)
            outputs[t, b] = a[0]
        finals.append(row)
    return outputs, [torch.cat(parts) for parts in zip(*map(tensors, finals), strict=True)]


@pytest.mark.parametrize("name", CELLS)
def test_step_is_the_equation_of_the_notes(name: str) -> None:
    cell = CELLS[name](H)
    w, s, x = weights(cell), state(cell), torch.randn(4, B, D)
    arrays = {key: value.numpy() for key, value in w._asdict().items() if value is not None}
    expected: list[Any] = list(zip(*(t.numpy() for t in s), strict=True)) if isinstance(s, LSTMState) else list(s.numpy())
    for t in range(4):
        output, s = cell.step(cell.project(x[t], w), s, w)
        expected = [references.STEPS[name](x[t, b].numpy(), expected[b], arrays) for b in range(B)]
        want = np.stack([e[0] if isinstance(e, tuple) else e for e in expected])
        np.testing.assert_allclose(output.numpy(), want, atol=1e-14)
    if isinstance(s, LSTMState):
        np.testing.assert_allclose(s.cell.numpy(), np.stack([e[1] for e in expected]), atol=1e-14)


@every_cell
@both_lengths
@both_directions
def test_unroll_equals_steps_in_values_and_gradients(cell: Cell, lengths: Tensor, reverse: bool) -> None:
    w, start = weights(cell, grad=True), state(cell, grad=True)
    x = torch.randn(T, B, D, requires_grad=True)
    layout = Layout.of(lengths, x)
    got, final = unroll(cell, x, start, w, layout=layout, reverse=reverse)
    want, want_final = by_hand(cell, x, start, w, lengths, reverse)
    torch.testing.assert_close(got, want, atol=1e-13, rtol=0)
    for a, b in zip(tensors(final), want_final, strict=True):
        torch.testing.assert_close(a, b, atol=1e-13, rtol=0)
    leaves = [x, *tensors(start), *(p for p in w if p is not None and p.requires_grad)]
    factors = [torch.randn_like(t) for t in (got, *tensors(final))]

    def gradients(outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(sum((f * o).sum() for f, o in zip(factors, outputs, strict=True)), leaves)

    for a, b in zip(gradients((got, *tensors(final))), gradients((want, *want_final)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


@every_cell
@both_lengths
def test_gradcheck_first_and_second_order(cell: Cell, lengths: Tensor) -> None:
    w, start = weights(cell, grad=True), state(cell, grad=True)
    x = torch.randn(T, B, D, requires_grad=True)
    layout = Layout.of(lengths, x)
    n = len(tensors(start))

    def run(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        s: State = rest[0] if n == 1 else LSTMState(*rest[:n])
        given = iter(rest[n:])
        filled = Weights(*(next(given) if p is not None and p.requires_grad else p for p in w))
        outputs, final = unroll(cell, x, s, filled, layout=layout)
        return outputs, *tensors(final)

    leaves = (x, *tensors(start), *(p for p in w if p is not None and p.requires_grad))
    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradgradcheck(run, leaves)


@every_cell
def test_second_order_when_a_state_depends_on_the_weights(cell: Cell) -> None:
    """Two calls in a row: the second's state is a function of the same weights. create_graph must change no gradient."""
    w = weights(cell, grad=True)
    x = torch.randn(T, B, D)

    def loss() -> Tensor:
        layout = Layout.of(LENGTHS, x)
        first, middle = unroll(cell, x, state(cell), w, layout=layout)
        second, _ = unroll(cell, x, middle, w, layout=layout)
        return (first.square() + second.square()).sum()

    leaves = [p for p in w if p is not None and p.requires_grad]
    torch.manual_seed(1)
    plain = torch.autograd.grad(loss(), leaves)
    torch.manual_seed(1)
    graph = torch.autograd.grad(loss(), leaves, create_graph=True)
    for a, b in zip(graph, plain, strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=0)


@every_cell
@both_directions
def test_padding_never_leaks(cell: Cell, reverse: bool) -> None:
    w, start = weights(cell, grad=True), state(cell)
    clean = torch.randn(T, B, D)
    behind = torch.arange(T).unsqueeze(1) >= LENGTHS
    dirty = clean.masked_fill(behind.unsqueeze(2), torch.nan).requires_grad_()
    layout = Layout.of(LENGTHS, clean)
    want, want_final = unroll(cell, clean, start, w, layout=layout, reverse=reverse)
    got, final = unroll(cell, dirty, start, w, layout=layout, reverse=reverse)
    assert torch.equal(got, want)
    assert not got[behind].any()
    assert all(torch.equal(a, b) for a, b in zip(tensors(final), tensors(want_final), strict=True))
    assert all(torch.equal(a[2], b[2]) for a, b in zip(tensors(final), tensors(start), strict=True))  # row of length 0
    grads = torch.autograd.grad(got.sum(), [dirty, *(p for p in w if p is not None and p.requires_grad)])
    assert all(g.isfinite().all() for g in grads)
    assert not grads[0][behind].any()


@every_cell
def test_rows_of_a_batch_are_independent(cell: Cell) -> None:
    w, start, x = weights(cell), state(cell), torch.randn(T, B, D)
    layout = Layout.of(LENGTHS, x)
    want, _ = unroll(cell, x, start, w, layout=layout)
    garbage = x.clone()
    garbage[:, 1] = torch.nan
    got, _ = unroll(cell, garbage, start, w, layout=layout)
    others = [0, 2, 3, 4]
    assert torch.equal(got[:, others], want[:, others])
    assert got[:5, 1].isnan().all()


@every_cell
def test_no_steps_and_no_rows(cell: Cell) -> None:
    w, start = weights(cell, grad=True), state(cell, grad=True)
    for x, lengths in (
        (torch.randn(0, B, D), torch.zeros(B)),
        (torch.randn(T, 0, D), torch.zeros(0)),
        (torch.randn(T, B, D), torch.zeros(B)),
    ):
        first = state(cell, rows=x.shape[1], grad=True) if x.shape[1] != B else start
        outputs, final = unroll(cell, x, first, w, layout=Layout.of(lengths.long(), x))
        assert outputs.shape == (*x.shape[:2], cell.output_size)
        assert all(torch.equal(a, b) for a, b in zip(tensors(final), tensors(first), strict=True))
        grads = torch.autograd.grad(outputs.sum() + sum(s.sum() for s in tensors(final)), [w.weight_ih, *tensors(first)])
        assert not grads[0].any()
        assert all((g == 1).all() for g in grads[1:])


@every_cell
def test_trajectory_is_the_loop_itself(cell: Cell) -> None:
    w, start, x = weights(cell), state(cell), torch.randn(T, B, D)
    states = trajectory(cell, x, start, w)
    _, final = unroll(cell, x, start, w, layout=Layout.full(T, B))
    assert len(states) == T + 1
    assert states[0] is start
    for a, b in zip(tensors(states[-1]), tensors(final), strict=True):
        torch.testing.assert_close(a, b, atol=1e-14, rtol=0)


@every_cell
def test_gates_reproduce_the_step(cell: Cell) -> None:
    w, s = weights(cell), state(cell)
    z = cell.project(torch.randn(B, D), w)
    gates = cell.gates(z, s, w)
    _, after = cell.step(z, s, w)
    if isinstance(s, LSTMState) and isinstance(after, LSTMState):
        want = gates["update"] * gates["candidate"] + gates["forget"] * s.cell
        torch.testing.assert_close(after.cell, want)
    elif gates:
        assert isinstance(after, Tensor)
        torch.testing.assert_close(after, gates["update"] * gates["candidate"] + (1 - gates["update"]) * s)
    else:
        assert cell.n_gates == 1


def test_before_and_after_are_different_functions() -> None:
    w, s, x = weights(GRUCell(H)), state(GRUCell(H)), torch.randn(B, D)
    after, before = GRUCell(H), GRUCell(H, "before")
    difference = after.step(after.project(x, w), s, w)[0] - before.step(before.project(x, w), s, w)[0]
    assert difference.abs().max() > 1e-2


def test_weights_of_the_notes_convention_become_torchs_by_negating_the_update_rows() -> None:
    """u = 1 - z: a network that computes the notes' u with the negated rows gives the same state."""
    cell, s, x = GRUCell(H, "before"), state(GRUCell(H)), torch.randn(B, D)
    w = weights(cell)
    sign = torch.ones(3 * H)
    sign[H : 2 * H] = -1
    notes = Weights(*(p if p is None else p * sign.view(-1, *[1] * (p.dim() - 1)) for p in w))
    assert isinstance(s, Tensor)
    r, u = torch.sigmoid(cell.project(x, notes)[:, : 2 * H] + s @ notes.weight_hh[: 2 * H].t()).chunk(2, dim=1)
    candidate = torch.tanh(cell.project(x, notes)[:, 2 * H :] + (r * s) @ notes.weight_hh[2 * H :].t())
    torch.testing.assert_close(cell.step(cell.project(x, w), s, w)[0], u * candidate + (1 - u) * s)


def test_a_cell_without_written_backward_is_differentiated_by_torch() -> None:
    class Counter(Cell):
        """a' = a + x: proves the loop without any neural arithmetic."""

        n_gates = 1

        def initial_state(self, batch_size: int, like: Tensor) -> Tensor:
            return self._zeros(batch_size, self.hidden_size, like)

        def project(self, x: Tensor, w: Weights) -> Tensor:
            return x

        def step(self, projected: Tensor, state: State, w: Weights) -> tuple[Tensor, State]:
            assert isinstance(state, Tensor)
            return state + projected, state + projected

    cell = Counter(1)
    x = torch.ones(T, B, 1, requires_grad=True)
    w = Weights(torch.zeros(0), torch.zeros(0))
    outputs, final = unroll(cell, x, torch.zeros(B, 1), w, layout=Layout.of(LENGTHS, x), reverse=True)
    assert isinstance(final, Tensor)
    assert final[:, 0].tolist() == LENGTHS.tolist()
    assert outputs[:, 1, 0].tolist() == [5, 4, 3, 2, 1, 0]
    outputs.sum().backward()
    assert x.grad is not None
    assert x.grad[:, 1, 0].tolist() == [1, 2, 3, 4, 5, 0]


def test_impossible_cells_are_refused() -> None:
    with pytest.raises(ConfigError, match="'after'"):
        GRUCell(H, "never")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="projection_size"):
        LSTMCell(H, H)
