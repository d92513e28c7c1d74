"""What PyTorch's own tools do with the drop-in layers: checkpointing, initializers, pruning, saving, tracing, compiling."""

from __future__ import annotations

import copy
import io
import pickle
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint

from unrolled import layers
from unrolled.cells import CELLS, Cell, GRUCell, LSTMCell, Weights
from unrolled.errors import ShapeError, UnrolledError
from unrolled.layers import Padded, Recurrent, choice
from unrolled.layers.compiled_attending import Asking, attending_layer
from unrolled.layers.layout import Layout

NAMES = ("RNN", "GRU", "LSTM")
CELL_NAMES = ("RNNCell", "GRUCell", "LSTMCell")
D, H, B, T = 4, 5, 3, 6
LENGTHS = torch.tensor([6, 3, 1])
every_layer = pytest.mark.parametrize("name", NAMES)


def flat(value: Any) -> list[Tensor]:
    """The tensors of an output, however nested."""
    if isinstance(value, Padded):
        return [value.values]
    return [value] if isinstance(value, Tensor) else [tensor for part in value for tensor in flat(part)]


def total(value: Any) -> Tensor:
    """A number that depends on every entry of an output in another way."""
    return sum((t * torch.linspace(-1, 1, t.numel(), dtype=t.dtype).view(t.shape)).sum() for t in flat(value))  # type: ignore[return-value]


# ---- activation checkpointing


@pytest.mark.parametrize("way", ["compiled", "torch", "loop"])
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("kind", [*NAMES, "mingru", "gru-before"])
@pytest.mark.parametrize("padded", [False, True])
def test_activation_checkpointing_changes_no_gradient(kind: str, reentrant: bool, way: Any, padded: bool) -> None:
    if kind in NAMES:
        layer = getattr(layers, kind)(D, H, 2, batch_first=True, bidirectional=True)
    else:
        layer = Recurrent(CELLS[kind](H), D, n_layers=2, bidirectional=True)

    def run(x: Tensor) -> tuple[Tensor, ...]:
        return tuple(flat(layer(Padded(x, LENGTHS) if padded else x)))

    x = torch.randn(B, T, D, requires_grad=True)
    with choice.only(way):
        want = torch.autograd.grad(total(run(x)), [x, *layer.parameters()])
        total(checkpoint(run, x, use_reentrant=reentrant)).backward()
    for tensor, expected in zip([x, *layer.parameters()], want, strict=True):
        assert tensor.grad is not None
        torch.testing.assert_close(tensor.grad, expected)


@pytest.mark.parametrize("way", ["compiled", "loop"])
def test_activation_checkpointing_keeps_no_activations(way: Any) -> None:
    """What a layer keeps for the backward pass goes through saved tensors, so that checkpointing can drop it."""
    layer, kept = layers.GRU(8, 64), 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel()
        return tensor

    with choice.only(way), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(torch.randn(50, 4, 8))
    assert kept > 50 * 4 * 64 * 4  # the gates r, z and n, and the states


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("cell", [LSTMCell(H), GRUCell(H)], ids=str)
def test_activation_checkpointing_of_a_layer_that_attends(cell: Cell, reentrant: bool) -> None:
    wide, layout = cell.n_gates * H, Layout.full(T, B)
    shapes = [(T, B, D), (B, 7, H), (B, 7, 2), (wide, D + 2), (wide, H), (wide,), (wide,)]
    leaves = [torch.randn(shape, requires_grad=True) for shape in shapes]

    def run(x: Tensor, keys: Tensor, values: Tensor, *w: Tensor) -> tuple[Tensor, ...]:
        asking = Asking(keys, values, torch.tensor([7, 5, 6]), None, None, 0.4, 0.0)
        start = cell.initial_state(B, x)
        return attending_layer(cell, x, start, Weights(*w), asking, torch.arange(B), layout, torch.zeros(B, 7))[:2]

    want = torch.autograd.grad(total(run(*leaves)), leaves)
    total(checkpoint(run, *leaves, use_reentrant=reentrant)).backward()
    for leaf, expected in zip(leaves, want, strict=True):
        torch.testing.assert_close(leaf.grad, expected)


# ---- lengths of Padded


@pytest.mark.parametrize(
    "lengths",
    [
        [6, 3, 1],
        (6, 3, 1),
        np.array([6, 3, 1]),
        np.array([6, 3, 1], np.uint16),
        np.array([6, 3, 1], ">i4"),
        torch.tensor([6, 3, 1], dtype=torch.int32),
        torch.tensor([6, 3, 1], dtype=torch.uint8),
        [torch.tensor(6), np.int64(3), 1],
        range(6, 0, -2),
    ],
    ids=lambda v: f"{type(v).__name__}-{getattr(v, 'dtype', '')}",
)
def test_lengths_may_be_any_whole_numbers(lengths: Any) -> None:
    layer, x = layers.LSTM(D, H, bidirectional=True), torch.randn(B, T, D)
    wanted = list(lengths)
    output, _ = layer(Padded(x, lengths))
    expected, _ = layer(Padded(x, torch.tensor([int(n) for n in wanted])))
    assert torch.equal(output.values, expected.values)
    assert output.lengths.tolist() == [int(n) for n in wanted]


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        (torch.tensor([True, True, False]), ShapeError, r"mask.sum\(1\)"),
        ([True, False, True], TypeError, "whole numbers"),
        ([6.0, 3.0, 1.0], TypeError, "whole numbers"),
        (np.array([6.0, 3.0, 1.0]), TypeError, "whole numbers"),
        (torch.tensor([6.0, 3.0, 1.0]), ShapeError, "whole steps, got dtype torch.float32"),
        ("631", TypeError, "whole numbers"),
        (None, TypeError, "whole numbers"),
        (6, TypeError, "whole numbers"),
        ([6, 3], ShapeError, r"shape \(3,\), one per row, got \(2,\)"),
        ([[6], [3], [1]], ShapeError, r"shape \(3,\)"),
        ([[6], [3, 1]], TypeError, "whole numbers"),
        ([7, 3, 1], ShapeError, r"0\.\.6, got 1\.\.7"),
        ([6, 3, -1], ShapeError, r"0\.\.6, got -1\.\.6"),
        (torch.tensor([6, 3, 200], dtype=torch.uint8), ShapeError, r"got 3\.\.200"),
    ],
    ids=str,
)
def test_other_lengths_are_refused(lengths: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Padded(torch.randn(B, T, D), lengths)


def test_values_of_padded_are_tensors_with_rows_and_steps() -> None:
    for values in ([[1.0], [2.0]], np.zeros((2, 3, 4)), None, "text"):
        with pytest.raises(TypeError, match=r"Padded.values must be a tensor .*Padded.of"):
            Padded(values, [1, 1])  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="axes"):
        Padded(torch.zeros(3), [1, 1, 1])  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="at least one row"):
        Padded.of([])
    with pytest.raises(ShapeError, match="each a tensor"):
        Padded.of([torch.tensor(1.0)])
    rows = (np.ones((n, 2), np.float32) for n in (2, 1))
    assert Padded.of(rows).lengths.tolist() == [2, 1]  # type: ignore[arg-type]


# ---- classes, arguments, errors


@pytest.mark.parametrize("name", NAMES + CELL_NAMES)
def test_layers_are_instances_of_their_namesakes_in_torch(name: str) -> None:
    layer = getattr(layers, name)(D, H)
    assert isinstance(layer, getattr(nn, name))
    assert isinstance(layer, nn.RNNCellBase if name.endswith("Cell") else nn.RNNBase)
    others = [getattr(nn, other) for other in NAMES + CELL_NAMES if other != name]
    assert not isinstance(layer, tuple(others))


@every_layer
def test_initializers_that_look_for_torch_layers_find_them(name: str) -> None:
    model = nn.Sequential(nn.Linear(D, D), getattr(layers, name)(D, H, 2))
    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            for weight, *_ in module.all_weights:
                nn.init.orthogonal_(weight)
            for parameter in module._flat_weights:
                if parameter.dim() == 1:
                    nn.init.constant_(parameter, 0.5)
    layer = model[1]
    torch.testing.assert_close(layer.weight_ih_l1.T @ layer.weight_ih_l1, torch.eye(H), atol=1e-5, rtol=0)
    assert (layer.bias_hh_l1 == 0.5).all()


@pytest.mark.parametrize("name", NAMES + CELL_NAMES)
@pytest.mark.parametrize(
    "arguments",
    [
        {"bias": 0.5},
        {"bias": "True"},
        {"bias": 1},
        {"batch_first": "False"},
        {"batch_first": 1},
        {"input_size": 4.0},
        {"input_size": "4"},
        {"input_size": 0},
        {"hidden_size": 0},
        {"hidden_size": -1},
        {"hidden_size": 5.0},
        {"num_layers": 0},
        {"num_layers": 1.5},
        {"dropout": 1.5},
        {"dropout": True},
        {"dropout": "0.5"},
        {"proj_size": 5},
        {"proj_size": -1},
        {"proj_size": 0},
        {"nonlinearity": "sigmoid"},
        {"hidden": 5},
        {"dtype": torch.int64},
    ],
    ids=str,
)
def test_arguments_are_refused_as_torch_refuses_them(name: str, arguments: dict[str, Any]) -> None:
    given = {"input_size": D, "hidden_size": H} | arguments
    try:
        getattr(nn, name)(**given)
    except Exception as error:
        with pytest.raises(type(error)):
            getattr(layers, name)(**given)
    else:
        getattr(layers, name)(**given)


@every_layer
def test_a_direction_that_is_a_text_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match="bidirectional should be of type bool, got: str"):
        getattr(layers, name)(D, H, bidirectional="False")
    assert getattr(layers, name)(D, H, bidirectional=1)(torch.zeros(T, B, D))[0].shape == (T, B, 2 * H)


@every_layer
@pytest.mark.parametrize(
    ("shape", "state"),
    [
        ((T, B, D, 1), None),
        ((D,), None),
        ((T, B, D + 1), None),
        ((0, B, D), None),
        ((0, 0, D), None),
        ((T, B, D), (1, B + 1, H)),
        ((T, B, D), (2, B, H)),
        ((T, B, D), (1, B, H + 1)),
        ((T, B, D), (1, H)),
        ((T, D), (1, 1, H)),
        ((T, D), (1, H + 1)),
    ],
)
def test_inputs_are_refused_as_torch_refuses_them(name: str, shape: tuple[int, ...], state: tuple[int, ...] | None) -> None:
    hx = None if state is None else torch.zeros(state)
    hx = (hx, hx) if name == "LSTM" and hx is not None else hx
    with pytest.raises((ValueError, RuntimeError)) as expected:
        getattr(nn, name)(D, H)(torch.zeros(shape), hx)
    with pytest.raises(expected.type, match=re.escape(str(expected.value)[:20])) as found:
        getattr(layers, name)(D, H)(torch.zeros(shape), hx)
    assert isinstance(found.value, UnrolledError)


@every_layer
@pytest.mark.parametrize(
    ("weights", "inputs"),
    [("bfloat16", "float32"), ("float32", "float64"), ("float32", "int64"), ("float64", "float32"), ("float32", "bool")],
)
def test_another_dtype_is_named_with_the_remedy(name: str, weights: str, inputs: str) -> None:
    layer = getattr(layers, name)(D, H, dtype=getattr(torch, weights))
    x = torch.zeros(B, T, D, dtype=getattr(torch, inputs))
    for given in (x, x[0], Padded(x, LENGTHS), pack_padded_sequence(x, LENGTHS, batch_first=True)):
        with pytest.raises(ValueError, match=rf"input dtype \(torch.{inputs}\).*input.to\(torch.{weights}\)"):
            layer(given)


@pytest.mark.parametrize("name", CELL_NAMES)
def test_cells_are_torchs(name: str) -> None:
    torch.manual_seed(3)
    ours = getattr(layers, name)(D, H)
    torch.manual_seed(3)
    theirs = getattr(nn, name)(D, H)
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    for x in (torch.randn(B, D), torch.randn(D)):
        first, expected = ours(x), theirs(x)
        second, after = ours(x, first), theirs(x, expected)
        assert all(torch.equal(a, b) for a, b in zip(flat([first, second]), flat([expected, after]), strict=True))
    with pytest.raises(RuntimeError, match="inconsistent input_size"):
        ours(torch.randn(B, D + 1))
    with pytest.raises(ValueError, match="1D or 2D"):
        ours(torch.randn(1, 1, B, D))
    assert list(getattr(layers, name)(D, H, bias=False).state_dict()) == ["weight_ih", "weight_hh"]


# ---- saving, copying, changing parameters


@every_layer
def test_a_whole_model_is_loaded_with_one_safe_class(name: str) -> None:
    kind = getattr(layers, name)
    model = kind(D, H, 2, bidirectional=True, dropout=0.25).eval()
    stored = io.BytesIO()
    torch.save(model, stored)
    stored.seek(0)
    with torch.serialization.safe_globals([kind]):
        again = torch.load(stored, weights_only=True)
    x = torch.randn(T, B, D)
    assert torch.equal(again(x)[0], model(x)[0])
    assert again.dropout == 0.25
    assert not again.training
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), copy.copy(model)):
        assert torch.equal(twin(x)[0], model(x)[0])
        assert repr(twin) == repr(model)


def test_a_pickled_gru_keeps_its_form() -> None:
    gru = layers.GRU(D, H, reset="before")
    assert "reset=before" in repr(gru)
    assert torch.equal(pickle.loads(pickle.dumps(gru))(torch.ones(T, B, D))[0], gru(torch.ones(T, B, D))[0])


@every_layer
def test_pruning_parametrizations_and_norms_reach_the_layer(name: str) -> None:
    x = torch.randn(T, B, D)
    layer, plain = getattr(layers, name)(D, H), getattr(nn, name)(D, H)
    plain.load_state_dict(layer.state_dict())
    for module in (layer, plain):
        prune.l1_unstructured(module, "weight_hh_l0", amount=0.5)
        assert [bool((p == 0).any()) for p in module._flat_weights] == [False, True, False, False]
    torch.testing.assert_close(layer(x)[0], plain(x)[0])
    for module in (layer, plain):
        prune.remove(module, "weight_hh_l0")
        parametrizations.weight_norm(module, "weight_ih_l0")
        with torch.no_grad():
            module.parametrizations.weight_ih_l0.original0.mul_(2)
    torch.testing.assert_close(layer(x)[0], plain(x)[0])
    layer(x)[0].sum().backward()
    assert layer.parametrizations.weight_ih_l0.original0.grad.abs().sum() > 0
    parametrize.remove_parametrizations(layer, "weight_ih_l0")
    torch.testing.assert_close(layer(x)[0], plain(x)[0])
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(layer, "weight_hh_l0")
    torch.testing.assert_close(layer(x)[0], plain(x)[0])


@every_layer
def test_what_tools_ask_of_an_rnn_base(name: str) -> None:
    layer, plain = getattr(layers, name)(D, H, 2, bidirectional=True), getattr(nn, name)(D, H, 2, bidirectional=True)
    x = torch.randn(T, B, D)
    assert layer.get_expected_hidden_size(x, None) == plain.get_expected_hidden_size(x, None) == (4, B, H)
    assert layer._flat_weights_names == plain._flat_weights_names
    assert all(a is b for a, b in zip(layer._flat_weights, layer.parameters(), strict=True))
    hx = (torch.randn(4, B, H), torch.randn(4, B, H)) if name == "LSTM" else torch.randn(4, B, H)
    layer.check_forward_args(x, hx, None)
    turned = layer.permute_hidden(hx, torch.tensor([2, 0, 1]))
    assert all(torch.equal(a, b[:, [2, 0, 1]]) for a, b in zip(flat(turned), flat(hx), strict=True))
    layer.flatten_parameters()
    assert repr(layer) == repr(plain)
    layer.weight_hh_l0 = nn.Parameter(torch.zeros(len(layer.weight_hh_l0), H))
    assert not layer._flat_weights[1].any()
    plain.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x, hx)[0], plain(x, hx)[0])
    torch.testing.assert_close(layer.as_torch()(x, hx)[0], plain(x, hx)[0])
    assert type(layer.as_torch()) is getattr(nn, name)
    with pytest.raises(TypeError, match="no layer for GRU"):
        layers.GRU(D, H, reset="before").as_torch()


def test_packed_outputs_have_the_order_of_the_input() -> None:
    packed = pack_padded_sequence(torch.randn(T, 4, D), torch.tensor([2, 6, 2, 4]), enforce_sorted=False)
    output, _ = layers.GRU(D, H)(packed)
    for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        assert torch.equal(getattr(output, name), getattr(packed, name))
