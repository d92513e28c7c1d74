"""Recurrent layers where torch records instead of runs: meta, fake tensors, compile, export, fx, TorchScript, autocast."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim, export
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils.rnn import pack_padded_sequence

from unrolled import layers
from unrolled.cells import CELLS, Cell, LSTMCell, Weights
from unrolled.errors import ShapeError
from unrolled.layers import Lookup, Padded, Recurrent, choice
from unrolled.types import State, state_tensors

NAMES = ("RNN", "GRU", "LSTM")
D, H, B, T = 4, 5, 3, 6
LENGTHS = torch.tensor([6, 3, 1])
#: Steps and rows of one call after the other. The second call makes both symbols.
SHAPES = [(6, 3), (9, 4), (12, 2)]
every_layer = pytest.mark.parametrize("name", NAMES)
every_cell = pytest.mark.parametrize("cell", [make(H) for make in CELLS.values()] + [LSTMCell(H, 2)], ids=str)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def flat(value: Any) -> list[Tensor]:
    """The tensors of an output, however nested."""
    if isinstance(value, Padded):
        return [value.values]
    return [value] if isinstance(value, Tensor) else [tensor for part in value for tensor in flat(part)]


def total(value: Any) -> Tensor:
    """A number that depends on every entry of an output in another way."""
    return sum((t * torch.linspace(-1, 1, t.numel(), dtype=t.dtype).view(t.shape)).sum() for t in flat(value))  # type: ignore[return-value]


class Model(nn.Module):
    """A layer between two linear ones; with lengths, of rows of mixed lengths. Batch first."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__()
        self.read = nn.Linear(D, D)
        self.layer = getattr(layers, name)(D, H, batch_first=True, **options)
        self.write = nn.Linear(H * (2 if self.layer.bidirectional else 1), 2)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = self.read(x)
        if lengths is None:
            return self.write(self.layer(x)[0])
        return self.write(self.layer(Padded(x, lengths))[0].values)


# ---- shapes without numbers


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@every_cell
@pytest.mark.parametrize("mode", ["meta", "fake"])
@pytest.mark.parametrize("padded", [False, True])
def test_shapes_are_known_without_numbers(cell: Cell, mode: str, padded: bool) -> None:
    def run() -> tuple[Any, Any]:
        layer = Recurrent(cell, D, n_layers=2, bidirectional=True)
        x = torch.randn(B, T, D, requires_grad=True)
        output, state = layer(Padded(x, torch.tensor([6, 3, 1], device="cpu")) if padded else x)
        total([output, *state_tensors(state)]).backward()
        return [t.shape for t in flat([output, *state_tensors(state)])], [p.grad.shape for p in (x, *layer.parameters())]

    expected = run()
    with FakeTensorMode() if mode == "fake" else torch.device("meta"):
        assert run() == expected


@every_layer
@pytest.mark.parametrize("state", [False, True])
def test_drop_in_layers_on_meta(name: str, state: bool) -> None:
    layer = getattr(layers, name)(D, H, 2, device="meta")
    hx: Any = torch.empty(2, B, H, device="meta")
    hx = None if not state else (hx, hx) if name == "LSTM" else hx
    output, last = layer(torch.empty(T, B, D, device="meta"), hx)
    assert output.shape == (T, B, H)
    assert output.device.type == "meta"
    assert [h.shape for h in flat(last)] == [(2, B, H)] * (2 if name == "LSTM" else 1)
    assert layer(torch.empty(T, D, device="meta"))[0].shape == (T, H)
    assert layer(Padded(torch.empty(B, T, D, device="meta"), torch.empty(B, dtype=torch.long, device="meta")))[
        0
    ].values.shape
    with pytest.raises(ShapeError, match="Expected 4, got 5"):
        layer(torch.empty(T, B, D + 1, device="meta"))
    assert layer.to_empty(device="cpu")(torch.zeros(T, B, D))[0].shape == (T, B, H)


def test_lookup_on_meta() -> None:
    with torch.device("meta"):
        found = Lookup(torch.empty(10, D), torch.zeros(B, T, dtype=torch.long))
        assert Recurrent(CELLS["gru"](H), D)(found)[0].shape == (B, T, H)


# ---- the operator


@pytest.mark.parametrize("kind", ["rnn_relu", "gru", "gru_before", "mingru", "lstm", "lstm-projected"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [3, 0, 1], [0, 0, 0]], ids=str)
def test_the_operator_is_what_it_says(kind: str, reverse: bool, lengths: list[int] | None) -> None:
    """Schema, fake results and gradients as torch's own check of operators wants them."""
    size = 2 if kind == "lstm-projected" else H
    gates = {"rnn_relu": 1, "mingru": 2}.get(kind, 4 if kind.startswith("lstm") else 3)
    wide = gates * H

    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape, requires_grad=True)

    memory = leaf(B, H) if kind.startswith("lstm") else None
    seen = kind != "mingru"
    weights = leaf(wide, D), leaf(wide, size) if seen else torch.empty(0, size), leaf(wide), leaf(wide) if seen else None
    projection = leaf(size, H) if kind == "lstm-projected" else None
    n = None if lengths is None else torch.tensor(lengths)
    arguments = leaf(3, B, D), n, leaf(B, size), memory, *weights, projection, kind.removesuffix("-projected"), reverse
    for keep in (True, False):
        torch.library.opcheck(
            torch.ops.unrolled.recurrent,
            (*arguments, keep),
            test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
        )


def test_the_operator_checks_what_a_kernel_would_not() -> None:
    x, h, c = torch.randn(3, B, D), torch.randn(B, H), torch.randn(B, H)
    weights = [torch.randn(4 * H, D), torch.randn(4 * H, H), torch.randn(4 * H), torch.randn(4 * H), None]
    end = "lstm", False, True
    run, back = torch.ops.unrolled.recurrent, torch.ops.unrolled.recurrent_backward
    outputs, last, memory, kept = run(x, None, h, c, *weights, *end)
    needs = [True] * 7 + [False]
    wrong: list[tuple[Any, ...]] = [
        (x, None, h[:2], c, *weights),
        (x, None, h, c[:, :3], *weights),
        (x, torch.tensor([3, 3, 4]), h, c, *weights),
        (x[..., :3], None, h, c, *weights),
        (x, None, h, c, weights[0], weights[1][:, :4], *weights[2:]),
        (x, None, h, c, *weights[:2], weights[2][:3], *weights[3:]),
        (x, None, h.double(), c, *weights),
    ]
    for arguments in wrong:
        with pytest.raises(ShapeError):
            run(*arguments, *end)
        with pytest.raises(ShapeError):
            back(outputs, last, memory, outputs, kept, *arguments, *end[:2], needs)
    for first in (
        (outputs[:2], last, memory, outputs, kept),
        (outputs, last[:1], memory, outputs, kept),
        (outputs, last, memory, outputs[..., :2], kept),
        (outputs, last, memory, outputs, kept[:5]),
    ):
        with pytest.raises(ShapeError):
            back(*first, x, None, h, c, *weights, *end[:2], needs)


def outputs_of(layer: Recurrent, lengths: Tensor | None, x: Tensor) -> tuple[Tensor, ...]:
    output, state = layer(x if lengths is None else Padded(x, lengths))
    return tuple(flat([output, *state_tensors(state)]))


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize("way", ["compiled", "loop"])
@every_cell
def test_recorded_and_run_are_the_same(cell: Cell, way: Any) -> None:
    layer = Recurrent(cell, D, n_layers=2, bidirectional=True).double()
    x = torch.randn(B, T, D, dtype=torch.float64, requires_grad=True)
    for lengths in (None, LENGTHS):
        run = partial(outputs_of, layer, lengths)
        graph = make_fx(run)(x)
        assert [node.target for node in graph.graph.nodes].count(torch.ops.unrolled.recurrent.default) == 4
        other = torch.randn(B, T, D, dtype=torch.float64, requires_grad=True)
        leaves = [other, *layer.parameters()]
        with choice.only(way):
            want = run(other)
            want_gradients = torch.autograd.grad(total(want), leaves)
        got = graph(other)
        for a, b in zip([*got, *torch.autograd.grad(total(got), [other])], [*want, want_gradients[0]], strict=True):
            torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


# ---- torch.compile


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    ("name", "options"),
    [("RNN", {}), ("GRU", {}), ("LSTM", {"bidirectional": True})],
    ids=str,
)
def test_a_full_graph_is_compiled_for_all_lengths_and_batches(name: str, options: dict[str, Any], padded: bool) -> None:
    """torch.compile makes a graph for the first shape, one with symbols for the second, and no more."""
    layer = getattr(layers, name)(D, H, batch_first=True, **options)
    counter = CompileCounterWithBackend("aot_eager")

    def run(x: Tensor, lengths: Tensor) -> Any:
        return layer(Padded(x, lengths) if padded else x)

    compiled, counts = torch.compile(run, backend=counter, fullgraph=True), []
    for steps, rows in SHAPES:
        x, lengths = torch.randn(rows, steps, D, requires_grad=True), torch.randint(0, steps + 1, (rows,))
        got, want, leaves = compiled(x, lengths), run(x, lengths), [x, *layer.parameters()]
        pairs = [*zip(flat(got), flat(want), strict=True)]
        pairs += [*zip(torch.autograd.grad(total(got), leaves), torch.autograd.grad(total(want), leaves), strict=True)]
        for a, b in pairs:
            torch.testing.assert_close(a, b)
        counts.append(counter.frame_count)
    assert counts == [1, 2, 2]


@every_layer
def test_compiled_with_breaks_a_layer_runs_as_without(name: str) -> None:
    """As torch.nn's: the graph breaks at the layer, and no length is compiled."""
    layer = getattr(layers, name)(D, H, 2)
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(layer, backend=counter)
    for steps, rows in SHAPES:
        x = torch.randn(steps, rows, D)
        assert torch.equal(compiled(x)[0], layer(x)[0])
        padded = Padded(torch.randn(rows, steps, D), torch.randint(0, steps + 1, (rows,)))
        assert torch.equal(compiled(padded)[0].values, layer(padded)[0].values)
    packed = pack_padded_sequence(torch.randn(T, B, D), LENGTHS)
    assert torch.equal(compiled(packed)[0].data, layer(packed)[0].data)
    assert counter.frame_count == 0


def test_torch_layers_are_treated_as_before() -> None:
    with pytest.raises(torch._dynamo.exc.Unsupported, match="RNN, GRU, or LSTM"):
        torch.compile(nn.LSTM(D, H), backend="eager", fullgraph=True)(torch.zeros(T, B, D))
    assert not torch._dynamo.config.allow_rnn


def test_a_compiled_model_trains_as_one_that_is_not() -> None:
    model = Model("LSTM", num_layers=2, dropout=0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = torch.compile(model, backend="aot_eager", fullgraph=True)(torch.randn(B, T, D))
        assert output.dtype == torch.bfloat16
    output.float().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    with torch.no_grad():
        x = torch.randn(B, T, D)
        compiled = torch.compile(model.eval(), backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(x), model(x))
        torch.testing.assert_close(compiled(x, LENGTHS), model(x, LENGTHS))
    with pytest.raises(ShapeError, match=r"0\.\.6, got 1\.\.7"):
        compiled(x, torch.tensor([7, 3, 1]))


def test_a_cell_of_somebody_else_is_compiled_step_by_step() -> None:
    @dataclass(frozen=True)
    class Leaky(Cell):
        """h' = h / 2 + x."""

        n_gates = 1

        def step(self, projected: Tensor, state: State, w: Weights) -> tuple[Tensor, State]:
            after = state_tensors(state)[0] / 2 + projected
            return after, after

    layer, x = Recurrent(Leaky(H), D), torch.randn(B, T, D)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x)[0], layer(x)[0])
    with torch.device("meta"), pytest.raises(TypeError, match="mixed lengths"):
        Recurrent(Leaky(H), D)(Padded(torch.empty(B, T, D), torch.tensor([6, 3, 1], device="cpu")))


# ---- export and other graphs


@every_layer
@pytest.mark.parametrize("padded", [False, True])
def test_exported_programs_take_any_length_and_batch(name: str, padded: bool) -> None:
    model = Model(name, num_layers=2, bidirectional=True).eval()
    free = {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}
    arguments, shapes = (torch.randn(B, T, D),), (free,)
    if padded:
        arguments, shapes = (*arguments, LENGTHS), (free, {0: Dim.DYNAMIC})  # type: ignore[assignment]
    stored = io.BytesIO()
    torch.export.save(export(model, arguments, dynamic_shapes=shapes), stored)
    stored.seek(0)
    program = torch.export.load(stored).module()
    for steps, rows in SHAPES:
        given = torch.randn(rows, steps, D), torch.randint(0, steps + 1, (rows,))
        given = given if padded else given[:1]  # type: ignore[assignment]
        torch.testing.assert_close(program(*given), model(*given))


@every_layer
def test_fx_records_a_layer_as_one_node(name: str) -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lower, self.upper = getattr(layers, name)(D, H), Recurrent(CELLS["mingru"](H), H)

        def forward(self, x: Tensor) -> Tensor:
            output, state = self.lower(x)
            output, state = self.lower(x, state)
            return self.upper(output)[0]

    model, x = Reader(), torch.randn(T, B, D)
    graph = torch.fx.symbolic_trace(model)
    assert [node.target for node in graph.graph.nodes if node.op == "call_module"] == ["lower", "lower", "upper"]
    assert torch.equal(graph(x), model(x))
    with pytest.raises(TypeError, match="part of a module"):
        torch.fx.symbolic_trace(model.lower)


@every_layer
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_torchscript_takes_torch_layers_of_the_same_parameters(name: str) -> None:
    model = Model(name, num_layers=2).eval()
    x, other = torch.randn(B, T, D), torch.randn(2, 9, D)
    traced = torch.jit.trace(model, (x,))
    torch.testing.assert_close(traced(other), model(other))

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = model.layer

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)[0]

    scripted = torch.jit.script(Plain())
    torch.testing.assert_close(scripted(other), model.layer(other)[0])
    assert type(model.layer) is getattr(layers, name)


@every_layer
def test_subclasses_of_tensors_are_asked(name: str) -> None:
    calls: list[Any] = []

    class Asked(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            calls.append(function)
            return super().__torch_function__(function, types, args, kwargs or {})

    layer, x = getattr(layers, name)(D, H), torch.randn(T, B, D)
    output, _ = layer(x.as_subclass(Asked))
    assert type(output) is Asked
    assert any("rnn" in f.__name__ or f.__name__ in ("lstm", "gru") for f in calls if hasattr(f, "__name__"))
    torch.testing.assert_close(output.as_subclass(torch.Tensor), layer(x)[0])
    with pytest.raises(TypeError, match="got list"):
        layer([[1.0]])


@every_layer
@pytest.mark.parametrize("way", ["dense", "packed", "padded"])
def test_autocast_gives_the_precision_that_torch_gives(name: str, way: str) -> None:
    ours, theirs, x = getattr(layers, name)(D, H, 2), getattr(nn, name)(D, H, 2), torch.randn(T, B, D)
    theirs.load_state_dict(ours.state_dict())
    packed = pack_padded_sequence(x, LENGTHS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        want, last = theirs(x if way == "dense" else packed)
        got, after = ours(x if way == "dense" else packed if way == "packed" else Padded(x.transpose(0, 1), LENGTHS))
    dtypes = [t.dtype for t in (got.values if way == "padded" else got.data, *flat(after))]
    if name != "LSTM" or way == "dense":  # rows of mixed lengths: ours may be in bfloat16 where torch's are not
        assert dtypes == [t.dtype for t in (want.data, *flat(last))]
    if way == "dense":
        torch.testing.assert_close(got, want, atol=2e-2, rtol=2e-2)
