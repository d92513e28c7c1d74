"""The compiled kernels against the readable forms they stand for, at sizes that fill registers and at sizes that do not."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import forward_ad

from unrolled.cells import CELLS, LSTMCell, Weights
from unrolled.errors import ShapeError
from unrolled.kernels import _jit, threads
from unrolled.kernels._jit import kernel
from unrolled.kernels.elementwise import Vector, elementwise
from unrolled.kernels.product import UNIT, add_outer, multiply, new_tile, pack, pack_transposed, packed_size
from unrolled.kernels.workspace import Workspace
from unrolled.layers import GRU, LSTM, RNN, Embedding, Lookup, OneHot, Padded, Recurrent, choice
from unrolled.layers.layout import Layout
from unrolled.layers.unroll import unroll
from unrolled.types import LSTMState, State, state_tensors

both_numbers = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_layer = pytest.mark.parametrize("make", [RNN, GRU, LSTM])
sizes = st.integers(1, 40) | st.sampled_from([64, 96, 257, 300])


@both_numbers
@settings(max_examples=60, deadline=None)
@given(rows=sizes, columns=sizes, depth=sizes, seed=st.integers(0, 99))
def test_products_are_products(dtype: type, rows: int, columns: int, depth: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    a, b, c = (random.standard_normal(s).astype(dtype) for s in ((rows, depth), (depth, columns), (rows, columns + 3)))
    exact = c.astype(np.float64)
    exact[:, :columns] += a.astype(np.float64) @ b.astype(np.float64)
    size = packed_size(depth, columns, a.dtype)
    straight, turned = np.full(size, np.nan, dtype), np.full(size, np.nan, dtype)
    pack(b, straight)
    pack_transposed(np.ascontiguousarray(b.T), turned)
    np.testing.assert_array_equal(straight, turned)
    got = c.copy()
    multiply(a.reshape(-1), 0, depth, UNIT, straight, got.reshape(-1), 0, columns + 3, rows, columns, depth, new_tile(c))
    tolerance = 40 * math.sqrt(depth) * np.finfo(dtype).eps
    np.testing.assert_allclose(got, exact, atol=tolerance, rtol=0)  # the three columns behind the product are untouched


@both_numbers
def test_outer_products_of_some_rows_and_columns(dtype: type) -> None:
    random = np.random.default_rng(1)
    d, x, w = (random.standard_normal(s).astype(dtype) for s in ((50, 30), (41, 70), (20, 70)))
    packed = np.empty(packed_size(41, 70, x.dtype), dtype)
    pack(x, packed)
    want = w + d[5:46, 7:27].T @ x
    for first, last in ((0, 13), (13, 20)):
        add_outer(d, 5, 7, packed, 41, w, first, last)
    np.testing.assert_allclose(w, want, atol=500 * np.finfo(dtype).eps)


@elementwise(writes=("y", "z"))
def _both(x: Vector) -> tuple[Vector, Vector]:
    return x.tanh(), x.sigmoid()


@elementwise(writes=("x", "y"))
def _in_place(x: Vector, y: Vector) -> tuple[Vector, Vector]:
    return x * y - 1, (3 - x) / (y + 2.0)


@kernel
def _run_both(x, y, z):  # type: ignore[no-untyped-def]
    _both(x, y, z)


@kernel
def _run_in_place(x, y):  # type: ignore[no-untyped-def]
    _in_place(x, y)


@both_numbers
@pytest.mark.parametrize("n", [1, 7, 16, 33, 20_001])
def test_activations(dtype: type, n: int) -> None:
    x = np.linspace(-30, 30, n).astype(dtype) if n > 1 else np.array([0.3], dtype)
    y, z = np.full(n + 2, 7, dtype), np.full(n + 2, 7, dtype)
    _run_both(x, y[:n], z[:n])
    exact = x.astype(np.float64)
    atol = 4e-7 if dtype is np.float32 else 1e-15
    np.testing.assert_allclose(y[:n], np.tanh(exact), atol=atol)
    np.testing.assert_allclose(z[:n], 1 / (1 + np.exp(-exact)), atol=atol)
    assert (y[n:] == 7).all()
    assert (z[n:] == 7).all()


@both_numbers
def test_activations_of_what_is_no_number(dtype: type) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0] * 5, dtype)
    y, z = np.empty_like(x), np.empty_like(x)
    _run_both(x, y, z)
    np.testing.assert_allclose(y[:5], [np.nan, 1, -1, 0, 0], atol=4e-7)
    np.testing.assert_allclose(z[:5], [np.nan, 1, 0, 0.5, 0.5], atol=4e-7)


@both_numbers
def test_formulas_may_write_what_they_read(dtype: type) -> None:
    x, y = np.linspace(0, 1, 37).astype(dtype), np.linspace(2, 5, 37).astype(dtype)
    want = x * y - 1, (3 - x) / (y + 2)
    _run_in_place(x, y)
    np.testing.assert_allclose(x, want[0], atol=1e-6)
    np.testing.assert_allclose(y, want[1], atol=1e-6)


def _tensors(cell: Any, n_inputs: int, rows: int) -> tuple[State, Weights]:
    size, gates = cell.hidden_size, cell.n_gates * cell.hidden_size
    zero = cell.initial_state(rows, torch.zeros(1, dtype=torch.float64))
    state = [torch.randn_like(s).requires_grad_() for s in state_tensors(zero)]
    seeing = cell.sees_state
    shapes = (gates, n_inputs), (gates if seeing else 0, size), (gates,), *(((gates,),) if seeing else ())
    w = [(torch.randn(s, dtype=torch.float64) / math.sqrt(size)).requires_grad_(s[0] > 0) for s in shapes]
    return (state[0] if len(state) == 1 else LSTMState(*state)), Weights(*w)


@pytest.mark.parametrize("name", CELLS)
@settings(max_examples=12, deadline=None)
@given(
    steps=st.integers(1, 5),
    rows=st.integers(1, 40),
    size=st.integers(1, 70),
    n_inputs=st.integers(1, 70),
    mixed=st.booleans(),
    reverse=st.booleans(),
    seed=st.integers(0, 99),
)
def test_compiled_layers_equal_the_loop(
    name: str, steps: int, rows: int, size: int, n_inputs: int, mixed: bool, reverse: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    cell = CELLS[name](size)
    want = _everything(cell, "loop", (steps, rows, n_inputs), mixed, reverse)
    torch.manual_seed(seed)
    got = _everything(cell, "compiled", (steps, rows, n_inputs), mixed, reverse)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-11)


def _everything(cell: Any, way: Any, shape: tuple[int, int, int], mixed: bool, reverse: bool) -> list[Tensor]:
    """Outputs, final states and the gradients of everything, in double precision."""
    steps, rows, n_inputs = shape
    state, w = _tensors(cell, n_inputs, rows)
    x = torch.randn(*shape, dtype=torch.float64, requires_grad=True)
    layout = Layout.of(torch.randint(0, steps + 1, (rows,)) if mixed else None, x)
    with choice.only(way):
        assert choice.way_of(cell, x, layout, training=True) == (way if layout.batch_sizes else "loop")
        outputs, final = unroll(cell, x, state, w, layout=layout, reverse=reverse)
    found = [outputs, *state_tensors(final)]
    total = sum((f * torch.randn_like(f)).sum() for f in found)
    return [
        *found,
        *torch.autograd.grad(total, [x, *state_tensors(state), *(p for p in w if p is not None and p.requires_grad)]),
    ]


@every_layer
@pytest.mark.parametrize("mixed", [False, True])
def test_single_precision_is_as_exact_as_torchs(make: Any, mixed: bool) -> None:
    """Worst norm-relative error to double precision, of outputs and gradients."""
    layer = make(48, 72, num_layers=2, bidirectional=True, batch_first=True)
    x, lengths = torch.randn(9, 20, 48), torch.randint(1, 21, (9,)) if mixed else torch.full((9,), 20)
    exact = make(48, 72, num_layers=2, bidirectional=True, batch_first=True).double()
    exact.load_state_dict(layer.state_dict())

    def run(layer: Any, x: Tensor, way: Any) -> list[Tensor]:
        with choice.only(way):
            y = layer(Padded(x, lengths))[0].values
        return [t.double() for t in (y, *torch.autograd.grad((y * torch.linspace(-1, 1, 144)).sum(), layer.parameters()))]

    want = run(exact, x.double(), "loop")
    for got, right in zip(run(layer, x, "compiled"), want, strict=True):
        assert (got - right).norm() < 3e-6 * right.norm()


@every_layer
@pytest.mark.parametrize("mixed", [False, True])
def test_threads_change_nothing_but_rounding(make: Any, mixed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.layers.compiled._WORTH_THREADS", 0)
    layer, x = make(20, 30), torch.randn(13, 9, 20, requires_grad=True)
    lengths = torch.tensor([13, 1, 5, 5, 2, 13, 7, 1, 1]) if mixed else torch.full((9,), 13)
    results = []
    try:
        for threads in (1, 2, 3, 20):
            torch.set_num_threads(threads)
            with choice.only("compiled"):
                y, final = layer(Padded(x.transpose(0, 1), lengths))
            found = [y.values, *(final if isinstance(final, tuple) else (final,))]
            cost = sum(t.square().sum() for t in found)
            results.append([*found, *torch.autograd.grad(cost, [x, *layer.parameters()])])
    finally:
        torch.set_num_threads(1)
    for others in results[1:]:
        for got, want in zip(others, results[0], strict=True):
            torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


@every_layer
def test_the_same_graph_twice_and_outputs_that_stay(make: Any) -> None:
    """What a graph or a user still holds is not overwritten by later calls."""
    layer, x = make(8, 12), torch.randn(6, 4, 8)
    with choice.only("compiled"):
        y = layer(x)[0]
        before = y.detach().clone()
        first = torch.autograd.grad(y.sum(), list(layer.parameters()), retain_graph=True)
        for _ in range(3):
            other = layer(torch.randn(6, 4, 8))[0]
            other.sum().backward()
        again = torch.autograd.grad(y.sum(), list(layer.parameters()))
    assert torch.equal(y, before)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)


@every_layer
@pytest.mark.parametrize("way", ["compiled", "loop"])
def test_outputs_may_be_changed_in_place(make: Any, way: Any) -> None:
    layer, x = make(8, 12), torch.randn(6, 4, 8)
    with choice.only(way):
        y, _ = layer(x)
        want = torch.autograd.grad((2 * y).square().sum(), list(layer.parameters()))
        y, _ = layer(x)
        y.mul_(2)
        got = torch.autograd.grad(y.square().sum(), list(layer.parameters()))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-5)


def test_changed_weights_are_noticed_by_backward() -> None:
    layer = GRU(8, 12)
    with choice.only("compiled"):
        total = layer(torch.randn(6, 4, 8))[0].sum()
    with torch.no_grad():
        layer.weight_hh_l0.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


def test_what_backward_needed_is_given_back() -> None:
    layer = LSTM(8, 12)
    with choice.only("compiled"):
        y, _ = layer(torch.randn(6, 4, 8))
        y.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()


@pytest.mark.parametrize("way", ["compiled", "loop", "torch"])
@pytest.mark.parametrize("cell", [CELLS["gru"](16), CELLS["lstm"](16)], ids=str)
def test_states_of_a_wrong_shape_are_refused(cell: Any, way: Any) -> None:
    layer = Recurrent(cell, 8, n_layers=2)
    with choice.only(way):
        for shape in ((5, 2, 16), (6, 1, 16), (6, 2, 15), (7, 2, 16)):
            state: State = torch.zeros(shape)
            with pytest.raises(ShapeError, match=r"the state needs shape \[\(6, 2, 16\)"):
                layer(torch.zeros(6, 3, 8), LSTMState(state, state) if isinstance(cell, LSTMCell) else state)


def test_an_index_outside_its_table_is_refused() -> None:
    layer = Recurrent(CELLS["gru"](4), 2)
    for index in (-1, 3, 10**8):
        with choice.only("compiled"), pytest.raises(ShapeError, match=r"must lie in 0\.\.2"):
            layer(Lookup(torch.zeros(3, 2), torch.tensor([[0, index]])))


@pytest.mark.parametrize("name", CELLS)
def test_mixed_precisions_are_no_matter_of_the_way(name: str) -> None:
    layer = Recurrent(CELLS[name](4), 2)
    for way in ("compiled", "loop"):
        with choice.only(way), pytest.raises(RuntimeError):
            layer(torch.zeros(1, 3, 2, dtype=torch.float64))


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_autocast_does_not_depend_on_the_inputs_precision(name: str) -> None:
    layer, x = Recurrent(CELLS[name](64), 8), torch.randn(2, 5, 8)
    with torch.autocast("cpu", torch.bfloat16):
        kinds = {layer(x.to(dtype))[0].dtype for dtype in (torch.float32, torch.bfloat16)}
    assert kinds == {torch.bfloat16 if name in ("lstm", "rnn", "rnn-relu") else torch.float32}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [[6, 3, 5, 6], [6, 0, 6, 6]])
def test_mixed_lengths_in_bfloat16_are_padded_and_the_state_stays(lengths: list[int], reverse: bool) -> None:
    torch.manual_seed(1)
    layer, x = Recurrent(LSTMCell(40), 7), torch.randn(6, 4, 7)
    behind = torch.arange(6).unsqueeze(1) >= torch.tensor(lengths)
    state = LSTMState(torch.randn(4, 40), torch.randn(4, 40))
    layout, found = Layout.of(torch.tensor(lengths), x), []
    for low in (False, True):
        given = x.masked_fill(behind.unsqueeze(2), torch.nan).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            assert choice.way_of(layer.cell, given, layout, training=True) == ("torch" if low else "compiled")
            outputs, final = unroll(layer.cell, given, state, layer.weights(0), layout=layout, reverse=reverse)
        layer.zero_grad()
        (outputs.float().square().sum() + final.cell.float().sum()).backward()
        assert not outputs[behind].any()
        found.append([outputs, *final, given.grad, *(p.grad for p in layer.parameters())])
    for exact, near in zip(*found, strict=True):
        torch.testing.assert_close(near.float(), exact, atol=0.03 * float(exact.detach().abs().max()), rtol=0)


@every_layer
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
def test_transforms_of_functions(make: Any) -> None:
    layer, x = make(4, 6), torch.randn(3, 5, 2, 4)
    with torch.no_grad():
        want = torch.stack([layer(each)[0] for each in x])
        torch.testing.assert_close(torch.vmap(lambda each: layer(each)[0])(x), want)
    _, tangent = torch.func.jvp(lambda each: layer(each)[0], (x[0],), (torch.ones_like(x[0]),))
    with torch.no_grad(), forward_ad.dual_level():
        dual = layer(forward_ad.make_dual(x[0], torch.ones_like(x[0])))[0]
        torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent, tangent)


@every_layer
def test_frozen_weights_get_no_gradient_and_inputs_only_when_asked(make: Any) -> None:
    layer = make(8, 12)
    layer.weight_hh_l0.requires_grad_(False)
    layer.bias_ih_l0.requires_grad_(False)
    x = torch.randn(6, 4, 8)
    with choice.only("compiled"):
        layer(x)[0].sum().backward()
        assert layer.weight_hh_l0.grad is None
        assert layer.bias_ih_l0.grad is None
        want = torch.autograd.grad(layer(x)[0].sum(), layer.weight_ih_l0)[0]
        assert torch.equal(layer.weight_ih_l0.grad, want)
        z = x.clone().requires_grad_()
        for parameter in layer.parameters():
            parameter.requires_grad_(False)
        layer(z)[0].sum().backward()
    assert z.grad is not None
    assert z.grad.abs().sum() > 0


@every_layer
def test_without_bias_and_without_gradients(make: Any) -> None:
    layer, x = make(8, 12, bias=False), torch.randn(6, 4, 8)
    with choice.only("compiled"), torch.no_grad():
        got, got_final = layer(x)
    with choice.only("loop"):
        want, want_final = layer(x)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got_final, want_final, atol=1e-5, rtol=1e-5)


def test_numbers_that_are_no_numbers_stay_visible() -> None:
    """A diverged network must not look healthy."""
    for make in (RNN, GRU, LSTM):
        layer = make(4, 6)
        with torch.no_grad():
            layer.weight_hh_l0[0, 0] = torch.nan
        with choice.only("compiled"):
            assert layer(torch.randn(5, 2, 4))[0][-1].isnan().any(), make
    assert RNN(4, 6, nonlinearity="relu")(torch.full((2, 1, 4), torch.nan))[0].isnan().all()


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("n_symbols", [5, 100])
@pytest.mark.parametrize("way", ["compiled", "loop", "torch"])
def test_looked_up_vectors_are_the_vectors(name: str, n_symbols: int, way: Any) -> None:
    """Also for ids that stand for no word, with mixed lengths' layers, in values and gradients."""
    torch.set_default_dtype(torch.float64)
    layer = Recurrent(CELLS[name](7), 6, n_layers=2, bidirectional=True)
    for embedding in (Embedding(n_symbols, 6), OneHot(6)):
        ids = torch.randint(0, embedding.n_symbols + 2, (4, 9))
        lookup = Lookup.of(embedding, ids)
        assert lookup.shape == (4, 9, 6)
        assert torch.equal(lookup.expand(), embedding(ids))
        leaves = [*embedding.parameters(), *layer.parameters()]
        results = []
        for inputs, path in ((lookup, way), (embedding(ids), "loop")):
            with choice.only(path):
                y, _ = layer(inputs)
            results.append([y, *torch.autograd.grad(y.square().sum(), leaves)])
        for got, want in zip(*results, strict=True):
            torch.testing.assert_close(got, want, atol=1e-11, rtol=1e-11)


def test_looked_up_vectors_of_second_order() -> None:
    torch.set_default_dtype(torch.float64)
    layer, index = Recurrent(CELLS["gru"](3), 2), torch.tensor([[0, 1, 1], [2, 0, 1]])
    table = torch.randn(3, 2, requires_grad=True)

    def run(table: Tensor) -> Tensor:
        with choice.only("compiled"):
            return layer(Lookup(table, index))[0]

    assert torch.autograd.gradcheck(run, table)
    assert torch.autograd.gradgradcheck(run, table)


def test_the_choice_follows_the_measured_table(monkeypatch: pytest.MonkeyPatch) -> None:
    x, cell = torch.zeros(35, 16, 8), CELLS["lstm"](128)
    layout = Layout.full(35, 16)
    ratios = {("lstm", training): np.ones((3, 4, 5)) for training in (False, True)}
    ratios["lstm", True][2, 2, 1] = 0.5
    monkeypatch.setattr(choice, "RATIOS", ratios)
    choice.measured_ratio.cache_clear()
    assert choice.way_of(cell, x, layout, training=True) == "torch"
    assert choice.way_of(cell, x, layout, training=False) == "compiled"
    assert choice.measured_ratio("lstm", True, 35, 16, 128) == 0.5
    assert choice.measured_ratio("lstm", True, 1000, 32, 128) == pytest.approx(0.75)  # halfway from 16 to 64 rows
    assert choice.measured_ratio("lstm", True, 35, 16, 2048) == 1
    for ratio, taken in (
        (0.9, "compiled"),
        (0.8, "torch"),
    ):  # nobody asks for the gradient of x: torch computes it all the same
        ratios["lstm", True][2, 2, 1] = ratio
        choice.measured_ratio.cache_clear()
        assert choice.way_of(cell, x, layout, training=True) == taken
        assert choice.way_of(cell, x.clone().requires_grad_(), layout, training=True) == "torch"
    assert choice.way_of(CELLS["lstm"](1000), x, layout, training=True) == "compiled"
    assert choice.way_of(cell, x, Layout.of(torch.tensor([35] * 15 + [1]), x), training=True) == "compiled"
    assert choice.way_of(cell, x.half(), Layout.of(torch.tensor([35] * 15 + [1]), x), training=True) == "loop"
    assert choice.way_of(cell, x.half(), layout, training=True) == "torch"
    choice.measured_ratio.cache_clear()


def test_buffers_are_used_again_when_nobody_refers_to_them() -> None:
    work = Workspace(np.dtype(np.float32), 1)
    first = work.new(1000, 77)
    address, part = first.ctypes.data, first[3:5]
    assert address % 64 == 0
    del first
    assert work.new(1000, 77).ctypes.data != address  # `part` is still there
    del part
    taken = [work.new(1000, 77) for _ in range(3)]
    assert address in [t.ctypes.data for t in taken]


@pytest.fixture(params=["torch's threads", "Python's threads"])
def _either_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "Python's threads":
        monkeypatch.setattr(threads, "_openmp", lambda _: None)


@pytest.mark.usefixtures("_either_threads")
def test_work_is_done_at_once_and_errors_are_raised() -> None:
    meeting = threading.Barrier(3, timeout=20)
    threads.at_once([meeting.wait] * 3)  # nobody comes through alone

    def fail(first: int, last: int) -> None:
        if first:
            raise ValueError(f"rows {first}..{last}")

    with pytest.raises(ValueError, match=r"rows 2\.\.4"):
        Workspace(np.dtype(np.float32), 2).evenly((4, fail))


def test_a_forked_child_has_threads_of_its_own() -> None:
    threads.at_once([lambda: None] * 2)
    child = os.fork()
    if not child:
        threads.at_once([threading.Barrier(2, timeout=20).wait] * 2)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.usefixtures("_either_threads")
def test_no_error_is_lost() -> None:
    def fail() -> None:
        raise IndexError("mine")

    with pytest.raises(IndexError, match="mine"):
        threads.at_once([fail, lambda: None, lambda: None])


def test_more_processes_of_a_thread_than_cores() -> None:
    done = list[int]()
    threads.at_once([lambda k=k: done.append(k) for k in range(50)])
    assert sorted(done) == list(range(50))


# The cache of compiled code


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], float]]:
    """Make a kernel anew, as another process would, and call it."""
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    _jit._folder.cache_clear()
    yield lambda: kernel(_twice)(3.0)
    _jit._folder.cache_clear()


def _twice(x):  # type: ignore[no-untyped-def]
    return 2 * x


def _index(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.nb[ic]"))


def test_compiled_code_is_kept(compiled: Callable[[], float], tmp_path: Path) -> None:
    assert compiled() == 6
    files = {path: path.stat().st_mtime_ns for path in _index(tmp_path)}
    assert len(files) == 2
    assert compiled() == 6
    assert {path: path.stat().st_mtime_ns for path in _index(tmp_path)} == files


@pytest.mark.parametrize("damage", [b"", b"not a pickle", pickle.dumps("something else")])
def test_damaged_files_are_made_again(compiled: Callable[[], float], tmp_path: Path, damage: bytes) -> None:
    compiled()
    for path in _index(tmp_path):
        path.write_bytes(damage)
    assert compiled() == 6
    assert compiled() == 6


def test_a_folder_that_cannot_be_written(compiled: Callable[[], float], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError("read-only")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert compiled() == 6


def test_a_cache_below_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: Callable[[], float]) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "file" / "cache"))
    assert compiled() == 6


def test_a_full_disk(compiled: Callable[[], float], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", full)
    assert compiled() == 6


def test_code_of_other_versions_is_deleted_when_it_is_old(compiled: Callable[[], float], tmp_path: Path) -> None:
    old, recent = tmp_path / "cache" / "kernels-1", tmp_path / "cache" / "kernels-2"
    for folder in (old, recent):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    compiled()
    assert not old.exists()
    assert recent.exists()


def test_compiling_is_said_once_and_not_again(tmp_path: Path) -> None:
    code = (
        "from unrolled.kernels._jit import kernel\n"
        "import tests_kernel_module as m\n"
        "print(kernel(m.one)(1.0), kernel(m.two)(1.0))\n"
    )
    (tmp_path / "tests_kernel_module.py").write_text("def one(x):\n    return x + 1\ndef two(x):\n    return x + 2\n")
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    for count in (1, 0):
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == "2.0 3.0\n"
        assert done.stderr.count("compiling") == count
